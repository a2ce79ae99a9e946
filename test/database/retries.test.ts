import t from 'tap';
import { logBuilds } from '../../src/database/builds.js';
import type { Database } from '../../src/database/pool.js';
import { NO_DETAILS } from '../../src/model/build-details.js';
import { nextPendingBuilds, leaseBuilds, releaseLeases, requeueExpired } from '../../src/database/queue.js';
import { packageQueue } from '../../src/database/queue-report.js';
import { queueActivity } from '../../src/database/queue-count.js';
import { readStatistics } from '../../src/database/statistics.js';
import { deleteBuilds, addReleases } from '../../src/database/versions.js';
import type { Release } from '../../src/model/release.js';
import { FAILURES } from '../../src/failures/classes.js';
import { testDatabase } from '../helpers/database.js';
import { PLATFORM, someRelease, insertSlave, insertTarget } from '../helpers/rows.js';

t.setTimeout(120_000);

const ABI = 'cp311';
/** Longer than the first delay of any backoff, and shorter than a day. */
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
  const assignments = waiting.map((pending) => ({ ...pending, slaveId, leaseS: 60 }));
  return (await leaseBuilds(db, assignments, 1))[0];
}

/** Leases the next build and logs it as failed. Returns the outcome, or undefined if there is nothing to build. */
async function fail(db: Database, slave: number, failure_class: string) {
  const granted = await take(db, slave);
  if (!granted) return undefined;
  const [outcome] = await logBuilds(
    db,
    [
      {
        lease: granted.lease,
        slave_id: slave,
        package: 'demo',
        version: '1.0',
        abi: ABI,
        platform: PLATFORM,
        status: false,
        failure_class,
        duration_s: 1,
        output: 'log',
        details: NO_DETAILS,
        files: [],
        served: [],
      },
    ],
    DELAY_S,
  );
  return outcome;
}

/** Expires leases as if this much time had passed. */
const advanceTime = async (db: Database, seconds: number): Promise<void> => {
  await db.query(`update queue set leased_until = leased_until - $1 * interval '1 second'`, [seconds]);
  await requeueExpired(db);
};

void t.test(
  'a transient failure is retried after ever longer delays, and finally counts as permanent',
  async (t) => {
    const { db, slave } = await setUp(t);
    const delays: (number | null | undefined)[] = [];
    for (let tries = 0; tries <= FAILURES.network.retries; tries += 1) {
      const outcome = await fail(db, slave, 'network');
      t.equal(outcome?.outcome, 'logged');
      delays.push(outcome?.retryAfterS);
      t.equal(await fail(db, slave, 'network'), undefined, 'it is held back');
      await advanceTime(db, (outcome?.retryAfterS ?? 0) - 5);
      t.equal(await fail(db, slave, 'network'), undefined, 'until the delay is over');
      await advanceTime(db, 10);
    }
    t.same(delays, [100, 500, 2500, 12_500, 62_500, ...Array.from({ length: 5 }, () => 86_400), null]);
    t.same(await db.query('select 1 from queue'), []);
    t.match(await packageQueue(db, 'demo', 'newest'), [['1.0', ABI, PLATFORM, 'failed', null]]);
    t.match(await readStatistics(db), { builds: 11, builds_failed: 1 });
  },
);

void t.test('each failure class has its own number of retries', async (t) => {
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
  t.match(
    await fail(db, slave, 'of-another-version'),
    { retryAfterS: null },
    'an unknown class is not retried',
  );
});

void t.test(
  'no-sdist is retried only for a new release, with which the index may not have caught up',
  async (t) => {
    const old = await setUp(t, { released: Date.now() - 25 * 3_600_000 });
    t.match(await fail(old.db, old.slave, 'no-sdist'), { outcome: 'logged', retryAfterS: null });
    const fresh = await setUp(t, { released: Date.now() - 23 * 3_600_000 });
    t.match(await fail(fresh.db, fresh.slave, 'no-sdist'), { outcome: 'logged', retryAfterS: DELAY_S });
    const unknown = await setUp(t, { released: null });
    t.match(await fail(unknown.db, unknown.slave, 'no-sdist'), { outcome: 'logged', retryAfterS: null });
  },
);

void t.test('a held build is reported as held, and no slave loses a lease when the hold ends', async (t) => {
  const { db, slave } = await setUp(t);
  await fail(db, slave, 'index');
  t.match(await queueActivity(db), { building: 0, held: 1 });
  const [[, , , state, position, why] = []] = await packageQueue(db, 'demo', 'newest');
  t.equal(state, 'waiting');
  t.equal(position, null);
  t.match(why, /^retry at \d{4}-\d\d-\d\d \d\d:\d\d UTC after index, build \d+$/);
  await db.query(`update queue set leased_until = now() - interval '1 s'`);
  t.equal(await requeueExpired(db), 0, 'no slave has lost a lease');
  t.ok(await take(db, slave));
  await db.query(`update queue set leased_until = now() - interval '1 s'`);
  t.equal(await requeueExpired(db), 1, 'a slave has lost a lease');
});

void t.test('an administrator’s request ends the hold of a build', async (t) => {
  const requested = await setUp(t);
  await fail(requested.db, requested.slave, 'disk');
  await addReleases(requested.db, 'demo', 'add', [someRelease('1.0', { priority: 2 })]);
  t.ok(await take(requested.db, requested.slave), 'it was requested');
  const removed = await setUp(t);
  await fail(removed.db, removed.slave, 'disk');
  await deleteBuilds(removed.db, 'demo', '1.0');
  t.ok(await take(removed.db, removed.slave), 'its builds were deleted, so that it is built again');
});

void t.test('a released lease may hold its build back for a while', async (t) => {
  const { db, slave } = await setUp(t);
  const first = await take(db, slave);
  await releaseLeases(db, [[first?.lease ?? 0, slave]], DELAY_S);
  t.equal(await take(db, slave), undefined);
  await advanceTime(db, DELAY_S);
  const second = await take(db, slave);
  t.match(second, { attempt: 1 }, 'the released lease does not count as an attempt');
  await releaseLeases(db, [[second?.lease ?? 0, slave]]);
  t.ok(await take(db, slave), 'without a hold it can be leased at once');
});
