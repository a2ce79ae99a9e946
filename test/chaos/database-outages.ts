/**
 * Runs a master with two slaves, and makes its PostgreSQL unusable in several ways, one after the other. Work
 * must resume by itself within 15 s of its return; no build may be recorded as failed, and no process may
 * exit.
 *
 *     node dist/test/chaos/database-outages.js [--seconds N] [KIND…]
 *
 * Prints a table: the kind, the conditions that the farm reported during the outage, seconds from its end
 * until the next build was logged, builds logged as failed, and lines in the master's log about crashes.
 * Exits with 1 if any check fails. For the full disk it mounts a tmpfs, which requires root.
 */
import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  createWriteStream,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { BuildSlave } from '../../src/slave/build-slave.js';
import { systemClock } from '../../src/concurrency/clock.js';
import { ConditionBoard } from '../../src/actor/conditions.js';
import { Bus } from '../../src/bus/bus.js';
import type { BuildRequest } from '../../src/builder/build.js';
import { formatConfig } from '../../src/settings/config-file.js';
import { migrate } from '../../src/database/migrations.js';
import { Database } from '../../src/database/pool.js';
import { addTarget } from '../../src/database/targets.js';
import { addReleases } from '../../src/database/versions.js';
import { PiwError } from '../../src/errors.js';
import { DataFolder } from '../../src/servers/data-folder.js';
import { startPostgres } from '../../src/servers/postgres.js';
import { unprivilegedAccount } from '../../src/servers/privileges.js';
import { createLog } from '../../src/log.js';
import { conditionReports } from '../../src/protocols/conditions.js';
import { slaveHello, succeedingBuild } from '../helpers/master.js';
import { PLATFORM, someRelease } from '../helpers/rows.js';
import { startServers } from '../helpers/servers.js';

const { values, positionals } = parseArgs({
  options: { seconds: { type: 'string', default: '20' } },
  allowPositionals: true,
});
const OUTAGE_S = Number(values.seconds);
const RECOVERY_LIMIT_S = 15;
const TMPFS_MB = 400;
const CRASH_LINE = /PIW_ACTOR_FAILING|task killed|starting it again|ended with exit code|^\s+at .*\.js:/;

