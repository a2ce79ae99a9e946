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
  const { piw } = piwRunnerWithTasks(t, ['the-oracle', 'the-secretary', 'the-scribe', 'mr-chase'], {
    dsn,
    'output-path': mkdtempSync(join(tmpdir(), 'piw-yank-')),
  });
  const mark = async () => (await db.query('select yanked, yank_kept from versions'))[0];
  t.match(await piw('remove', 'demo', '1.0', '--yank', '--yes'), { code: 0, out: 'Yanked demo 1.0.' });
  t.same(await mark(), { yanked: '', yank_kept: true });
  t.match(await piw('add', 'demo', '1.0', '--yank', 'harmful'), { code: 0 });
  t.same(await mark(), { yanked: 'harmful', yank_kept: true });
  t.match(await piw('add', 'demo', '1.0'), { code: 0 });
  t.same(await mark(), { yanked: 'harmful', yank_kept: true }, 'adding it again keeps the yank');
  t.match(await piw('add', 'demo', '1.0', '--unyank'), { code: 0 });
  t.same(await mark(), { yanked: null, yank_kept: false });
});

void t.test('yanking a whole package is rejected, and removes nothing', async (t) => {
  const piw = piwRunner({ nats: 'nats://127.0.0.1:1' });
  t.match(await piw('remove', 'demo', '--all-versions', '--yank', '--yes'), { code: 2, err: /--yank/ });
  t.match(await piw('add', 'demo', '--yank', 'harmful'), { code: 2, err: /name one/ });
  t.match(await piw('add', 'demo', '--unyank'), { code: 2, err: /name one/ });
});
