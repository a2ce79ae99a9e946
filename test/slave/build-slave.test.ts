import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { deferred } from '../../src/concurrency/deferred.js';
import { systemClock, type Clock } from '../../src/concurrency/clock.js';
import { PiwError } from '../../src/errors.js';
import { until } from '../helpers/bus.js';
import { runTask } from '../helpers/command.js';
import {
  MASTER_TASKS,
  slaveHello,
  hangingBuild,
  succeedingBuild,
  testMaster,
  testSlave,
  type BuildStub,
} from '../helpers/master.js';

t.setTimeout(180_000);

const NO_THRESHOLDS = { diskFree: 0, memoryFree: 0, load: 0, temperature: 0 };

/** Runs a hundred times as fast. */
const fastClock: Clock = {
  now: () => systemClock.now(),
  monotonicMs: () => systemClock.monotonicMs(),
  after: (ms, callback) => systemClock.after(ms / 100, callback),
};

/** Returns builds that end once `open` is called. */
function gated(): { readonly pip: BuildStub; readonly open: () => void } {
  const opened = deferred();
  return {
    open: opened.resolve,
    pip: async (request, workDir) => {
      await opened.promise;
      return await succeedingBuild(request, workDir);
    },
  };
}

/** Returns builds of which the first runs until it is aborted, and the others succeed at once. */
const firstBuildHangs = (): BuildStub => {
  let first = true;
  return (request, workDir) => {
    const pip = first ? hangingBuild : succeedingBuild;
    first = false;
    return pip(request, workDir);
  };
};

const BUILDS =
  'select v.version, b.status from builds b join versions v using (version_id) order by build_id';

void t.test('SKIP aborts the current build at once, and the slave starts the next one', async (t) => {
  const { db, prefix, control, untilSlave } = await testMaster(t, { versions: ['1.0', '2.0'] });
  const slave = await testSlave(t, prefix, firstBuildHangs());
  await untilSlave(({ state, version }) => state === 'building' && version === '2.0');
  await control.request('SKIP', { slave_id: null });
  await until(async () => (await db.query(BUILDS)).length === 1);
  t.same(await db.query(BUILDS), [{ version: '1.0', status: true }]);
  t.match(
    await db.query('select slave_id, leased_until > now() as held from queue'),
    [{ slave_id: null, held: true }],
    'it is held back from the same slave',
  );
  slave.stop();
  await slave.ended;
});

void t.test('KILL during a build stops the slave, and the build is back in the queue', async (t) => {
  const { db, prefix, control, untilSlave } = await testMaster(t);
  const slave = await testSlave(t, prefix, hangingBuild);
  await untilSlave(({ state }) => state === 'building');
  await control.request('KILL', { slave_id: null, after_build: false });
  await slave.ended;
  t.same(await db.query(BUILDS), []);
  t.same(await db.query('select lease from queue'), [{ lease: null }]);
});

void t.test('KILL after the build publishes it, and then stops the slave', async (t) => {
  const { db, prefix, control, untilSlave } = await testMaster(t, { versions: ['1.0', '2.0'] });
  const { pip, open } = gated();
  const slave = await testSlave(t, prefix, pip);
  await untilSlave(({ state }) => state === 'building');
  await control.request('KILL', { slave_id: null, after_build: true });
  open();
  await slave.ended;
  t.same(slave.builtVersions, ['2.0']);
  t.same(await db.query(BUILDS), [{ version: '2.0', status: true }]);
});

void t.test('SLEEP during a build lets it finish, and no other starts until WAKE', async (t) => {
  const { db, prefix, control, untilSlave } = await testMaster(t, { versions: ['1.0', '2.0'] });
  const { pip, open } = gated();
  const slave = await testSlave(t, prefix, pip);
  await untilSlave(({ state }) => state === 'building');
  await control.request('SLEEP', { slave_id: null });
  open();
  await untilSlave(({ state, note }) => state === 'waiting' && note === 'put to sleep by an administrator');
  t.same(slave.builtVersions, ['2.0']);
  await control.request('WAKE', { slave_id: null });
  await until(async () => (await db.query(BUILDS)).length === 2);
  slave.stop();
  await slave.ended;
});

void t.test('a slave that can do no work says why, and gets none', async (t) => {
  const { db, prefix, untilSlave, slaves } = await testMaster(t);
  const slave = await testSlave(t, prefix, succeedingBuild, {
    thresholds: { ...NO_THRESHOLDS, diskFree: 2 ** 60 },
  });
  await untilSlave(({ state }) => state === 'resting');
  t.match((await slaves())[0]?.note, /^\d+ MB of free disk is below the minimum of 1099511627776 MB$/);
  slave.stop();
  await slave.ended;
  t.same(slave.builtVersions, []);
  t.same(await db.query('select lease from queue'), [{ lease: null }]);
});

void t.test('a slave that has lost its master goes on building, and reports the result later', async (t) => {
  const { db, prefix, settings, logLines, untilSlave } = await testMaster(t, {
    tasks: MASTER_TASKS.filter((task) => task !== 'slave-driver'),
  });
  const driver = runTask(t, 'slave-driver', settings, { logLines });
  const { pip, open } = gated();
  const hello = { ...slaveHello(), busy_interval_s: 1 };
  const slave = await testSlave(t, prefix, pip, { hello, once: true });
  await untilSlave(({ state }) => state === 'building');
  await driver.stop();
  open();
  await until(() => slave.logLines.some((line) => line.includes('build succeeded')));
  t.same(await db.query(BUILDS), []);
  runTask(t, 'slave-driver', settings, { logLines });
  await slave.ended;
  t.same(await db.query(BUILDS), [{ version: '1.0', status: true }]);
});

