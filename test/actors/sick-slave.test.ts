import t, { type Test } from 'tap';
import { addReleases } from '../../src/database/versions.js';
import { until } from '../helpers/bus.js';
import { runTask } from '../helpers/command.js';
import { MASTER_TASKS, testMaster } from '../helpers/master.js';
import { someRelease } from '../helpers/rows.js';
import { SimulatedSlave, type SimulatedBuild } from '../helpers/simulated-slave.js';

t.setTimeout(300_000);

const HEALTHY_SLAVES = 5;

/** Starts a master with this many packages to build, some healthy slaves, and a sick one. */
async function stage(t: Test, packages: number, healthy = HEALTHY_SLAVES) {
  const master = await testMaster(t, {
    versions: [],
    tasks: MASTER_TASKS.filter((task) => task !== 'slave-driver'),
  });
  const { bus, db, settings, logLines } = master;
  const startDriver = () => runTask(t, 'slave-driver', settings, { logLines });
  for (let i = 0; i < packages; i += 1) await addReleases(db, `p${i}`, 'feed', [someRelease('1.0')]);
  const driver = startDriver();
  const sick = new SimulatedSlave(bus, 'sick', { label: 'attic' });
  const others = Array.from({ length: healthy }, (_, i) => new SimulatedSlave(bus, `healthy-${i}`));
  for (const slave of [sick, ...others]) await slave.hello();
  return {
    ...master,
    driver,
    startDriver,
    sick,
    others,
    /** The rows of a slave's builds. */
    results: async (slave: SimulatedSlave) =>
      await db.query<{ package: string; status: boolean; requeue_reason: string | null; output: string }>(
        `select p.package, b.status, b.requeue_reason, b.output
         from builds b join versions using (version_id) join packages p using (package_id)
         where b.slave_id = $1 order by b.build_id`,
        [slave.slaveId],
      ),
    /** Packages whose failures are final. */
    finalFailures: async () =>
      (
        await db.query<{ package: string }>(
          `select package from builds b join versions using (version_id) join packages using (package_id)
           where not b.status and not b.transient and b.requeue_reason is null order by 1`,
        )
      ).map((row) => row.package),
    isSetAside: async (slave: SimulatedSlave) =>
      ((await master.slaves()).find(({ slave_id }) => slave_id === slave.slaveId)?.note ?? '').startsWith(
        'set aside',
      ),
  };
}

type SickSlaveFarm = Awaited<ReturnType<typeof stage>>;

const succeeds = (): null => null;
const fails = (): string => 'compiler';

/** Gives all slaves work in turn until the sick one gets none. Returns how many builds it has had. */
async function untilSetAside(
  { sick, others }: SickSlaveFarm,
  outcome: (order: SimulatedBuild) => string | null = succeeds,
): Promise<number> {
  for (let builds = 0; builds < 40; builds += 1) {
    if (!(await sick.workOnce(fails))) return builds;
    for (const other of others) await other.workOnce(outcome);
  }
  return Infinity;
}

void t.test(
  'a slave that fails everything is set aside, and others build the packages that it failed',
  async (t) => {
    const farm = await stage(t, 150);
    const { sick, others, logLines, db, control, results, finalFailures } = farm;
    const builds = await untilSetAside(farm);
    t.ok(builds <= 20, `after ${builds} builds`);
    t.ok(await farm.isSetAside(sick));
    t.ok(
      logLines.some((line) =>
        /condition began kind=slave-set-aside subject="attic \(slave \d+\)" .*\d+ of its last/.test(line),
      ),
      'the log says so',
    );
    t.same(await finalFailures(), [], 'none of its failures is final');
    const failed = await results(sick);
    t.equal(failed.length, builds);
    t.ok(
      failed.every(({ requeue_reason, output }) => requeue_reason === 'unconfirmed' && output === 'log'),
      'each keeps its log',
    );
    await until(async () => {
      for (const other of others) await other.workOnce(succeeds);
      return (await db.query('select 1 from queue')).length === 0;
    }, 60_000);
    t.match(await db.query('select count(distinct version_id)::int as built from builds where status'), [
      { built: 150 },
    ]);
    await addReleases(db, 'late', 'feed', [someRelease('1.0')]);
    t.equal(await sick.workOnce(succeeds), undefined, 'it gets no work');
    await control.request('WAKE', { slave_id: sick.slaveId });
    await until(async () => (await sick.workOnce(succeeds)) !== undefined);
    t.notOk(await farm.isSetAside(sick), 'until an administrator wakes it');
  },
);

