import t from 'tap';
import { applyEvents } from '../../src/database/feed-events.js';
import { deletePackage, upsertPackage } from '../../src/database/packages.js';
import type { Database } from '../../src/database/pool.js';
import { addReleases, yankVersion } from '../../src/database/versions.js';
import { foldEvents } from '../../src/pypi/fold.js';
import type { PackageName } from '../../src/wheels/names.js';
import { testDatabase } from '../helpers/database.js';
import { someRelease, insertTarget } from '../helpers/rows.js';

async function row(db: Database): Promise<Record<string, unknown> | undefined> {
  const [version] = await db.query<Record<string, unknown>>(
    `select origin, has_sdist, sdist_url, yanked, removed_at is not null as removed, priority from versions`,
  );
  return version;
}

void t.test('a version that the feed added takes the origin of an administrator who names it', async (t) => {
  const { db } = await testDatabase(t);
  await addReleases(db, 'a', 'feed', [
    someRelease('1.0', { yanked: 'broken', sdist_url: 'https://x/a.tar.gz' }),
  ]);
  await db.query('update versions set removed_at = now()');
  const bare = { released: 1, has_sdist: false, sdist_url: null };
  await addReleases(db, 'a', 'import', [someRelease('1.0', bare)]);
  t.same(await row(db), {
    origin: 'import',
    has_sdist: true,
    sdist_url: 'https://x/a.tar.gz',
    yanked: 'broken',
    removed: false,
    priority: 0,
  });
  await addReleases(db, 'a', 'feed', [someRelease('1.0', { has_sdist: false, sdist_url: null })]);
  t.match(await row(db), { origin: 'import', has_sdist: true, yanked: null }, 'the feed removes no sdist');
  for (const kind of ['remove file', 'remove release', 'remove project'] as const) {
    const version = kind === 'remove project' ? null : '1.0';
    const file = kind === 'remove file' ? { name: 'a-1.0.tar.gz', sdist: true } : null;
    const { projects, versions } = foldEvents([
      { serial: 9, time: 1e9, name: 'a' as PackageName, version, kind, file },
    ]);
    await applyEvents(db, { fence: 0, position: [0, 0, 0, 0], projects, versions });
    t.match(await row(db), { origin: 'import', has_sdist: true, removed: false }, kind);
  }
});

void t.test('a version that an administrator has yanked stays yanked, whatever the feed says', async (t) => {
  const { db } = await testDatabase(t);
  const readPage = async (yanked: string | null) =>
    addReleases(db, 'a', 'feed', [someRelease('1.0', { yanked })]);
  const applyEvent = async (kind: 'yank' | 'unyank' | 'add file', serial: number) => {
    const file = kind === 'add file' ? { name: 'a-1.0.tar.gz', sdist: true } : null;
    const event = { serial, time: 1e9, name: 'a' as PackageName, version: '1.0', kind, file };
    await applyEvents(db, { fence: 0, position: [0, 0, 0, 0], ...foldEvents([event]) });
  };
  await readPage(null);
  await yankVersion(db, 'a', '1.0', 'harmful');
  for (const yanked of [null, 'broken', '']) {
    await readPage(yanked);
    t.match(await row(db), { yanked: 'harmful' }, `after a page with yanked = ${String(yanked)}`);
  }
  for (const [index, kind] of (['yank', 'add file', 'unyank'] as const).entries()) {
    await applyEvent(kind, 10 + index);
    t.match(await row(db), { yanked: 'harmful' }, kind);
  }
  await yankVersion(db, 'a', '1.0', null);
  t.match(await row(db), { yanked: null }, 'until the administrator unyanks it');
  await readPage('broken');
  t.match(await row(db), { yanked: 'broken' }, 'then the feed decides again');
  await readPage(null);
  t.match(await row(db), { yanked: null });
});

void t.test(
  'a package that was removed from the index is built again when an administrator adds it',
  async (t) => {
    const { db } = await testDatabase(t);
    await addReleases(db, 'a', 'feed', [someRelease('1.0')]);
    await insertTarget(db, 'cp311');
    await db.query('update packages set removed_at = now()');
    await db.query('select requeue(array(select version_id from versions))');
    t.same(await db.query('select version_id from queue'), []);
    const added = { package: 'a', description: null, aliases: [] };
    await db.transaction((within) => upsertPackage(within, { ...added, origin: 'feed' }));
    t.same(await db.query('select version_id from queue'), [], 'the feed restores packages by other means');
    t.equal(await db.transaction((within) => upsertPackage(within, { ...added, origin: 'add' })), false);
    t.equal((await db.query('select version_id from queue')).length, 1);
  },
);

void t.test('deleting a package deletes its versions and their queued builds', async (t) => {
  const { db } = await testDatabase(t);
  await insertTarget(db, 'cp311');
  await addReleases(db, 'a', 'feed', [someRelease('1.0'), someRelease('2.0')]);
  await addReleases(db, 'b', 'feed', [someRelease('1.0')]);
  t.equal((await db.query('select 1 from queue')).length, 3);
  await deletePackage(db, 'a');
  t.equal((await db.query('select 1 from versions')).length, 1);
  t.equal((await db.query('select 1 from queue')).length, 1);
});
