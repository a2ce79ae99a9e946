import t, { type Test } from 'tap';
import { newVersions } from '../../src/database/versions.js';
import { until } from '../helpers/bus.js';
import { runTask } from '../helpers/command.js';
import { MASTER_TASKS, testMaster } from '../helpers/master.js';
import { someRelease } from '../helpers/rows.js';
import { SimulatedSlave, type Order } from '../helpers/simulated-slave.js';

t.setTimeout(300_000);

const HEALTHY = 5;

/** A master with this many packages to build, and some healthy slaves beside one more. */
async function stage(t: Test, packages: number, healthy = HEALTHY) {
  const master = await testMaster(t, {
    versions: [],
    tasks: MASTER_TASKS.filter((task) => task !== 'slave-driver'),
  });
  const { bus, db, settings, said } = master;
  const drive = () => runTask(t, 'slave-driver', settings, { said });
  for (let i = 0; i < packages; i += 1) await newVersions(db, `p${String(i)}`, 'feed', [someRelease('1.0')]);
  const driver = drive();
  const sick = new SimulatedSlave(bus, 'sick', { label: 'attic' });
  const others = Array.from({ length: healthy }, (_, i) => new SimulatedSlave(bus, `healthy-${String(i)}`));
  for (const slave of [sick, ...others]) await slave.hello();
  return {
    ...{ ...master, driver, drive, sick, others },
    /** Rows of the sick slave's builds. */
    results: async (slave: SimulatedSlave) =>
      await db.query<{ package: string; status: boolean; put_back: string | null; output: string }>(
        `select p.package, b.status, b.put_back, b.output
         from builds b join versions using (version_id) join packages p using (package_id)
         where b.slave_id = $1 order by b.build_id`,
        [slave.slaveId],
      ),
    /** Failures that stand. */
    final: async () =>
      (
        await db.query<{ package: string }>(
          `select package from builds b join versions using (version_id) join packages using (package_id)
           where not b.status and not b.passing and b.put_back is null order by 1`,
        )
      ).map((row) => row.package),
    isSetAside: async (slave: SimulatedSlave) =>
      ((await master.slaves()).find(({ slave_id }) => slave_id === slave.slaveId)?.note ?? '').startsWith(
        'set aside',
      ),
  };
}

type Stage = Awaited<ReturnType<typeof stage>>;

const works = (): null => null;
const fails = (): string => 'compiler';

/** Each slave in its turn, until the sick one gets nothing; how many builds it has had. */
async function untilAside(
  { sick, others }: Stage,
  outcome: (order: Order) => string | null = works,
): Promise<number> {
  for (let builds = 0; builds < 40; builds += 1) {
    if (!(await sick.step(fails))) return builds;
    for (const other of others) await other.step(outcome);
  }
  return Infinity;
}

void t.test(
  'a slave that fails everything is set aside, and what it has failed with is built by others',
  async (t) => {
    const farm = await stage(t, 150);
    const { sick, others, said, db, control, results, final } = farm;
    const builds = await untilAside(farm);
    t.ok(builds <= 20, `after ${String(builds)} builds`);
    t.ok(await farm.isSetAside(sick));
    t.ok(
      said.some((line) =>
        /condition began kind=slave-set-aside subject=attic \(slave \d+\): \d+ of its last/.test(line),
      ),
      'the log has it',
    );
    t.same(await final(), [], 'nothing of it is final');
    const failed = await results(sick);
    t.equal(failed.length, builds);
    t.ok(
      failed.every(({ put_back, output }) => put_back === 'unconfirmed' && output === 'log'),
      'each keeps its log',
    );
    await until(async () => {
      for (const other of others) await other.step(works);
      return (await db.query('select 1 from queue')).length === 0;
    }, 60_000);
    t.match(await db.query('select count(distinct version_id)::int as built from builds where status'), [
      { built: 150 },
    ]);
    await newVersions(db, 'late', 'feed', [someRelease('1.0')]);
    t.equal(await sick.step(works), undefined, 'it gets nothing');
    await control.ask('WAKE', { slave_id: sick.slaveId });
    await until(async () => (await sick.step(works)) !== undefined);
    t.notOk(await farm.isSetAside(sick), 'until an administrator wakes it');
  },
);

void t.test('it stays set aside when the Slave Driver or the slave begins anew', async (t) => {
  const farm = await stage(t, 120);
  const { sick, others, driver, drive, bus, said } = farm;
  for (let builds = 0; builds < 5; builds += 1)
    for (const slave of [sick, ...others]) await slave.step(slave === sick ? fails : works);
  await driver.stop();
  const second = drive();
  const builds = 5 + (await untilAside(farm));
  t.ok(builds <= 20, `after ${String(builds)} builds, some of them for an earlier Slave Driver`);
  await second.stop();
  said.length = 0;
  drive();
  t.equal(await sick.step(fails), undefined);
  t.ok(await farm.isSetAside(sick));
  t.ok(
    said.some((line) => line.includes('kind=slave-set-aside')),
    'the new one says so, too',
  );
  await sick.bye();
  const restarted = new SimulatedSlave(bus, 'sick-again', { label: 'attic' });
  await restarted.hello();
  t.equal(await restarted.step(fails), undefined);
  t.ok(await farm.isSetAside(restarted));
});

void t.test('a storm of bad packages sets nobody aside, and its failures are final', async (t) => {
  const farm = await stage(t, 130);
  const { sick, others, final } = farm;
  for (let builds = 0; builds < 20; builds += 1)
    for (const slave of [sick, ...others]) t.ok(await slave.step(fails), 'it is given work');
  t.equal((await final()).length, 120);
});

void t.test('a slave without others is never set aside, and its failures are final', async (t) => {
  const farm = await stage(t, 30, 0);
  await until(async () => {
    await farm.sick.step(fails);
    return (await farm.final()).length === 30;
  }, 60_000);
  t.notOk(await farm.isSetAside(farm.sick));
});

void t.test('a slave was right when other slaves fail with the same builds: it works again', async (t) => {
  const farm = await stage(t, 150);
  const { sick, others, final } = farm;
  // What it is given fails, whoever builds it.
  const isBad = (name: string) => sick.orders.some((order) => order.package === name);
  const outcome = (order: Order) => (isBad(order.package) ? 'compiler' : null);
  await untilAside(farm, outcome);
  await until(async () => {
    for (const other of others) await other.step(outcome);
    return !(await farm.isSetAside(sick)) && (await final()).length > 0;
  }, 60_000);
  const confirmed = await final();
  t.ok(confirmed.length >= 6 && confirmed.every(isBad), 'what was confirmed is final');
});

void t.test(
  'a slave says what it lacks, and its failures for want of it are tried again elsewhere',
  async (t) => {
    const farm = await stage(t, 4, 0);
    const { bus, said, db } = farm;
    const lacking = new SimulatedSlave(bus, 'bare', { lacks: ['it has no working C compiler'] });
    await lacking.hello();
    t.ok(said.some((line) => /kind=slave-incomplete subject=bare .*it has no working C compiler/.test(line)));
    t.ok(await lacking.step(() => 'no-compiler'));
    t.match(await db.query('select passing from builds'), [{ passing: true }]);
    t.same(await farm.final(), []);
  },
);
