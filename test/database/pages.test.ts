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

/** What is due, which is taken out. */
async function due(db: Database): Promise<string[]> {
  const priorities = ['front', 'projects', 'rest'] as const;
  const pages = (await Promise.all(priorities.map((lane) => loadPages(db, lane, 0)))).flat();
  await savePages(db, { fence: 1, pages: [], written: pages, listed: [] });
  return pages.map(([kind, argument]) => `${kind} ${argument}`);
}

void t.test(
  'whatever changes what an index shows makes its page due, not the project page alone',
  async (t) => {
    const { db } = await testDatabase(t);
    await addReleases(db, 'a', 'feed', [someRelease('1.0')]);
    t.same(await due(db), ['PROJECT a'], 'it is in no index without a file');
    await db.query(
      `with tag as (insert into tags (py, abi, platform) values ('py3', 'none', 'any') returning tag_id)
       insert into files (filename, version_id, filesize, sha256, metadata_sha256, tag_id)
       select 'a-1.0-py3-none-any.whl', version_id, 1, '', '', tag_id from versions, tag`,
    );
    await addReleases(db, 'a', 'feed', [someRelease('1.0')]);
    t.same(await due(db), [], 'nothing has changed');
    await addReleases(db, 'a', 'feed', [someRelease('1.0', { yanked: 'broken' })]);
    t.same(await due(db), ['PKG a'], 'a yank has to be marked');
    await setQuarantined(db, 'a', null, true);
    t.same(await due(db), ['PKG a'], 'what is quarantined has to go');
  },
);

void t.test('a page that is named twice is noted once', async (t) => {
  const { db } = await testDatabase(t);
  await markPagesDue(db, [
    ['PKG', 'b'],
    ['LOG', '7'],
    ['PKG', 'b'],
  ]);
  t.same(await due(db), ['PKG b', 'LOG 7']);
});

void t.test('a package is listed under the highest serial that was said of it', async (t) => {
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
  const [one, two] = [await allocateSerials(db, 1), await allocateSerials(db, 1)];
  t.ok(two.first >= one.first + one.count, 'serials are given out once');
});

void t.test('what is written is heard from the Secretary of today alone', async (t) => {
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
  t.equal((await loadPages(db, 'front', 0)).length, 1, 'what is due, from anyone');
});
