import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { addReleases } from '../../src/database/versions.js';
import { piwRunner, piwRunnerWithTasks } from '../helpers/command.js';
import { testDatabase } from '../helpers/database.js';
import { someRelease } from '../helpers/rows.js';

t.setTimeout(120_000);

void t.test('an administrator can yank and unyank a version', async (t) => {
  const { db, dsn } = await testDatabase(t);
  await addReleases(db, 'demo', 'feed', [someRelease('1.0')]);
  await addReleases(db, 'all', 'feed', [someRelease('1.0'), someRelease('2.0')]);
  const { piw } = piwRunnerWithTasks(t, ['the-oracle', 'the-secretary', 'the-scribe', 'mr-chase'], {
    dsn,
    'output-path': mkdtempSync(join(tmpdir(), 'piw-yank-')),
  });
  const mark = async () => (await db.query('select yanked, yank_kept from versions order by version_id'))[0];
  t.match(await piw('remove', 'demo', '1.0', '--yank', '--yes'), { code: 0, out: 'Yanked demo 1.0.' });
  t.same(await mark(), { yanked: '', yank_kept: true });
  t.match(await piw('add', 'demo', '1.0', '--yank', 'harmful'), { code: 0 });
  t.same(await mark(), { yanked: 'harmful', yank_kept: true });
  t.match(await piw('add', 'demo', '1.0'), { code: 0 });
  t.same(await mark(), { yanked: 'harmful', yank_kept: true }, 'adding it again keeps the yank');
  t.match(await piw('add', 'demo', '1.0', '--unyank'), { code: 0 });
  t.same(await mark(), { yanked: null, yank_kept: false });
  t.match(await piw('remove', 'all', '--all-versions', '--yank', '--skip=harmful', '--yes'), {
    code: 0,
    out: 'Yanked all of all.\n',
  });
  t.same(await db.query(`select version from versions where yanked = 'harmful' order by version`), [
    { version: '1.0' },
    { version: '2.0' },
  ]);
});

void t.test('piw add yanks a version, and not a whole package', async (t) => {
  const piw = piwRunner({ nats: 'nats://127.0.0.1:1' });
  t.match(await piw('add', 'demo', '--yank', 'harmful'), { code: 2, err: /name one/ });
  t.match(await piw('add', 'demo', '--unyank'), { code: 2, err: /name one/ });
});
