import { existsSync, mkdtempSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { checkOutput } from '../../src/check/output.js';
import type { Fault } from '../../src/check/faults.js';
import { logBuilds } from '../../src/database/builds.js';
import { deletePackage } from '../../src/database/packages.js';
import { addReleases, deleteBuilds } from '../../src/database/versions.js';
import { natsAddress, uniquePrefix, until } from '../helpers/bus.js';
import { piwRunner, runTasks } from '../helpers/command.js';
import { testDatabase } from '../helpers/database.js';
import { insertTarget, someBuild, someRelease } from '../helpers/rows.js';
import { makeWheel } from '../helpers/wheel.js';

t.setTimeout(300_000);

void t.test('a removed package leaves no log and no broken link', async (t) => {
  const { db, dsn } = await testDatabase(t);
  await insertTarget(db, 'cp311');
  const output = join(mkdtempSync(join(tmpdir(), 'piw-remove-')), 'www');
  const settings = { nats: natsAddress(), prefix: uniquePrefix(), dsn, 'output-path': output };
  runTasks(
    t,
    ['the-oracle', 'file-juggler', 'the-scribe', 'the-secretary', 'mr-chase', 'big-brother'],
    settings,
    {
      prefix: settings.prefix,
    },
  );
  const piw = piwRunner(settings);
  const logs = () =>
    existsSync(join(output, 'logs/0000')) ? readdirSync(join(output, 'logs/0000')).sort() : [];
  const checkFaults = async (): Promise<readonly Fault[]> => {
    const faults: Fault[] = [];
    await checkOutput(output, {
      selection: { kind: 'all' },
      readContents: true,
      recheckDelaysMs: [1000, 2000],
      settleMs: 0,
      report: (fault) => {
        // The farm has no public address, so there is neither a sitemap nor robots.txt; the home page is written
        // once a minute.
        if (fault.rule !== 'site-extra' && !fault.path.startsWith('index.html ')) faults.push(fault);
      },
    });
    return faults;
  };
  const folder = mkdtempSync(join(tmpdir(), 'piw-remove-'));
  for (const [name, version] of [
    ['demo', '1.0'],
    ['demo', '2.0'],
    ['other', '1.0'],
  ] as const)
    t.match(await piw('import', '--yes', await makeWheel(folder, { name, version })), { code: 0 });
  await until(() => logs().length === 6, 30_000);
  await until(() => existsSync(join(output, 'project/demo/index.html')));

  t.match(await piw('remove', '--yes', 'demo', '1.0'), { code: 0 });
  await until(() => logs().length === 4, 30_000);
  t.match(await piw('remove', '--yes', '--all-versions', 'demo'), { code: 0 });
  await until(() => logs().length === 2, 30_000);
  t.notOk(existsSync(join(output, 'project/demo')));
  await until(
    () => !existsSync(join(output, 'simple/demo')) && existsSync(join(output, 'index.html')),
    30_000,
  );
  t.notOk(existsSync(join(output, 'pypi/demo')));
  // The search and the list of packages follow the package's own pages.
  await until(async () => (await checkFaults()).length === 0, 60_000).catch(() => undefined);
  t.same(await checkFaults(), []);
  t.ok(existsSync(join(output, 'project/other/index.html')), 'the other package is untouched');
});

/** Starts a farm with two versions of demo that have failed to build. */
async function farmWithFailures(t: Test) {
  const { db, dsn } = await testDatabase(t);
  await insertTarget(db, 'cp311');
  await addReleases(db, 'demo', 'feed', [someRelease('1.0'), someRelease('2.0')]);
  await logBuilds(db, [someBuild('1.0'), someBuild('2.0')]);
  const output = mkdtempSync(join(tmpdir(), 'piw-remove-'));
  const tasks = ['the-oracle', 'file-juggler', 'the-scribe', 'the-secretary', 'mr-chase'];
  const settings = runTasks(t, tasks, { dsn, 'output-path': output });
  const versionsOf = async (table: 'builds' | 'queue') =>
    (
      await db.query<{ version: string }>(
        `select version from ${table} join versions using (version_id) order by version`,
      )
    ).map(({ version }) => version);
  return { db, piw: piwRunner(settings), versionsOf };
}

void t.test('a removed version is built again, unless --skip says why not', async (t) => {
  const { db, piw, versionsOf } = await farmWithFailures(t);
  t.same([await versionsOf('builds'), await versionsOf('queue')], [['1.0', '2.0'], []]);
  const refusals = [
    [['remove', 'demo', '1.0'], 'piw: nothing was changed. Answer y at the terminal, or pass --yes.\n'],
    // The command looks before it asks.
    [['remove', 'nothing', '--all-versions'], 'piw: there is no package nothing. Check the name.\n'],
    [['remove', 'demo', '9.9'], 'piw: there is no version 9.9 of demo. Check the version.\n'],
    [['remove', '-y', 'nothing', '1.0'], 'piw: there is no package nothing. Check the name.\n'],
    [['remove', '-y', 'demo', '9.9'], 'piw: there is no version 9.9 of demo. Check the version.\n'],
    [['remove', '-y', 'nothing', '--all-versions'], 'piw: there is no package nothing. Check the name.\n'],
  ] as const;
  for (const [args, err] of refusals) t.same(await piw(...args), { code: 1, out: '', err }, args.join(' '));
  t.same(await versionsOf('builds'), ['1.0', '2.0'], 'nothing was removed');

  t.same(await piw('remove', '-y', 'demo', '1.0'), {
    code: 0,
    out: 'Removed demo 1.0. What is still in the followed index will be built again; --skip prevents that.\n',
    err: '',
  });
  t.same([await versionsOf('builds'), await versionsOf('queue')], [['2.0'], ['1.0']]);
  const skips = async () =>
    (await db.query<{ skip: string | null }>('select skip from versions order by version')).map(
      ({ skip }) => skip,
    );
  t.same(await piw('remove', '-y', '-s', 'demo', '1.0'), { code: 0, out: 'Removed demo 1.0.\n', err: '' });
  t.same([await skips(), await versionsOf('queue')], [['removed by an administrator', null], []]);
  t.match(await piw('remove', '-y', 'demo', '2.0', '--skip'), { code: 0 });
  t.same(await skips(), ['removed by an administrator', 'removed by an administrator'], '--skip is a flag');
  t.match(await piw('remove', '-y', 'demo', '2.0', '--skip=withdrawn'), { code: 0 });
  t.same([await skips(), await versionsOf('queue')], [['removed by an administrator', 'withdrawn'], []]);
  t.match(await piw('remove', '-y', 'demo', '--all-versions', '--skip=all of it'), { code: 0 });
  t.same(await db.query('select package, skip from packages'), [{ package: 'demo', skip: 'all of it' }]);
  t.match(await piw('remove', '-y', 'demo', '--all-versions'), { code: 0 });
  t.same(await db.query('select package from packages'), []);
});

void t.test('with --builds the package and its versions stay, and wait to be built', async (t) => {
  const { db, piw, versionsOf } = await farmWithFailures(t);
  t.same(await piw('remove', '-y', 'demo', '2.0', '--builds'), {
    code: 0,
    out: 'Removed the builds of demo 2.0.\n',
    err: '',
  });
  t.same([await versionsOf('builds'), await versionsOf('queue')], [['1.0'], ['2.0']]);
  t.same(await piw('remove', '-y', 'demo', '--all-versions', '--builds'), {
    code: 0,
    out: 'Removed the builds of all of demo.\n',
    err: '',
  });
  t.same([await versionsOf('builds'), await versionsOf('queue')], [[], ['1.0', '2.0']]);
  t.same(await db.query('select version, skip from versions order by version'), [
    { version: '1.0', skip: null },
    { version: '2.0', skip: null },
  ]);
  t.match(await piw('remove', '-y', 'nothing', '--all-versions', '--builds'), {
    code: 1,
    err: 'piw: there is no package nothing.',
  });
  t.match(await piw('remove', '-y', 'demo', '1.0', '--builds', '--skip'), {
    code: 2,
    err: "--builds and -s can't be used together",
  });
});

void t.test('a removal that was interrupted is completed when it is repeated', async (t) => {
  const { db, dsn } = await testDatabase(t);
  await insertTarget(db, 'cp311');
  const output = join(mkdtempSync(join(tmpdir(), 'piw-remove-')), 'www');
  const settings = runTasks(t, ['the-oracle', 'file-juggler', 'the-scribe', 'the-secretary', 'mr-chase'], {
    dsn,
    'output-path': output,
  });
  const piw = piwRunner(settings);
  const wheels = () => {
    const folder = join(output, 'simple', 'demo');
    return existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.whl')) : [];
  };
  const folder = mkdtempSync(join(tmpdir(), 'piw-remove-'));
  for (const version of ['1.0', '2.0'])
    t.match(await piw('import', '--yes', await makeWheel(folder, { version })), { code: 0 });
  // What Mr Chase has done when he is killed: the database no longer lists the files, which are still published.
  await deleteBuilds(db, 'demo', '1.0');
  t.equal(wheels().length, 2);
  t.match(await piw('remove', '--yes', 'demo', '1.0'), { code: 0 });
  t.same(wheels(), ['demo-2.0-py3-none-any.whl']);
  await deletePackage(db, 'demo');
  t.match(await piw('remove', '--yes', '--all-versions', 'demo'), { code: 0 });
  t.same(wheels(), []);
  t.same(await db.query('select filename from file_removals'), []);
  t.match(await piw('remove', '--yes', '--all-versions', 'demo'), {
    code: 1,
    err: /there is no package demo/,
  });
});
