import t from 'tap';
import { quarantine } from '../../src/database/packages.js';
import { listedPackages, loadPages, newSerials, noteDue, savePages } from '../../src/database/pages.js';
import type { Database } from '../../src/database/pool.js';
import { newVersions } from '../../src/database/versions.js';
import { testDatabase } from '../helpers/database.js';
import { someRelease } from '../helpers/rows.js';

/** What is due, which is taken out. */
async function due(db: Database): Promise<string[]> {
  const lanes = ['front', 'projects', 'rest'] as const;
  const pages = (await Promise.all(lanes.map((lane) => loadPages(db, lane, 0)))).flat();
  await savePages(db, { fence: 1, pages: [], written: pages, listed: [] });
  return pages.map(([kind, argument]) => `${kind} ${argument}`);
}

void t.test(
  'whatever changes what an index shows makes its page due, not the project page alone',
  async (t) => {
    const { db } = await testDatabase(t);
    await newVersions(db, 'a', 'feed', [someRelease('1.0')]);
    t.same(await due(db), ['PROJECT a'], 'it is in no index without a file');
    await db.query(
      `with tag as (insert into tags (py, abi, platform) values ('py3', 'none', 'any') returning tag_id)
       insert into files (filename, version_id, filesize, sha256, metadata_sha256, tag_id)
       select 'a-1.0-py3-none-any.whl', version_id, 1, '', '', tag_id from versions, tag`,
    );
    await newVersions(db, 'a', 'feed', [someRelease('1.0')]);
    t.same(await due(db), [], 'nothing has changed');
    await newVersions(db, 'a', 'feed', [someRelease('1.0', { yanked: 'broken' })]);
    t.same(await due(db), ['PKG a'], 'a yank has to be marked');
    await quarantine(db, 'a', null, true);
    t.same(await due(db), ['PKG a'], 'what is quarantined has to go');
  },
);

void t.test('a page that is named twice is noted once', async (t) => {
  const { db } = await testDatabase(t);
  await noteDue(db, [
    ['PKG', 'b'],
    ['LOG', '7'],
    ['PKG', 'b'],
  ]);
  t.same(await due(db), ['PKG b', 'LOG 7']);
});

void t.test('a package is listed under the highest serial that was said of it', async (t) => {
  const { db } = await testDatabase(t);
  const say = (...listed: [string, number | null][]) =>
    savePages(db, { fence: 1, pages: [], written: [], listed });
  const listed = () => listedPackages(db, { after: '', limit: 10 });
  await say(['b', 7], ['a', 5]);
  await say(['b', 6]);
  t.same(await listed(), [
    ['a', 5],
    ['b', 7],
  ]);
  t.same(await listedPackages(db, { after: 'a', limit: 1 }), [['b', 7]]);
  await say(['a', null]);
  t.same(await listed(), [['b', 7]]);
  const [one, two] = [await newSerials(db, 1), await newSerials(db, 1)];
  t.ok(two.first >= one.first + one.count, 'serials are given out once');
});

void t.test('what is written is heard from the Secretary of today alone', async (t) => {
  const { db } = await testDatabase(t);
  const say = (fence: number | null, pages: [string, string][], serial?: number) =>
    savePages(db, { fence, pages, written: [], listed: serial === undefined ? [] : [['a', serial]] });
  await say(5, [], 7);
  await newSerials(db, 6);
  await t.rejects(say(5, [], 9), { code: 'PIW_FENCED' });
  await t.rejects(newSerials(db, 5), { code: 'PIW_FENCED' });
  await t.rejects(say(null, [], 9), { code: 'PIW_REFUSED' });
  t.same(await listedPackages(db, { after: '', limit: 10 }), [['a', 7]]);
  await say(null, [['PKG', 'a']]);
  t.equal((await loadPages(db, 'front', 0)).length, 1, 'what is due, from anyone');
});
