import t from 'tap';
import { logBuilds } from '../../src/database/builds.js';
import type { Database } from '../../src/database/pool.js';
import { addTarget, fillSlice, removeTarget } from '../../src/database/targets.js';
import { newVersions } from '../../src/database/versions.js';
import { testDatabase } from '../helpers/database.js';
import { someRelease } from '../helpers/rows.js';

t.setTimeout(120_000);

const target = (skip: string | null) => ({
  ...{ abi: 'cp311', platform: 'linux_x86_64', py_version_tag: 'cp311', skip },
});
const drain = async (db: Database) => {
  await addTarget(db, target('not now'));
  while (await fillSlice(db));
};
/** As far as it is before its builds go. */
const beginToForget = (db: Database) => removeTarget(db, 'cp311', 'linux_x86_64', 1);

for (const [how, stop] of [
  ['skipped', drain],
  ['about to be forgotten', beginToForget],
] as const) {
  void t.test(`a target that was ${how} is taken up again, with its builds and what is new`, async (t) => {
    const { db } = await testDatabase(t);
    await addTarget(db, target(null));
    await newVersions(db, 'a', 'feed', [someRelease('1'), someRelease('2')]);
    await logBuilds(db, [
      {
        ...{
          lease: null,
          slave_id: null,
          package: 'a',
          version: '1',
          abi: 'cp311',
          platform: 'linux_x86_64',
        },
        ...{ status: false, failure_class: 'compiler', duration_s: 1, output: '', files: [], served: [] },
      },
    ]);
    await stop(db);
    t.match(await db.query('select count(*) from queue'), [{ count: 0 }]);
    await newVersions(db, 'a', 'feed', [someRelease('3')]);
    await addTarget(db, target(null));
    while (await fillSlice(db));
    t.match(await db.query('select version from queue join versions using (version_id) order by 1'), [
      { version: '2' },
      { version: '3' },
    ]);
    t.match(await db.query('select count(*) from builds'), [{ count: 1 }]);
  });
}
