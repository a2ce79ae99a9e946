import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { deferred } from '../../src/concurrency/deferred.js';
import { StaleWhileRevalidate } from '../../src/concurrency/stale-while-revalidate.js';
import type { Database } from '../../src/database/pool.js';
import { nextPendingBuilds, leaseBuilds } from '../../src/database/queue.js';
import { countQueue, estimateQueue } from '../../src/database/queue-count.js';
import { packageQueue } from '../../src/database/queue-report.js';
import { addReleases } from '../../src/database/versions.js';
import { testDatabase } from '../helpers/database.js';
import { PLATFORM, someRelease, insertTarget } from '../helpers/rows.js';

t.setTimeout(120_000);

/** Adds a package with one version, so that no share of a package affects the order. */
const addRelease = async (db: Database, name: string, priority: number, released: number | null) => {
  await addReleases(db, name, 'feed', [someRelease('1.0', { priority, released })]);
};

for (const first of ['newest', 'oldest'] as const) {
  void t.test(
    `positions in the queue match the order in which builds are leased, ${first} first`,
    async (t) => {
      const { db } = await testDatabase(t);
      await insertTarget(db, 'cp311');
      const names = Array.from({ length: 60 }, (_, n) => `p${n}`);
      for (const [n, name] of names.entries()) {
        // Some were released at the same time, and the release time of others is unknown.
        await addRelease(db, name, n % 3, n % 7 === 0 ? null : 1.6e12 + ((n * 37) % 11) * 1e9);
      }
      const nameByPosition = new Map<number | null, string>();
      for (const name of names) {
        const [standing] = await packageQueue(db, name, first);
        nameByPosition.set(standing?.[4] ?? null, name);
      }
      const packages: string[] = [];
      for (const priority of [2, 1, 0]) {
        const order = { abi: 'cp311', platform: PLATFORM, priority, count: 60, first };
        for (const next of await nextPendingBuilds(db, order)) {
          const [leased] = await leaseBuilds(db, [{ ...next, slaveId: 1, leaseS: 60 }], 1);
          packages.push(leased?.package ?? '');
        }
      }
      t.equal(packages.length, 60);
      t.same(
        packages.map((_, index) => nameByPosition.get(index + 1)),
        packages,
      );
    },
  );
}

void t.test('a short queue is counted exactly, and a long one is estimated', async (t) => {
  const { db } = await testDatabase(t);
  await insertTarget(db, 'cp311');
  await addRelease(db, 'a', 0, 1.6e12);
  await addRelease(db, 'b', 2, null);
  const exact = await countQueue(db);
  t.same(exact.lengths, [
    ['cp311', PLATFORM, 2, 1, null],
    ['cp311', PLATFORM, 0, 1, 1.6e12],
  ]);
  t.same(await estimateQueue(db), exact);
  await db.query(
    `insert into queue (version_id, target_id, priority, released, package_id)
     select n, 1, 0, '2020-01-01'::timestamptz + n * interval '1 minute', n from generate_series(1000, 30999) n`,
  );
  await db.query(
    `insert into builds (version_id, target_id, duration, status, output, built_at)
     select 1, 1, '1 s', false, '', now() - n * interval '50 ms' from generate_series(30000, 1, -1) n`,
  );
  t.equal((await countQueue(db)).last_hour, 30_000);
  const { lengths, last_hour, estimated } = await estimateQueue(db);
  t.equal(estimated, true);
  t.equal(last_hour, 30_000);
  t.same(lengths, [
    ['cp311', PLATFORM, 2, 1, null],
    // The whole table is sampled, because it is small; 30,001 is rounded to two digits.
    ['cp311', PLATFORM, 0, 30_000, Date.UTC(2020, 0, 1) + 1000 * 60_000],
  ]);
});

void t.test('the cache returns an estimate until the exact value is loaded', async (t) => {
  const exact = deferred<string>();
  const cache = new StaleWhileRevalidate(
    () => exact.promise,
    () => Promise.resolve('estimate'),
  );
  t.same(await cache.get(), { value: 'estimate', ageMs: 0 });
  exact.resolve('exact');
  await sleep(0);
  t.match(await cache.get(), { value: 'exact' });
});
