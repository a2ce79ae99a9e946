/**
 * Runs thirty slaves, of which one fails everything, on the real cast with real servers: it must be set aside
 * within 20 of its builds, and none of its failures may stay final. Then `piw retry` requeues thousands of
 * failures.
 *
 *     node dist/test/chaos/sick-slave.js [--slaves 30] [--packages 2000] [--bad 15] [--failures 5000]
 *
 * `--bad` is the percentage of packages that fail on every slave. Prints figures; exits with 1 if any check
 * fails.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { ProtocolClient } from '../../src/actor/client.js';
import { Bus } from '../../src/bus/bus.js';
import { formatConfig } from '../../src/settings/config-file.js';
import { logBuilds } from '../../src/database/builds.js';
import { Database } from '../../src/database/pool.js';
import { addTarget } from '../../src/database/targets.js';
import { addReleases } from '../../src/database/versions.js';
import { oracle } from '../../src/protocols/oracle.js';
import type { LoggedBuild } from '../../src/model/build.js';
import { NO_DETAILS } from '../../src/model/build-details.js';
import { withBenchEnvironment, type BenchEnvironment } from '../bench/stage.js';
import { PLATFORM, someRelease } from '../helpers/rows.js';
import { SimulatedSlave } from '../helpers/simulated-slave.js';

const BIN = fileURLToPath(new URL('../../run/bin.js', import.meta.url));
const ABI = 'cp311';
/** Milliseconds that a simulated build takes: a sick slave is quick. */
const BUILD_MS = { sick: 20, healthy: [40, 200] } as const;
const LIMIT_MS = 10 * 60_000;
const CONNECTIONS = 6;

const { values } = parseArgs({
  options: {
    slaves: { type: 'string', default: '30' },
    packages: { type: 'string', default: '2000' },
    bad: { type: 'string', default: '15' },
    failures: { type: 'string', default: '5000' },
  },
});
const slaveCount = Number(values.slaves);
const packageCount = Number(values.packages);
const failureCount = Number(values.failures);
const badShare = Number(values.bad) / 100;

let faults = 0;
const print = (line: string): void => {
  process.stdout.write(`${line}\n`);
};
const report = (passed: boolean, description: string): void => {
  print(`${passed ? 'ok  ' : 'FAIL'} ${description}`);
  if (!passed) faults += 1;
};

/** Returns whether a package is bad: always the same for a package, and evenly spread. */
const isBad = (name: string): boolean => (Number(name.slice(1)) * 0.618_033_988_75) % 1 < badShare;

await withBenchEnvironment(
  () => undefined,
  async (stage) => {
    const { dsn, nats, startMaster, connect } = stage;
    const db = await Database.open(dsn, 'chaos');
    await addTarget(db, { abi: ABI, platform: PLATFORM, py_version_tag: ABI, skip: null });
    for (let i = 0; i < packageCount; i += 1) await addReleases(db, `p${i}`, 'feed', [someRelease('1.0')]);
    startMaster({});
    const bus = await connect();
    await new ProtocolClient(bus, oracle, undefined, { timeoutMs: 2000, patienceMs: 120_000 }).request(
      'GETABIS',
      {},
    );
    await checkSickSlave(db, nats.slave);
    await checkRetry(db, stage);
    await db.close();
  },
);
process.exit(faults === 0 ? 0 : 1);

