import t from 'tap';
import { setQuarantined } from '../../src/database/packages.js';
import {
  listedPackages,
  loadPages,
  allocateSerials,
  markPagesDue,
  savePages,
} from '../../src/database/pages.js';
import type { Database } from '../../src/database/pool.js';
import { addReleases } from '../../src/database/versions.js';
import { testDatabase } from '../helpers/database.js';
import { someRelease } from '../helpers/rows.js';

/** Returns the pages that are due, and removes them from the backlog. */
async function due(db: Database): Promise<string[]> {
  const priorities = ['front', 'projects', 'rest'] as const;
  const pages = (await Promise.all(priorities.map((priority) => loadPages(db, priority, 0)))).flat();
  await savePages(db, { fence: 1, pages: [], written: pages, listed: [] });
  return pages.map(([kind, argument]) => `${kind} ${argument}`);
}

void t.test(
  'a change that the index shows makes the index page due, not only the project page',
  async (t) => {
    const { db } = await testDatabase(t);
    await addReleases(db, 'a', 'feed', [someRelease('1.0')]);
    t.same(await due(db), ['PROJECT a'], 'a package without files is not in the index');
    await db.query(
      `with tag as (insert into tags (py, abi, platform) values ('py3', 'none', 'any') returning tag_id)
       insert into files (filename, version_id, filesize, sha256, metadata_sha256, tag_id)
       select 'a-1.0-py3-none-any.whl', version_id, 1, '', '', tag_id from versions, tag`,
    );
    await addReleases(db, 'a', 'feed', [someRelease('1.0')]);
    t.same(await due(db), [], 'nothing has changed');
    await addReleases(db, 'a', 'feed', [someRelease('1.0', { yanked: 'broken' })]);
    t.same(await due(db), ['PKG a'], 'the index shows a yank');
    await setQuarantined(db, 'a', null, true);
    t.same(await due(db), ['PKG a'], 'the index hides a quarantined package');
  },
);

void t.test('a page that is marked due twice is in the backlog once', async (t) => {
  const { db } = await testDatabase(t);
  await markPagesDue(db, [
    ['PKG', 'b'],
    ['LOG', '7'],
    ['PKG', 'b'],
  ]);
  t.same(await due(db), ['PKG b', 'LOG 7']);
});

void t.test('a package is listed with the highest serial that was reported for it', async (t) => {
  const { db } = await testDatabase(t);
  const saveListed = (...listed: [string, number | null][]) =>
    savePages(db, { fence: 1, pages: [], written: [], listed });
  const listed = () => listedPackages(db, { after: '', limit: 10 });
  await saveListed(['b', 7], ['a', 5]);
  await saveListed(['b', 6]);
  t.same(await listed(), [
    ['a', 5],
    ['b', 7],
  ]);
  t.same(await listedPackages(db, { after: 'a', limit: 1 }), [['b', 7]]);
  await saveListed(['a', null]);
  t.same(await listed(), [['b', 7]]);
  const [first, second] = [await allocateSerials(db, 1), await allocateSerials(db, 1)];
  t.ok(second.first >= first.first + first.count, 'each serial is allocated once');
});

void t.test('only the current Secretary may report written pages', async (t) => {
  const { db } = await testDatabase(t);
  const save = (fence: number | null, pages: [string, string][], serial?: number) =>
    savePages(db, { fence, pages, written: [], listed: serial === undefined ? [] : [['a', serial]] });
  await save(5, [], 7);
  await allocateSerials(db, 6);
  await t.rejects(save(5, [], 9), { code: 'PIW_FENCED' });
  await t.rejects(allocateSerials(db, 5), { code: 'PIW_FENCED' });
  await t.rejects(save(null, [], 9), { code: 'PIW_REFUSED' });
  t.same(await listedPackages(db, { after: '', limit: 10 }), [['a', 7]]);
  await save(null, [['PKG', 'a']]);
  t.equal((await loadPages(db, 'front', 0)).length, 1, 'anyone may report due pages');
});
