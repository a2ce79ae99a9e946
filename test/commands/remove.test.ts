import { existsSync, mkdtempSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { checkOutput } from '../../src/check/output.js';
import type { Fault } from '../../src/check/faults.js';
import { natsAddress, uniquePrefix, until } from '../helpers/bus.js';
import { piwRunner, runTasks } from '../helpers/command.js';
import { testDatabase } from '../helpers/database.js';
import { insertTarget } from '../helpers/rows.js';
import { makeWheel } from '../helpers/wheel.js';

t.setTimeout(120_000);

void t.test('a removed package leaves no log and no broken link', async (t) => {
  const { db, dsn } = await testDatabase(t);
  await insertTarget(db, 'cp311');
  const output = join(mkdtempSync(join(tmpdir(), 'piw-remove-')), 'www');
  const settings = { nats: natsAddress(), prefix: uniquePrefix(), dsn, 'output-path': output };
  runTasks(
    t,
    ['the-oracle', 'mr-chase', 'file-juggler', 'the-secretary', 'the-scribe', 'big-brother'],
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
