/**
 * Checks how a master exits. First it is killed with SIGKILL, again and again, at moments from the start of
 * its children to five seconds later: after ten seconds none of them may run. Then it gets SIGTERM with NATS,
 * PostgreSQL or both stopped (SIGSTOP) or gone, with a process for each task and with one for all: everything
 * must have exited within 20 s.
 *
 *     node dist/test/chaos/endings.js [--kills 40] [--only TEXT]
 *
 * Prints a line for each case; exits with 1 if any check fails. `--only` selects the cases whose name
 * contains TEXT.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { migrate } from '../../src/database/migrations.js';
import { DataFolder } from '../../src/servers/data-folder.js';
import { startNats, type RunningNats } from '../../src/servers/nats-server.js';
import { startPostgres, type RunningPostgres } from '../../src/servers/postgres.js';
import { unprivilegedAccount } from '../../src/servers/privileges.js';
import { findPython } from '../../src/servers/python.js';
import { ProcessEntry, allProcesses } from '../helpers/proc.js';

const { values } = parseArgs({
  options: { kills: { type: 'string', default: '40' }, only: { type: 'string', default: '' } },
});
const BIN = fileURLToPath(new URL('../../run/bin.js', import.meta.url));
const KILL_WINDOW_MS = 5000;
const ORPHAN_EXIT_LIMIT_MS = 10_000;
const END_LIMIT_MS = 20_000;
const READY_LIMIT_MS = 120_000;

const account = unprivilegedAccount();
const parent = mkdtempSync(join(tmpdir(), 'piw-endings-'));
chmodSync(parent, 0o755);
const folder = DataFolder.open(join(parent, 'servers'), account);
const output = join(parent, 'www');
const python = await findPython(undefined, account);
const services = {
  folder,
  onFailure: (error: Error) => {
    console.log(`  ${error.message}`);
  },
  log: () => undefined,
  signal: new AbortController().signal,
};
const launchNats = () => startNats({ ...services, python, prefix: 'piw' });
const launchPostgres = () => startPostgres(services);
let nats: RunningNats = await launchNats();
let postgres: RunningPostgres = await launchPostgres();
await migrate(postgres.adminDsn, { user: postgres.role });

const actorPids = (): number[] =>
  allProcesses()
    .filter(({ task, environment }) => task !== undefined && environment.includes(output))
    .map(({ pid }) => pid);

const isRunning = (pid: number): boolean => new ProcessEntry(pid).state !== undefined;

/** Returns the process ids of PostgreSQL and all of its sessions. */
function postgresTree(): number[] {
  const { pid } = postgres.process;
  if (pid === undefined) return [];
  return [pid, ...allProcesses().flatMap((child) => (child.parent === pid ? [child.pid] : []))];
}

interface MasterProcess {
  readonly process: ChildProcess;
  readonly ended: Promise<number | null>;
  readonly logText: () => string;
}

