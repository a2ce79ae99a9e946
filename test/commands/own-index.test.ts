import { spawn } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { extraIndexUrls } from '../../actors/cast.js';
import { formatConfig } from '../../src/settings/config-file.js';
import { loadSettings } from '../../src/settings/load.js';
import { Database } from '../../src/database/pool.js';
import { startWebServer } from '../../src/web/web-server.js';
import { IndexServer } from '../builder/index-server.js';
import { natsAddress, uniquePrefix, until } from '../helpers/bus.js';
import { testDatabase } from '../helpers/database.js';
import { packFixture } from '../helpers/sdist.js';

t.setTimeout(200_000);
const BIN = fileURLToPath(new URL('../../run/bin.js', import.meta.url));

void t.test('slaves use the farm’s own index as an extra index', (t) => {
  const site = { 'public-url': 'https://farm.example' };
  for (const [settings, expected] of [
    [{}, null],
    [site, 'https://farm.example/simple/'],
    [
      { ...site, 'extra-index-url': 'https://b.example/simple' },
      'https://b.example/simple https://farm.example/simple/',
    ],
    [{ ...site, 'own-index-url': 'http://10.0.0.1/simple' }, 'http://10.0.0.1/simple'],
    [{ ...site, 'own-index-url': 'none' }, null],
  ] as const)
    t.equal(extraIndexUrls(loadSettings(settings, '/dev/null')), expected);
  t.end();
});

void t.test('a build installs its requirements from the farm’s own wheels', async (t) => {
  const index = await IndexServer.start([
    packFixture('plain', { nameSuffix: 'nowhere', version: '2.0' }),
    packFixture('asks-in-vain'),
  ]);
  t.teardown(() => index.stop());
  const { dsn } = await testDatabase(t);
  const folder = mkdtempSync(join(tmpdir(), 'piw-own-index-'));
  const output = join(folder, 'www');
  const web = await startWebServer({ root: output, host: '127.0.0.1', port: 0 });
  t.teardown(() => web.close());
  const farmUrl = `http://127.0.0.1:${web.port}`;
  const list = join(folder, 'list');
  writeFileSync(list, 'piw-fixture-nowhere\n');
  const config = join(folder, 'piwheels.conf');
  writeFileSync(
    config,
    formatConfig({
      nats: natsAddress(),
      master: natsAddress(),
      prefix: uniquePrefix(),
      dsn,
      'output-path': output,
      'public-url': farmUrl,
      'pypi-simple': index.url,
      'watch-file': list,
      'poll-interval': '1s',
      'dev-mode': true,
      'register-targets': true,
      'allow-root': true,
      'allow-superuser': true,
      'work-dir': join(folder, 'work'),
      'allow-exposed': true,
    }),
  );
  let stderr = '';
  for (const command of [['master', '--one-process'], ['slave']]) {
    const child = spawn(process.execPath, [BIN, ...command, '-c', config], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
    const ended = new Promise((resolve) => child.once('close', resolve));
    t.teardown(async () => {
      child.kill('SIGTERM');
      await ended;
    });
  }
  const db = await Database.open(dsn, 'test');
  t.teardown(() => db.close());
  const buildLogOf = async (name: string): Promise<string> => {
    const rows = await db.query<{ output: string }>(
      `select output from builds join versions using (version_id) join packages using (package_id)
       where package = $1`,
      [name],
    );
    return rows[0]?.output ?? '';
  };
  const untilBuilt = async (name: string): Promise<void> => {
    await until(async () => (await buildLogOf(name)) !== '', 90_000).catch((error: unknown) => {
      t.comment(stderr);
      throw error;
    });
  };
  await untilBuilt('piw-fixture-nowhere');
  await until(async () => (await fetch(`${farmUrl}/simple/piw-fixture-nowhere/`)).ok, 30_000);
  writeFileSync(list, 'piw-fixture-nowhere\npiw-fixture-asks-in-vain\n');
  await untilBuilt('piw-fixture-asks-in-vain');
  const log = await buildLogOf('piw-fixture-asks-in-vain');
  t.match(log, `Downloading ${farmUrl}/simple/piw-fixture-nowhere/piw_fixture_nowhere-2.0-py3-none-any.whl`);
  t.match(log, 'Successfully built piw-fixture-asks-in-vain');
});