for (const state of ['waiting', 'building'] as const) {
  void t.test(`SIGTERM while it is ${state} leaves no lease behind`, async (t) => {
    const { db, prefix, untilSlave, slaves } = await testMaster(t, {
      versions: state === 'waiting' ? [] : ['1.0'],
    });
    const slave = await testSlave(t, prefix, hangingBuild);
    await untilSlave((row) => row.state === state);
    slave.stop();
    await slave.ended;
    t.same(await slaves(), [], 'it has said BYE');
    t.same(await db.query('select 1 from queue where lease is not null'), []);
  });
}

void t.test('SIGTERM while the master is down stops the slave within seconds', async (t) => {
  const { prefix, settings, logLines, untilSlave } = await testMaster(t, {
    tasks: MASTER_TASKS.filter((task) => task !== 'slave-driver'),
  });
  const driver = runTask(t, 'slave-driver', settings, { logLines });
  const slave = await testSlave(t, prefix, hangingBuild, { clock: fastClock });
  await untilSlave(({ state }) => state === 'building');
  await driver.stop();
  slave.stop();
  // Without that it would take a minute to give up.
  const late = Symbol('late');
  const first = await Promise.race([slave.ended, sleep(20_000, late, { ref: false })]);
  t.not(first, late, 'it does not wait for an answer');
});

void t.test('a full disk is not held against the package: the slave waits for space', async (t) => {
  const { db, prefix } = await testMaster(t);
  let isDiskFull = true;
  const pip: BuildStub = (request, workDir) => {
    if (!isDiskFull) return succeedingBuild(request, workDir);
    isDiskFull = false;
    throw new PiwError('PIW_DISK_FULL', 'no build can be made here: no space left on device');
  };
  const slave = await testSlave(t, prefix, pip, { clock: fastClock });
  await until(async () => (await db.query(BUILDS)).length > 0);
  t.same(await db.query(BUILDS), [{ version: '1.0', status: true }]);
  t.same(slave.builtVersions, ['1.0', '1.0']);
  slave.stop();
  await slave.ended;
});

void t.test('a build that runs out of disk is retried once before it counts as a failure', async (t) => {
  const { db, prefix } = await testMaster(t, { versions: ['1.0', '2.0'] });
  const attempts = new Map<string, number>();
  const pip: BuildStub = async (request, workDir) => {
    const attempt = (attempts.get(request.version) ?? 0) + 1;
    attempts.set(request.version, attempt);
    // Something else filled the disk during the first build of 2.0; 1.0 needs more than there is.
    if (request.version === '2.0' && attempt > 1) return await succeedingBuild(request, workDir);
    const output = 'piw: less than 256 MB of disk was left\n';
    return {
      ...(await succeedingBuild(request, workDir)),
      status: false,
      failureClass: 'disk',
      output,
      files: [],
    };
  };
  const slave = await testSlave(t, prefix, pip, { clock: fastClock });
  await until(async () => (await db.query(BUILDS)).length === 2, 60_000);
  t.same(await db.query(BUILDS), [
    { version: '2.0', status: true },
    { version: '1.0', status: false },
  ]);
  t.same(
    [...attempts],
    [
      ['2.0', 2],
      ['1.0', 2],
    ],
  );
  slave.stop();
  await slave.ended;
});

void t.test(
  'while its disk is full, a slave rests and says so, and works again when there is space',
  async (t) => {
    const { db, prefix, untilSlave } = await testMaster(t);
    let isDiskFull = true;
    const pip: BuildStub = (request, workDir) => {
      if (!isDiskFull) return succeedingBuild(request, workDir);
      isDiskFull = false;
      throw new PiwError('PIW_DISK_FULL', 'the disk that holds its folder is full');
    };
    const slave = await testSlave(t, prefix, pip, { clock: fastClock });
    await untilSlave(({ state, note }) => state === 'resting' && (note ?? '').endsWith('is full'));
    t.same(await db.query(BUILDS), []);
    t.same(await db.query('select lease from queue'), [{ lease: null }]);
    await until(async () => (await db.query(BUILDS)).length > 0);
    t.same(await db.query(BUILDS), [{ version: '1.0', status: true }]);
    slave.stop();
    await slave.ended;
  },
);

void t.test(
  'a master of another version that appears during a build stops the slave, and says why',
  async (t) => {
    const { bus, prefix, settings, logLines, untilSlave } = await testMaster(t, {
      tasks: MASTER_TASKS.filter((task) => task !== 'slave-driver'),
    });
    const driver = runTask(t, 'slave-driver', settings, { logLines });
    const slave = await testSlave(t, prefix, hangingBuild, {
      hello: { ...slaveHello(), busy_interval_s: 1 },
    });
    await untilSlave(({ state }) => state === 'building');
    await driver.stop();
    const subscription = bus.subscribe(bus.subject('slave', '*', '*', '*'));
    const answering = (async () => {
      for await (const incoming of subscription) {
        const [verb] = (await incoming.body()) as [string];
        const unknownSlave = ['ERROR', 'PIW_UNKNOWN_SLAVE', 'this session has not said HELLO'];
        await incoming.respond(verb === 'BUSY' ? unknownSlave : ['BYE', 'another version is needed']);
      }
    })();
    await t.rejects(slave.ended, { code: 'PIW_PROTOCOL_VERSION', message: /another version is needed/ });
    await subscription.stop();
    await answering;
  },
);
