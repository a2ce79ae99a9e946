import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { ProtocolClient } from '../../src/actor/client.js';
import { Database } from '../../src/database/pool.js';
import { addTarget } from '../../src/database/targets.js';
import { addReleases } from '../../src/database/versions.js';
import { oracle } from '../../src/protocols/oracle.js';
import type { Benchmark } from './bench.js';
import { cpuSeconds } from './cpu.js';
import type { SlavesOptions, SlavesReport } from './slaves.js';
import { withBenchEnvironment } from './stage.js';

const TARGET = { abi: 'cp311', platform: 'linux_x86_64', py_version_tag: 'cp311', skip: null };
/** Queued builds per second of the run: more than the farm is expected to build. */
const BUILDS_PER_SECOND = 3500;
/** Versions of one package; PyPI's mean is 11. */
const VERSIONS_PER_PACKAGE = 50;

/**
 * Measures how many failed builds per second the farm leases and logs. The real actors run under `piw master`, with a
 * real nats-server and a PostgreSQL that fsyncs; the slaves are simulated, speak the real protocol, and run on the same
 * machine. Each build is IDLE, BUILD, BUILT with a log of 2 KB, DONE.
 */
export const dispatch: Benchmark = {
  name: 'dispatch',
  summary: 'failed builds of simulated slaves, with the real actors',
  options: { slaves: 200, seconds: 180, oracles: 1 },
  async run({ slaves = 200, seconds = 180, oracles = 1 }, say) {
    return await withBenchEnvironment(say, async ({ nats, dsn, limits, pids, startMaster, connect }) => {
      const builds = Math.ceil(BUILDS_PER_SECOND * seconds);
      say(`filling the queue with ${builds} builds`);
      await fillQueue(dsn, builds, say);
      const master = startMaster({ oracles });
      const bus = await connect();
      await new ProtocolClient(bus, oracle, undefined, { timeoutMs: 2000, patienceMs: 30_000 }).request(
        'GETABIS',
        {},
      );
      say(`${slaves} slaves for ${seconds} s`);
      const roots = {
        master: master.pid,
        ...pids,
        slaves: process.pid,
      };
      const before = cpuSeconds(roots);
      let after = before;
      const report = await runSlaves({ address: nats.slave, slaves, seconds }, say, () => {
        after = cpuSeconds(roots);
      });
      const database = await Database.open(dsn, 'bench');
      const [logged] = await database.query<{ count: number }>('select count(*) as count from builds');
      await database.close();
      return {
        figures: {
          failed_builds_per_s: report.buildsDone / report.seconds,
          built_p50_ms: report.p50,
          built_p99_ms: report.p99,
          longest_freeze_ms: report.longestFreeze,
          slowest_second: report.slowestSecond,
          builds_in_database: logged?.count ?? 0,
          builds_done: report.buildsDone,
          ...cpuCost(before, after, report.buildsDone),
        },
        limits,
      };
    });
  },
};

/** Returns the CPU time per build (or MB) in microseconds, by process: what would have to shrink for a higher rate. */
export function cpuCost(
  before: ReadonlyMap<string, number>,
  after: ReadonlyMap<string, number>,
  count: number,
  unit = 'build',
): Record<string, number> {
  const rows = [...after].map(
    ([name, seconds]) => [name, ((seconds - (before.get(name) ?? 0)) / count) * 1e6] as const,
  );
  rows.sort(([, a], [, b]) => b - a);
  return Object.fromEntries(
    rows
      .filter(([, us]) => us >= 5)
      .map(([name, us]) => [`cpu_us_per_${unit}_${name.replaceAll('-', '_')}`, us]),
  );
}

/** Registers TARGET and fills the queue with `builds` builds for it. */
export async function fillQueue(dsn: string, builds: number, say: (line: string) => void): Promise<void> {
  const database = await Database.open(dsn, 'bench');
  try {
    await addTarget(database, TARGET);
    const packages = Math.ceil(builds / VERSIONS_PER_PACKAGE);
    const sha256 = 'a'.repeat(64);
    let nextPackage = 0;
    const worker = async (): Promise<void> => {
      for (let n = nextPackage++; n < packages; n = nextPackage++) {
        const releases = Array.from({ length: VERSIONS_PER_PACKAGE }, (_, i) => ({
          version: `1.${i}`,
          released: 1.6e12 + n * 1000 + i,
          yanked: null,
          has_sdist: true,
          sdist_url: `https://example.org/p${n}-1.${i}.tar.gz`,
          sdist_sha256: sha256,
          requires_python: '>=3.8',
          priority: 0,
        }));
        await addReleases(database, `p${n}`, 'feed', releases);
        if (n > 0 && n % 4000 === 0) say(`${n * VERSIONS_PER_PACKAGE} …`);
      }
    };
    await Promise.all([worker(), worker(), worker(), worker()]);
    await database.query('delete from pages_backlog');
    await database.query('analyze');
  } finally {
    await database.close();
  }
}

/** Runs the simulated slaves in a process of their own, and calls `onEnd` as soon as they have finished. */
export async function runSlaves(
  options: SlavesOptions,
  say: (line: string) => void,
  onEnd: () => void,
): Promise<SlavesReport> {
  const child = fork(fileURLToPath(new URL('./slaves.js', import.meta.url)), [JSON.stringify(options)], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  return await new Promise((resolve, reject) => {
    child.on('message', (message: SlavesReport | { line: string }) => {
      if ('line' in message) say(message.line);
      else {
        onEnd();
        resolve(message);
      }
    });
    child.once('error', reject);
    child.once('exit', (code) => {
      reject(new Error(`the process of the simulated slaves exited with code ${String(code)}`));
    });
  });
}
