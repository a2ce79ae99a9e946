import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { piwRunnerWithTasks } from '../helpers/command.js';
import { testDatabase } from '../helpers/database.js';
import { insertTarget } from '../helpers/rows.js';

t.setTimeout(120_000);

void t.test('packages and versions are added and updated as the options say', async (t) => {
  const { db, dsn } = await testDatabase(t);
  await insertTarget(db, 'cp311');
  const { piw } = piwRunnerWithTasks(t, ['the-oracle', 'the-scribe', 'the-secretary', 'mr-chase'], {
    dsn,
    'output-path': mkdtempSync(join(tmpdir(), 'piw-add-')),
  });
  const packageRow = async () =>
    (await db.query('select package, description, aliases, skip, origin from packages'))[0];
  const versionRow = async () => (await db.query('select version, released, skip, origin from versions'))[0];
  const queued = async () => (await db.query('select from queue')).length;

  t.same(await piw('add', 'Demo_Tool', '1.0'), {
    code: 1,
    out: '',
    err: 'piw: there is no package demo-tool yet; piw add demo-tool adds it. Check the name.\n',
  });
  t.same(await piw('add', 'Demo_Tool', '-d', 'Shows it.', '-a', 'A.demo', '--alias', 'B-demo'), {
    code: 0,
    out: 'demo-tool is registered. The farm builds the versions that you add or that the followed index has.\n',
    err: '',
  });
  const added = {
    package: 'demo-tool',
    description: 'Shows it.',
    aliases: ['A.demo', 'B-demo'],
    skip: null,
    origin: 'add',
  };
  t.same(await packageRow(), added);
  t.match(await piw('add', 'demo-tool', '--skip', 'built elsewhere'), {
    code: 0,
    out: 'demo-tool is registered. It is not built.\n',
  });
  t.same(await packageRow(), { ...added, skip: 'built elsewhere' }, 'what is not named stays');

  t.match(await piw('add', 'demo-tool', '1.0', '--released', '2021-05-05T14:18:17Z'), {
    code: 0,
    out: 'demo-tool 1.0 is registered. piw queue demo-tool shows where it stands.\n',
  });
  const released = new Date('2021-05-05T14:18:17Z');
  t.same(await versionRow(), { version: '1.0', released, skip: null, origin: 'add' });
  t.equal(await queued(), 0, 'its package is skipped');
  t.match(await piw('add', 'demo-tool', '--unskip'), { code: 0 });
  t.same([await packageRow(), await queued()], [added, 1]);
  t.match(await piw('add', 'demo-tool', '1.0', '-s', 'broken'), { code: 0 });
  t.match(await versionRow(), { skip: 'broken' });
  t.equal(await queued(), 0);
  t.match(await piw('add', 'demo-tool', '1.0', '--unskip'), { code: 0 });
  t.match(await versionRow(), { skip: null });
  t.equal(await queued(), 1);
  t.match(await piw('add', 'demo-tool', '1.0', '--skip', 'x', '--unskip'), { code: 2, err: /together/ });
  t.match(await piw('add', 'demo-tool', '1.0', '--alias', 'Demo.Tool'), { code: 0 });
  t.same(await packageRow(), { ...added, aliases: ['A.demo', 'B-demo', 'Demo.Tool'] });
  t.match(await piw('add', 'demo-tool', '1.0', '--description', 'x'), {
    code: 2,
    err: /for the package: piw add demo-tool --description/,
  });
  t.match(await piw('add', 'demo-tool', '--released', '2021-05-05'), { code: 2, err: /need a version/ });
});
