import t from 'tap';
import { logBuilds } from '../../src/database/builds.js';
import type { Database, Queryable } from '../../src/database/pool.js';
import {
  addTarget,
  fillSlice,
  removeTarget,
  ensureSpecifierIds,
  ensureTagId,
} from '../../src/database/targets.js';
import { addReleases } from '../../src/database/versions.js';
import { until } from '../helpers/bus.js';
import { testDatabase } from '../helpers/database.js';
import { someRelease } from '../helpers/rows.js';
import { NO_DETAILS } from '../../src/model/build-details.js';

t.setTimeout(120_000);

const target = (skip: string | null) => ({
  abi: 'cp311',
  platform: 'linux_x86_64',
  py_version_tag: 'cp311',
  skip,
});
const skipAndDrain = async (db: Database) => {
  await addTarget(db, target('not now'));
  while (await fillSlice(db));
};
/** Begins to remove the target, and stops before its builds are deleted. */
const beginRemoval = (db: Database) => removeTarget(db, 'cp311', 'linux_x86_64', 1);

for (const [state, stop] of [
  ['skipped', skipAndDrain],
  ['being removed', beginRemoval],
] as const) {
  void t.test(
    `adding a target that is ${state} resumes it, with its old builds and new versions`,
    async (t) => {
      const { db } = await testDatabase(t);
      await addTarget(db, target(null));
      await addReleases(db, 'a', 'feed', [someRelease('1'), someRelease('2')]);
      await logBuilds(db, [
        {
          lease: null,
          slave_id: null,
          package: 'a',
          version: '1',
          abi: 'cp311',
          platform: 'linux_x86_64',
          status: false,
          failure_class: 'compiler',
          duration_s: 1,
          output: '',
          details: NO_DETAILS,
          files: [],
          served: [],
        },
      ]);
      await stop(db);
      t.match(await db.query('select count(*) from queue'), [{ count: 0 }]);
      await addReleases(db, 'a', 'feed', [someRelease('3')]);
      await addTarget(db, target(null));
      while (await fillSlice(db));
      t.match(await db.query('select version from queue join versions using (version_id) order by 1'), [
        { version: '2' },
        { version: '3' },
      ]);
      t.match(await db.query('select count(*) from builds'), [{ count: 1 }]);
    },
  );
}

/** Returns a row for each connection that waits for a lock. */
const lockWaiters = (db: Queryable) =>
  db.query(`select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`);
const makeTarget = (db: Database) => addTarget(db, target(null));

for (const [action, begin] of [
  ['creating', makeTarget],
  ['filling', fillSlice],
] as const) {
  void t.test(`${action} a target waits for running transactions, which never wait for it`, async (t) => {
    const { db } = await testDatabase(t);
    await makeTarget(db);
    await addReleases(db, 'a', 'feed', [someRelease('1')]);
    // The state while its builds are being queued in slices.
    await db.query('update targets set filled_from = 5');
    let blocked: Promise<unknown> = Promise.resolve();
    await db.transaction(async (within) => {
      await within.query(`select lock_versions(array(select version_id from versions))`);
      blocked = begin(db);
      await until(async () => (await lockWaiters(db)).length > 0);
      // A statement that has to wait fails long before PostgreSQL's deadlock detection.
      await within.query(`set local lock_timeout = '300ms'`);
      await ensureSpecifierIds(within, ['>=3.9,!=3.10']);
      await ensureTagId(within, { py: 'py3', abi: 'none', platform: 'any', reach: '*' });
      await within.query(
        `insert into builds (version_id, target_id, status, duration, output)
         select version_id, target_id, false, '1 s', '' from versions, targets`,
      );
    });
    await t.resolves(blocked);
    t.match(await db.query('select filled_from from targets'), [{ filled_from: 0 }]);
  });
}

void t.test('several concurrent calls of addTarget create one target', async (t) => {
  const { db } = await testDatabase(t);
  await Promise.all([makeTarget(db), makeTarget(db), makeTarget(db)]);
  t.equal((await db.query('select from targets')).length, 1);
});