function startMaster(...extraArgs: readonly string[]): MasterProcess {
  const args = [BIN, 'master', '-c', '/dev/null', '--allow-root', '--dev-mode', '--nats', nats.master];
  const serverArgs = [
    '-d',
    postgres.dsn,
    '-o',
    output,
    '--pypi-simple',
    'http://127.0.0.1:1/simple',
    '--watch',
    'six',
  ];
  const child = spawn(process.execPath, [...args, ...serverArgs, ...extraArgs], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderrText = '';
  child.stderr.on('data', (data: Buffer) => (stderrText += data.toString()));
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  return { process: child, ended, logText: () => stderrText };
}

async function until(condition: () => boolean, limitMs: number): Promise<boolean> {
  const end = performance.now() + limitMs;
  while (!condition()) {
    if (performance.now() > end) return false;
    await sleep(50);
  }
  return true;
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
let faults = 0;
function report(name: string, passed: boolean, text: string): void {
  console.log(`${name.padEnd(44)} ${text}${passed ? '' : '  FAILED'}`);
  if (!passed) faults += 1;
}

const kills = Number(values.kills);
let longest = 0;
for (let at = 0; at < kills; at += 1) {
  const master = startMaster();
  if (!(await until(() => actorPids().length > 0, READY_LIMIT_MS))) {
    report('SIGKILL', false, `the master did not start: ${master.logText()}`);
    break;
  }
  const afterMs = (at / Math.max(1, kills - 1)) * KILL_WINDOW_MS;
  await sleep(afterMs);
  const children = actorPids().length;
  master.process.kill('SIGKILL');
  const killedAt = performance.now();
  const exited = await until(() => actorPids().length === 0, ORPHAN_EXIT_LIMIT_MS);
  const tookMs = performance.now() - killedAt;
  longest = Math.max(longest, tookMs);
  report(
    `SIGKILL ${seconds(afterMs)} after the first child`,
    exited,
    `${children} children, ${exited ? `gone after ${seconds(tookMs)}` : `${actorPids().length} still running`}`,
  );
  for (const pid of actorPids()) process.kill(pid, 'SIGKILL');
}
if (kills > 0) console.log(`the longest took ${seconds(longest)}`);

const signalAll = (pids: readonly (number | undefined)[], signal: NodeJS.Signals): void => {
  for (const pid of pids) if (pid !== undefined) process.kill(pid, signal);
};
/** What is unavailable, and how it is restored. */
const OUTAGES: Readonly<Record<string, () => Promise<() => Promise<void>>>> = {
  nothing: () => Promise.resolve(() => Promise.resolve()),
  'NATS stopped': () => {
    const pids = [nats.process.pid];
    signalAll(pids, 'SIGSTOP');
    return Promise.resolve(() => {
      signalAll(pids, 'SIGCONT');
      return Promise.resolve();
    });
  },
  'PostgreSQL stopped': () => {
    const pids = postgresTree();
    signalAll(pids, 'SIGSTOP');
    return Promise.resolve(() => {
      // Some sessions may have exited since.
      for (const pid of pids) if (isRunning(pid)) process.kill(pid, 'SIGCONT');
      return Promise.resolve();
    });
  },
  'both stopped': () => {
    const pids = [nats.process.pid, ...postgresTree()];
    signalAll(pids, 'SIGSTOP');
    return Promise.resolve(() => {
      for (const pid of pids) if (pid !== undefined && isRunning(pid)) process.kill(pid, 'SIGCONT');
      return Promise.resolve();
    });
  },
  'NATS gone': async () => {
    await nats.process.stop();
    return async () => {
      nats = await launchNats();
    };
  },
  'PostgreSQL gone': async () => {
    await postgres.process.stop();
    return async () => {
      postgres = await launchPostgres();
    };
  },
  'both gone': async () => {
    await Promise.all([nats.process.stop(), postgres.process.stop()]);
    return async () => {
      nats = await launchNats();
      postgres = await launchPostgres();
    };
  },
};

for (const [processModel, flags] of [
  ['a process each', []],
  ['one process', ['--one-process']],
] as const) {
  for (const [outage, startOutage] of Object.entries(OUTAGES)) {
    const name = `SIGTERM, ${processModel}, ${outage} down`
      .replace('gone down', 'gone')
      .replace('stopped down', 'stopped');
    if (!name.includes(values.only)) continue;
    const master = startMaster(...flags);
    const tasksAtWork = () => master.logText().match(/: at work/g)?.length ?? 0;
    if (!(await until(() => tasksAtWork() >= 10, READY_LIMIT_MS))) {
      report(name, false, `the master did not become ready:\n${master.logText()}`);
      master.process.kill('SIGTERM');
      await master.ended;
      continue;
    }
    const endOutage = await startOutage();
    await sleep(2000);
    const began = performance.now();
    master.process.kill('SIGTERM');
    const hasEnded = () => master.process.exitCode !== null && actorPids().length === 0;
    const ended = await until(hasEnded, END_LIMIT_MS * 2);
    const tookMs = performance.now() - began;
    report(
      name,
      ended && tookMs < END_LIMIT_MS,
      `${ended ? '' : 'still running after '}${seconds(tookMs)}, exit code ${String(master.process.exitCode)}`,
    );
    if (!ended || tookMs >= END_LIMIT_MS) console.log(master.logText());
    for (const pid of actorPids()) process.kill(pid, 'SIGKILL');
    if (master.process.exitCode === null) master.process.kill('SIGKILL');
    await endOutage();
  }
}
await Promise.all([nats.process.stop(), postgres.process.stop()]);
folder.close();
rmSync(parent, { recursive: true, force: true });
console.log(faults === 0 ? 'all checks passed' : `${faults} faults`);
process.exit(faults === 0 ? 0 : 1);
