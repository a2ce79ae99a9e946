/**
 * Starts a farm, and then a master alone, next to many busy sessions. Linux shares a processor by session, so
 * each of them is started with `setsid`. Both must become ready, the farm must publish, and no process may be
 * killed for being slow.
 *
 *     node dist/test/chaos/busy-machine.js [--sessions 60] [--nice 10] [--only farm|master] [PACKAGE…]
 *
 * Prints how long each took, and how often a process was restarted; exits with 1 if any check fails.
 */
import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { migrate } from '../../src/database/migrations.js';
import { startServers } from '../helpers/servers.js';

const { values, positionals } = parseArgs({
  options: {
    sessions: { type: 'string', default: '60' },
    nice: { type: 'string', default: '0' },
    only: { type: 'string', default: '' },
  },
  allowPositionals: true,
});
const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const BIN = join(ROOT, 'dist/run/bin.js');
const packages = positionals.length > 0 ? positionals : ['six'];
const LIMIT_MS = 15 * 60_000;
const NICE_ARGS = ['-n', values.nice, process.execPath, BIN];
/**
 * Returns whether a line of the log says that a task was killed or ended while it had to work. A task that the farm kills
 * at its own end does not count: on such a machine its time limit for ending is too short.
 */
const isRestartLine = (line: string): boolean =>
  /task killed|starting it again|times in a row/.test(line) && !line.includes('did not end in time');

const parent = mkdtempSync(join(tmpdir(), 'piw-busy-'));
chmodSync(parent, 0o755);
let faults = 0;
const began = performance.now();
const secondsSince = (start: number): string => `${((performance.now() - start) / 1000).toFixed(0)} s`;
const print = (text: string): void => {
  console.log(`${secondsSince(began).padStart(6)}  ${text}`);
};

// Exits after the time limit, so that the busy sessions are stopped in any case.
async function withTimeLimit(scenario: () => Promise<void>): Promise<void> {
  const timer = setTimeout(() => {
    print('time limit exceeded');
    endAll();
    process.exit(1);
  }, LIMIT_MS);
  await scenario();
  clearTimeout(timer);
}

const busySessions = Array.from({ length: Number(values.sessions) }, () =>
  spawn('/bin/sh', ['-c', 'while :; do :; done'], { detached: true, stdio: 'ignore' }),
);
function endAll(): void {
  for (const child of busySessions) child.kill('SIGKILL');
}
process.once('exit', endAll);
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));

async function checkFarm(): Promise<void> {
  const start = performance.now();
  const data = join(parent, 'data');
  const pathArgs = ['--port', '0', '--data-dir', data, '-o', join(parent, 'www')];
  const options = ['--json', '--once', ...pathArgs, ...packages];
  const child = spawn('nice', ['-n', values.nice, 'npm', 'start', '--silent', '--', ...options], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let ready = 'never';
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  for await (const line of createInterface({ input: child.stdout })) {
    if (!line.startsWith('{')) continue;
    const event = JSON.parse(line) as { event: string; text?: string; filenames?: readonly string[] };
    if (event.event === 'ready') ready = secondsSince(start);
    if (event.event !== 'idle' && event.event !== 'building' && event.event !== 'sending')
      print(`farm: ${event.event} ${event.text ?? event.filenames?.join(', ') ?? ''}`);
  }
  const code = await ended;
  const log = readFileSync(join(data, 'logs', 'master.log'), 'utf8').split('\n');
  const restarts = log.filter(isRestartLine);
  for (const line of restarts) print(line);
  const passed = code === 0 && restarts.length === 0;
  if (!passed) faults += 1;
  print(
    `farm at niceness ${values.nice}: ready after ${ready}, published and exited after ${secondsSince(start)} with code ${String(code)}, ${restarts.length} restarts${passed ? '' : '  FAILED'}`,
  );
}

async function checkMaster(): Promise<void> {
  const servers = await startServers(parent, print);
  await migrate(servers.dsn, { user: decodeURIComponent(new URL(servers.dsn).username) });
  const start = performance.now();
  const serverArgs = ['--nats', servers.nats, '-d', servers.dsn, '-o', join(parent, 'master-www')];
  const indexArgs = ['--pypi-simple', 'http://127.0.0.1:1/simple', '--watch', 'six'];
  const permissionArgs = ['--allow-root', '--allow-superuser', '--dev-mode'];
  const child = spawn(
    'nice',
    [...NICE_ARGS, 'master', '-c', '/dev/null', ...permissionArgs, ...serverArgs, ...indexArgs],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  );
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  let ready = 'never';
  const restarts: string[] = [];
  for await (const line of createInterface({ input: child.stderr })) {
    if (isRestartLine(line)) restarts.push(line);
    if (/master: (starting|all)/.test(line)) print(line);
    if (!line.includes(' all tasks are ready')) continue;
    ready = secondsSince(start);
    child.kill('SIGTERM');
  }
  const code = await ended;
  for (const line of restarts) print(line);
  const passed = ready !== 'never' && code === 0 && restarts.length === 0;
  if (!passed) faults += 1;
  print(
    `master at niceness ${values.nice}: ready after ${ready}, exited with code ${String(code)}, ${restarts.length} restarts${passed ? '' : '  FAILED'}`,
  );
  await servers.stop();
}

if (values.only !== 'master') await withTimeLimit(checkFarm);
if (values.only !== 'farm') await withTimeLimit(checkMaster);
endAll();
rmSync(parent, { recursive: true, force: true });
process.exit(faults === 0 ? 0 : 1);