void t.test('it stays set aside when the Slave Driver or the slave is restarted', async (t) => {
  const farm = await stage(t, 120);
  const { sick, others, driver, startDriver, bus, logLines } = farm;
  for (let builds = 0; builds < 5; builds += 1)
    for (const slave of [sick, ...others]) await slave.workOnce(slave === sick ? fails : succeeds);
  await driver.stop();
  const second = startDriver();
  const builds = 5 + (await untilSetAside(farm));
  t.ok(builds <= 20, `after ${builds} builds, some of them for an earlier Slave Driver`);
  await second.stop();
  logLines.length = 0;
  startDriver();
  t.equal(await sick.workOnce(fails), undefined);
  t.ok(await farm.isSetAside(sick));
  t.ok(
    logLines.some((line) => line.includes('kind=slave-set-aside')),
    'the new one raises the condition, too',
  );
  await sick.bye();
  const restarted = new SimulatedSlave(bus, 'sick-again', { label: 'attic' });
  await restarted.hello();
  t.equal(await restarted.workOnce(fails), undefined);
  t.ok(await farm.isSetAside(restarted));
});

void t.test('a storm of bad packages sets no slave aside, and its failures are final', async (t) => {
  const farm = await stage(t, 130);
  const { sick, others, finalFailures } = farm;
  for (let builds = 0; builds < 20; builds += 1)
    for (const slave of [sick, ...others]) t.ok(await slave.workOnce(fails), 'it gets work');
  t.equal((await finalFailures()).length, 120);
});

void t.test('a single slave is never set aside, and its failures are final', async (t) => {
  const farm = await stage(t, 30, 0);
  await until(async () => {
    await farm.sick.workOnce(fails);
    return (await farm.finalFailures()).length === 30;
  }, 60_000);
  t.notOk(await farm.isSetAside(farm.sick));
});

void t.test('a slave is acquitted when other slaves fail the same builds', async (t) => {
  const farm = await stage(t, 150);
  const { sick, others, finalFailures } = farm;
  // The packages that it gets fail on every slave.
  const isBad = (name: string) => sick.orders.some((order) => order.package === name);
  const outcome = (order: SimulatedBuild) => (isBad(order.package) ? 'compiler' : null);
  await untilSetAside(farm, outcome);
  await until(async () => {
    for (const other of others) await other.workOnce(outcome);
    return !(await farm.isSetAside(sick)) && (await finalFailures()).length > 0;
  }, 60_000);
  const confirmed = await finalFailures();
  t.ok(confirmed.length >= 6 && confirmed.every(isBad), 'confirmed failures are final');
});

void t.test('a slave reports what it lacks, and failures due to that are retried elsewhere', async (t) => {
  const farm = await stage(t, 4, 0);
  const { bus, logLines, db } = farm;
  const incompleteSlave = new SimulatedSlave(bus, 'bare', { lacks: ['it has no working C compiler'] });
  await incompleteSlave.hello();
  t.ok(
    logLines.some((line) => /kind=slave-incomplete subject="?bare.*it has no working C compiler/.test(line)),
  );
  t.ok(await incompleteSlave.workOnce(() => 'no-compiler'));
  t.match(await db.query('select transient from builds'), [{ transient: true }]);
  t.same(await farm.finalFailures(), []);
});