async function checkSickSlave(db: Database, address: string): Promise<void> {
  const buses = await Promise.all(
    Array.from({ length: CONNECTIONS }, (_, i) =>
      Bus.connect({
        address,
        name: `slaves ${i}`,
        inboxPrefix: '_INBOX_slave',
        bucket: 'piw-slave-slave',
      }),
    ),
  );
  const slaves = Array.from({ length: slaveCount }, (_, i) => {
    const bus = buses[i % CONNECTIONS];
    if (!bus) throw new Error('no connection');
    return new SimulatedSlave(bus, `simulated-${i}`);
  });
  const [sick] = slaves;
  if (!sick) throw new Error('no slave');
  for (const slave of slaves) await slave.hello();
  const began = performance.now();
  let setAsideAfterS = 0;
  let finished = false;
  const workers = slaves.map(async (slave, i) => {
    // They don't all start at once.
    await sleep(i * 5);
    while (!finished) {
      const [minMs, maxMs] = slave === sick ? [BUILD_MS.sick, BUILD_MS.sick] : BUILD_MS.healthy;
      await sleep(minMs + Math.random() * (maxMs - minMs));
      const order = await slave.workOnce((build) =>
        slave === sick || isBad(build.package) ? 'compiler' : null,
      );
      if (order === undefined && slave === sick && setAsideAfterS === 0 && sick.orders.length > 0)
        setAsideAfterS = (performance.now() - began) / 1000;
      if (order === undefined) await sleep(500);
    }
  });
  while (!finished) {
    const [remaining] = await db.query<{ builds: number }>('select count(*)::int as builds from queue');
    if (performance.now() - began > LIMIT_MS)
      report(false, `${String(remaining?.builds)} builds are left after ${LIMIT_MS / 60_000} min`);
    finished = remaining?.builds === 0 || performance.now() - began > LIMIT_MS;
    await sleep(500);
  }
  await Promise.all(workers);
  const setAsideSlaves = await db.query<{ slave_id: number; set_aside_reason: string }>(
    'select slave_id, set_aside_reason from slaves where set_aside is not null',
  );
  print(
    `     ${setAsideSlaves.map(({ slave_id, set_aside_reason: reason }) => `slave ${slave_id}: ${reason}`).join('; ')}`,
  );
  report(
    setAsideSlaves.length === 1 && setAsideSlaves[0]?.slave_id === sick.slaveId,
    'the sick slave is set aside, and no other',
  );
  report(
    sick.orders.length <= 20,
    `it had ${sick.orders.length} builds, and was set aside ${setAsideAfterS.toFixed(1)} s after its first`,
  );
  const failures = await db.query<{ slave_id: number; package: string; requeue_reason: string | null }>(
    `select b.slave_id, p.package, b.requeue_reason
     from builds b join versions using (version_id) join packages p using (package_id) where not b.status and not b.transient`,
  );
  const finalFailures = failures.filter(({ requeue_reason }) => requeue_reason === null);
  report(
    finalFailures.every(({ slave_id }) => slave_id !== sick.slaveId),
    'none of its failures is final',
  );
  report(
    finalFailures.every((failure) => isBad(failure.package)),
    `each of the ${finalFailures.length} final failures belongs to a package that fails everywhere`,
  );
  const [built] = await db.query<{ versions: number }>(
    'select count(distinct version_id)::int as versions from builds where status',
  );
  const goodPackages = Array.from({ length: packageCount }, (_, i) => `p${i}`).filter((name) => !isBad(name));
  report(built?.versions === goodPackages.length, `all ${goodPackages.length} good packages are built`);
  for (const slave of slaves) await slave.bye();
  await Promise.all(buses.map((bus) => bus.drain()));
}

async function checkRetry(db: Database, { nats }: BenchEnvironment): Promise<void> {
  const before = await db.query<{ failures: number }>(
    'select count(*)::int as failures from builds where not status and not transient and requeue_reason is null',
  );
  const failedBuilds: LoggedBuild[] = [];
  for (let i = 0; i < failureCount; i += 1) {
    const name = `r${i % 500}`;
    failedBuilds.push({
      lease: null,
      slave_id: null,
      package: name,
      version: `1.${i}`,
      abi: ABI,
      platform: PLATFORM,
      status: false,
      failure_class: 'timeout',
      duration_s: 1,
      output: 'it took too long\n'.repeat(100),
      details: NO_DETAILS,
      files: [],
      served: [],
    });
  }
  for (const name of new Set(failedBuilds.map((build) => build.package))) {
    const versions = failedBuilds.filter((build) => build.package === name);
    await addReleases(
      db,
      name,
      'feed',
      versions.map(({ version }) => someRelease(version, { priority: 1 })),
    );
    await logBuilds(db, versions);
  }
  const configDir = mkdtempSync(join(tmpdir(), 'piw-retry-'));
  const configFile = join(configDir, 'piwheels.conf');
  writeFileSync(configFile, formatConfig({ nats: nats.master }), { mode: 0o600 });
  const retry = async (
    ...args: readonly string[]
  ): Promise<{ readonly builds: number; readonly seconds: number }> => {
    const began = performance.now();
    const { stdout } = await promisify(execFile)(process.execPath, [
      BIN,
      'retry',
      ...args,
      '--json',
      '-c',
      configFile,
    ]);
    const { builds } = JSON.parse(stdout) as { builds: number };
    return { builds, seconds: (performance.now() - began) / 1000 };
  };
  const dryRun = await retry('--class', 'timeout', '--text', 'took too long', '--dry-run');
  report(
    dryRun.builds === failureCount,
    `a dry run finds ${dryRun.builds} by a text in their logs in ${dryRun.seconds.toFixed(1)} s`,
  );
  const first = await retry('--class', 'timeout', '--yes');
  report(
    first.builds === failureCount,
    `piw retry requeues ${first.builds} failures in ${first.seconds.toFixed(1)} s`,
  );
  const second = await retry('--class', 'timeout', '--yes');
  report(second.builds === 0, `a second run requeues ${second.builds} in ${second.seconds.toFixed(1)} s`);
  const [queued] = await db.query<{ builds: number; urgent: number }>(
    'select count(*)::int as builds, count(*) filter (where priority > 0)::int as urgent from queue',
  );
  report(
    queued?.builds === failureCount && queued.urgent === 0,
    `${String(queued?.builds)} builds wait, all in the backlog`,
  );
  const after = await db.query<{ failures: number }>(
    'select count(*)::int as failures from builds where not status and not transient and requeue_reason is null',
  );
  report(after[0]?.failures === before[0]?.failures, 'nothing else was requeued');
  rmSync(configDir, { recursive: true, force: true });
}