const folder = mkdtempSync(join(tmpdir(), 'piw-outages-'));
chmodSync(folder, 0o755);
const disk = join(folder, 'disk');
mkdirSync(disk);
let mounted = false;
try {
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${TMPFS_MB}m,mode=755`, 'tmpfs', disk], {
    stdio: 'ignore',
  });
  mounted = true;
} catch {
  console.log('disk full: skipped, because a tmpfs cannot be mounted here');
}

const servers = await startServers(folder, console.log);
const dataFolder = DataFolder.open(join(disk, 'database'), unprivilegedAccount());
const postgres = await startPostgres({
  folder: dataFolder,
  log: console.log,
  signal: new AbortController().signal,
  onFailure: (error) => {
    console.log(error.message);
  },
});
await migrate(postgres.adminDsn, { user: postgres.role });
const openDatabase = async () => await Database.open(postgres.adminDsn, 'chaos', { connections: 1 });
const runAsAdmin = async (...statements: readonly string[]): Promise<void> => {
  const db = await openDatabase();
  try {
    for (const statement of statements) await db.query(statement);
  } finally {
    await db.close();
  }
};
const seed = await openDatabase();
await addTarget(seed, { abi: 'cp311', platform: PLATFORM, py_version_tag: 'cp311', skip: null });
const releases = Array.from({ length: 3000 }, (_, n) => someRelease(`1.${n}`));
await addReleases(seed, 'demo', 'feed', releases);
await seed.close();

const config = join(folder, 'piwheels.conf');
const output = join(folder, 'www');
writeFileSync(
  config,
  formatConfig({
    dsn: postgres.dsn,
    nats: servers.nats,
    prefix: 'chaos',
    'output-path': output,
    'dev-mode': true,
    'watch-only': true,
  }),
);
const logFile = join(folder, 'master.log');
const bin = fileURLToPath(new URL('../../run/bin.js', import.meta.url));
const master = spawn(process.execPath, [bin, 'master', '--allow-root', '-c', config], {
  stdio: ['ignore', 'ignore', 'pipe'],
});
master.stderr.pipe(createWriteStream(logFile));
const masterState = { ended: false };
master.once('exit', () => (masterState.ended = true));

const bus = await Bus.connect({ address: servers.nats, name: 'chaos', prefix: 'chaos' });
const conditionsSeen = new Set<string>();
const board = new ConditionBoard(systemClock);
void (async () => {
  for await (const incoming of bus.subscribe(bus.subject('conditions', 'REPORT'))) {
    const { source, conditions } = conditionReports.unpack(await incoming.body());
    board.report(source, conditions);
    for (const { kind } of conditions) conditionsSeen.add(kind);
  }
})();

const stopSlaves = new AbortController();
const slaves = ['a', 'b'].map(async (name) => {
  const workDir = mkdtempSync(join(folder, `slave-${name}-`));
  const builder = {
    build: async (request: BuildRequest) => {
      await sleep(300);
      return await succeedingBuild(request, workDir);
    },
    clean: () => Promise.resolve(),
  };
  const slave = new BuildSlave({
    bus: await Bus.connect({ address: servers.nats, name, prefix: 'chaos' }),
    log: createLog(name, 'error'),
    clock: systemClock,
    builder: builder as never,
    user: 'slave',
    workDir,
    hello: slaveHello(name),
    thresholds: { diskFree: 0, memoryFree: 0, load: 0, temperature: 0 },
  });
  await slave.run(stopSlaves.signal);
});

/**
 * Returns how many builds are logged, and how many of them as failed; undefined if the database is
 * unavailable.
 */
async function buildCounts(): Promise<{ all: number; failed: number } | undefined> {
  try {
    const db = await openDatabase();
    try {
      const [row] = await db.query<{ all: number; failed: number }>(
        'select count(*) as all, count(*) filter (where not status) as failed from builds',
      );
      return row;
    } finally {
      await db.close();
    }
  } catch (error) {
    if (!(error instanceof PiwError)) throw error;
    return undefined;
  }
}

/** Returns the seconds until more builds are logged than `before`. */
async function secondsUntilBuild(before: number, limitS = 180): Promise<number> {
  const began = performance.now();
  while (performance.now() - began < limitS * 1000) {
    if (((await buildCounts())?.all ?? 0) > before) return (performance.now() - began) / 1000;
    await sleep(100);
  }
  return Infinity;
}

const postmaster = (): number =>
  Number(readFileSync(join(dataFolder.path, 'postgres', 'postmaster.pid'), 'utf8').split('\n')[0]);
const endSessions = `select pg_terminate_backend(pid) from pg_stat_activity where usename = '${postgres.role}'`;
const fillerPath = join(disk, 'filler');

/** The outages: how each begins and ends. */
const OUTAGES: Readonly<
  Record<string, readonly [begin: () => Promise<void> | void, end: () => Promise<void> | void]>
> = {
  'read-only': [
    () =>
      runAsAdmin(
        'alter system set default_transaction_read_only = on',
        'select pg_reload_conf()',
        endSessions,
      ),
    // ALTER SYSTEM writes no table, so it works in a read-only session.
    () =>
      runAsAdmin('alter system reset default_transaction_read_only', 'select pg_reload_conf()', endSessions),
  ],
  'no connections': [
    () => runAsAdmin(`alter role ${postgres.role} connection limit 0`, endSessions),
    () => runAsAdmin(`alter role ${postgres.role} connection limit -1`),
  ],
  restarted: [
    () => {
      process.kill(postmaster(), 'SIGINT');
    },
    () => undefined,
  ],
  hangs: [
    () => {
      for (const pid of serverPids()) process.kill(pid, 'SIGSTOP');
    },
    () => {
      for (const pid of serverPids()) process.kill(pid, 'SIGCONT');
    },
  ],
  ...(mounted
    ? {
        'disk full': [
          () => {
            const { bavail, bsize } = statfsSync(disk);
            writeFileSync(fillerPath, Buffer.alloc(Math.max(0, bavail * bsize - 65_536)));
          },
          () => {
            rmSync(fillerPath, { force: true });
          },
        ] as const,
      }
    : {}),
};

/** Returns the process ids of the server and its sessions. */
function serverPids(): readonly number[] {
  const parent = String(postmaster());
  const psOutput = execFileSync('ps', ['-o', 'pid=', '--ppid', parent], { encoding: 'utf8' });
  return [
    Number(parent),
    ...psOutput
      .split('\n')
      .map(Number)
      .filter((pid) => pid > 0),
  ];
}

let anyFailure = false;
const crashLines = (): number =>
  readFileSync(logFile, 'utf8')
    .split('\n')
    .filter((line) => CRASH_LINE.test(line)).length;
const rows: string[][] = [['kind', 'condition', 'seconds until work', 'recorded as failed', 'crash lines']];
try {
  if ((await secondsUntilBuild(0, 120)) === Infinity) throw new Error('no build was ever logged');
  const kinds = positionals.length > 0 ? positionals : Object.keys(OUTAGES);
  for (const kind of kinds) {
    const outage = OUTAGES[kind];
    if (!outage) throw new Error(`there is no outage ${kind}`);
    const [startOutage, endOutage] = outage;
    const crashesBefore = crashLines();
    conditionsSeen.clear();
    await startOutage();
    await sleep(OUTAGE_S * 1000);
    const conditions = [...conditionsSeen].join(' ');
    const before = kind === 'hangs' ? undefined : await buildCounts();
    await endOutage();
    const baseline = before ?? (await buildCounts());
    const seconds = await secondsUntilBuild(baseline?.all ?? 0);
    const failed = (await buildCounts())?.failed ?? -1;
    const crashes = crashLines() - crashesBefore;
    rows.push([kind, conditions, seconds.toFixed(1), String(failed), String(crashes)]);
    anyFailure ||= seconds > RECOVERY_LIMIT_S || failed !== 0 || crashes > 0 || masterState.ended;
    await secondsUntilBuild((await buildCounts())?.all ?? 0);
    await sleep(5000);
  }
} finally {
  const widths = rows[0]?.map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0))) ?? [];
  for (const row of rows) console.log(row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  '));
  console.log(masterState.ended ? 'the master has exited' : 'the master is running');
  if (anyFailure)
    console.log(
      readFileSync(logFile, 'utf8')
        .split('\n')
        .filter((line) => CRASH_LINE.test(line))
        .slice(0, 20)
        .join('\n'),
    );
  stopSlaves.abort();
  await Promise.race([Promise.allSettled(slaves), sleep(5000)]);
  await bus.drain();
  master.kill('SIGTERM');
  for (let i = 0; i < 250 && !masterState.ended; i += 1) await sleep(100);
  await postgres.process.stop();
  await servers.stop();
  if (mounted) execFileSync('umount', [disk]);
  rmSync(folder, { recursive: true, force: true });
}
process.exit(anyFailure ? 1 : 0);
