import { ProtocolClient } from '../../src/actor/client.js';
import { Database } from '../../src/database/pool.js';
import { oracle } from '../../src/protocols/oracle.js';
import type { Benchmark } from './bench.js';
import { cpuSeconds } from './cpu.js';
import { cpuCost, fillQueue, runSlaves } from './dispatch.js';
import { withBenchEnvironment } from './stage.js';

/** Queued builds per second of the run: more than the farm is expected to publish. */
const BUILDS_PER_SECOND = 1500;

/**
 * Measures how many successful builds per second the farm leases, receives the wheels of, and logs. The real actors run
 * under `piw master`, with a real nats-server and a PostgreSQL that fsyncs; the slaves are simulated, speak the real
 * protocol, and run on the same machine. Each build is IDLE, BUILD, BUILT, SEND, the wheel's transfer, SENT, DONE; then
 * the wheel is verified, on disk and listed.
 */
export const publish: Benchmark = {
  name: 'publish',
  summary: 'successful builds of simulated slaves, including their wheels',
  options: { slaves: 50, seconds: 60, kilobytes: 50 },
  async run({ slaves = 50, seconds = 60, kilobytes = 50 }, say) {
    return await withBenchEnvironment(say, async ({ nats, dsn, limits, pids, startMaster, connect }) => {
      const builds = Math.ceil(BUILDS_PER_SECOND * seconds);
      say(`filling the queue with ${builds} builds`);
      await fillQueue(dsn, builds, say);
      const master = startMaster({});
      const bus = await connect();
      await new ProtocolClient(bus, oracle, undefined, { timeoutMs: 2000, patienceMs: 30_000 }).request(
        'GETABIS',
        {},
      );
      say(`${slaves} slaves for ${seconds} s`);
      const roots = { master: master.pid, ...pids, slaves: process.pid };
      const before = cpuSeconds(roots);
      let after = before;
      const report = await runSlaves(
        { address: nats.slave, slaves, seconds, wheelBytes: kilobytes * 1000 },
        say,
        () => {
          after = cpuSeconds(roots);
        },
      );
      const database = await Database.open(dsn, 'bench');
      const [counts] = await database.query<{ builds: number; files: number }>(
        'select (select count(*) from builds where status) as builds, (select count(*) from files) as files',
      );
      await database.close();
      return {
        figures: {
          successful_builds_per_s: report.buildsDone / report.seconds,
          built_to_done_p50_ms: report.p50,
          built_to_done_p99_ms: report.p99,
          longest_freeze_ms: report.longestFreeze,
          slowest_second: report.slowestSecond,
          builds_in_database: counts?.builds ?? 0,
          files_in_database: counts?.files ?? 0,
          builds_done: report.buildsDone,
          ...cpuCost(before, after, report.buildsDone),
        },
        limits,
      };
    });
  },
};
