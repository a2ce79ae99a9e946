import t from 'tap';
import { logBuilds } from '../../src/database/builds.js';
import type { Database } from '../../src/database/pool.js';
import { NO_DETAILS } from '../../src/states/build-details.js';
import { nextPendingBuilds, leaseBuilds, releaseLeases, requeueExpired } from '../../src/database/queue.js';
import { packageQueue } from '../../src/database/queue-report.js';
import { queueActivity } from '../../src/database/queue-count.js';
import { readStatistics } from '../../src/database/statistics.js';
import { deleteBuilds, addReleases } from '../../src/database/versions.js';
import type { Release } from '../../src/protocols/oracle.js';
import { FAILURES } from '../../src/states/failure.js';
import { testDatabase } from '../helpers/database.js';
import { PLATFORM, someRelease, insertSlave, insertTarget } from '../helpers/rows.js';

t.setTimeout(120_000);

const ABI = 'cp311';
/** Longer than any back-off begins with, and shorter than a day. */
const DELAY_S = 100;

async function setUp(t: Parameters<typeof testDatabase>[0], overrides: Partial<Release> = {}) {
  const { db } = await testDatabase(t);
  await insertTarget(db, ABI);
  await addReleases(db, 'demo', 'feed', [someRelease('1.0', overrides)]);
  const slave = await insertSlave(db, ABI);
  return { db, slave };
}

async function take(db: Database, slaveId: number) {
  const order = { abi: ABI, platform: PLATFORM, priority: 0, count: 1, first: 'newest' } as const;
  const waiting = [
    ...(await nextPendingBuilds(db, { ...order, priority: 2 })),
    ...(await nextPendingBuilds(db, order)),
  ];
  const assignments = waiting.map((one) => ({ ...one, slaveId, leaseS: 60 }));
  return (await leaseBuilds(db, assignments, 1))[0];
}

/** The next build ends so; gives what became of the result, or undefined if there is nothing to build. */
async function fail(db: Database, slave: number, failure_class: string) {
  const granted = await take(db, slave);
  if (!granted) return undefined;
  const [outcome] = await logBuilds(
    db,
    [
      {
        ...{ lease: granted.lease, slave_id: slave, package: 'demo', version: '1.0', abi: ABI },
        ...{
          platform: PLATFORM,
          status: false,
          failure_class,
          duration_s: 1,
          output: 'log',
          details: NO_DETAILS,
          files: [],
          served: [],
        },
      },
    ],
    DELAY_S,
  );
  return outcome;
}

/** As if that much time had gone by. */
const advanceTime = async (db: Database, seconds: number): Promise<void> => {
  await db.query(`update queue set leased_until = leased_until - $1 * interval '1 second'`, [seconds]);
  await requeueExpired(db);
};

void t.test(
  'a failure that passes is tried again, later each time, and at last is one for good',
  async (t) => {
    const { db, slave } = await setUp(t);
    const delays: (number | null | undefined)[] = [];
    for (let tries = 0; tries <= FAILURES.network.retries; tries += 1) {
      const outcome = await fail(db, slave, 'network');
      t.equal(outcome?.outcome, 'logged');
      delays.push(outcome?.againS);
      t.equal(await fail(db, slave, 'network'), undefined, 'it is held back');
      await advanceTime(db, (outcome?.againS ?? 0) - 5);
      t.equal(await fail(db, slave, 'network'), undefined, 'until its time has come');
      await advanceTime(db, 10);
    }
    t.same(delays, [100, 500, 2500, 12_500, 62_500, ...Array.from({ length: 5 }, () => 86_400), null]);
    t.same(await db.query('select 1 from queue'), []);
    t.match(await packageQueue(db, 'demo', 'newest'), [['1.0', ABI, PLATFORM, 'failed', null]]);
    t.match(await readStatistics(db), { builds: 11, builds_failed: 1 });
  },
);

void t.test('each class has its own number of tries', async (t) => {
  for (const [failure, { retries }] of Object.entries(FAILURES)) {
    const { db, slave } = await setUp(t, { released: Date.now() });
    let tries = 0;
    while ((await fail(db, slave, failure))?.outcome === 'logged') {
      tries += 1;
      await advanceTime(db, 86_400);
    }
    t.equal(tries, retries + 1, failure);
  }
  const { db, slave } = await setUp(t);
  t.match(await fail(db, slave, 'of-another-version'), { againS: null }, 'of one that is not known, none');
});

void t.test('no source: the index may only not have caught up yet with a new release', async (t) => {
  const old = await setUp(t, { released: Date.now() - 25 * 3_600_000 });
  t.match(await fail(old.db, old.slave, 'no-sdist'), { outcome: 'logged', againS: null });
  const fresh = await setUp(t, { released: Date.now() - 23 * 3_600_000 });
  t.match(await fail(fresh.db, fresh.slave, 'no-sdist'), { outcome: 'logged', againS: DELAY_S });
  const unknown = await setUp(t, { released: null });
  t.match(await fail(unknown.db, unknown.slave, 'no-sdist'), { outcome: 'logged', againS: null });
});

void t.test('a build that is held back is said so, and is not lost by anyone', async (t) => {
  const { db, slave } = await setUp(t);
  await fail(db, slave, 'index');
  t.match(await queueActivity(db), { building: 0, held: 1 });
  const [[, , , state, position, why] = []] = await packageQueue(db, 'demo', 'newest');
  t.equal(state, 'waiting');
  t.equal(position, null);
  t.match(why, /^tried again after index, build \d+, at \d{4}-\d\d-\d\d \d\d:\d\d UTC$/);
  await db.query(`update queue set leased_until = now() - interval '1 s'`);
  t.equal(await requeueExpired(db), 0, 'no slave has lost anything');
  t.ok(await take(db, slave));
  await db.query(`update queue set leased_until = now() - interval '1 s'`);
  t.equal(await requeueExpired(db), 1, 'now one has');
});

void t.test('what an administrator asks for is not held back any longer', async (t) => {
  const requested = await setUp(t);
  await fail(requested.db, requested.slave, 'disk');
  await addReleases(requested.db, 'demo', 'add', [someRelease('1.0', { priority: 2 })]);
  t.ok(await take(requested.db, requested.slave), 'it was asked for');
  const removed = await setUp(t);
  await fail(removed.db, removed.slave, 'disk');
  await deleteBuilds(removed.db, 'demo', '1.0');
  t.ok(await take(removed.db, removed.slave), 'its builds were removed, so that it is built again');
});

void t.test('what a slave gives back may be held back for a while', async (t) => {
  const { db, slave } = await setUp(t);
  const first = await take(db, slave);
  await releaseLeases(db, [[first?.lease ?? 0, slave]], DELAY_S);
  t.equal(await take(db, slave), undefined);
  await advanceTime(db, DELAY_S);
  const second = await take(db, slave);
  t.match(second, { attempt: 1 }, 'it was no attempt');
  await releaseLeases(db, [[second?.lease ?? 0, slave]]);
  t.ok(await take(db, slave), 'or not');
});
