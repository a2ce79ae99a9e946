/** Checks that a lock file stays valid: a wheel that was removed and built again has the same hash. */
import { execFile, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';
import { formatConfig } from '../../src/settings/config-file.js';
import { startWebServer } from '../../src/web/web-server.js';
import { IndexServer } from '../builder/index-server.js';
import { natsAddress, uniquePrefix, until } from '../helpers/bus.js';
import { piwRunner } from '../helpers/command.js';
import { testDatabase } from '../helpers/database.js';
import { orSkipReason } from '../helpers/missing.js';
import { packFixture } from '../helpers/sdist.js';
import { findInstaller } from './installers.js';

t.setTimeout(280_000);
const BIN = fileURLToPath(new URL('../../run/bin.js', import.meta.url));
const TITLE = 'uv sync --frozen installs a wheel that was removed and built again after uv lock';
const NAME = 'piw-fixture-dated';
const exec = promisify(execFile);

const uv = await orSkipReason(() => findInstaller('uv'));
if (typeof uv === 'string') void t.test(TITLE, { skip: uv }, () => undefined);
else
  void t.test(TITLE, async (t) => {
    const index = await IndexServer.start([packFixture('dated', { version: '2.0' })]);
    t.teardown(() => index.stop());
    const { db, dsn } = await testDatabase(t);
    const folder = mkdtempSync(join(tmpdir(), 'piw-frozen-'));
    const output = join(folder, 'www');
    const web = await startWebServer({ root: output, host: '127.0.0.1', port: 0 });
    t.teardown(() => web.close());
    const siteUrl = `http://127.0.0.1:${web.port}`;
    const settings = {
      nats: natsAddress(),
      master: natsAddress(),
      prefix: uniquePrefix(),
      dsn,
      'output-path': output,
      'public-url': siteUrl,
      'pypi-simple': index.url,
      watch: [NAME],
      'poll-interval': '1s',
      'dev-mode': true,
      'register-targets': true,
      'allow-root': true,
      'allow-superuser': true,
      'work-dir': join(folder, 'work'),
      'allow-exposed': true,
    };
    let logText = '';
    const start = (
      command: string,
      overrides: Readonly<Record<string, string>> = {},
    ): (() => Promise<void>) => {
      const config = join(folder, `${command}.conf`);
      writeFileSync(config, formatConfig({ ...settings, ...overrides }));
      const args = command === 'master' ? ['--one-process'] : [];
      const child = spawn(process.execPath, [BIN, command, ...args, '-c', config], {
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      child.stderr.on('data', (data: Buffer) => (logText += data.toString()));
      const ended = new Promise<void>((resolve) =>
        child.once('close', () => {
          resolve();
        }),
      );
      const stop = async (): Promise<void> => {
        child.kill('SIGTERM');
        await ended;
      };
      t.teardown(stop);
      return stop;
    };
    const listedWheels = async (): Promise<readonly string[]> => {
      const page = await fetch(`${siteUrl}/simple/${NAME}/`, { headers: { accept: 'text/html' } });
      return page.ok ? [...(await page.text()).matchAll(/href="([^"]+)"/g)].map(([, link = '']) => link) : [];
    };
    const waitForWheels = async (): Promise<readonly string[]> => {
      await until(async () => (await listedWheels()).length > 0, 90_000).catch((error: unknown) => {
        t.comment(logText);
        throw error;
      });
      return await listedWheels();
    };

    start('master');
    const stopSlave = start('slave');
    const first = await waitForWheels();

    const project = join(folder, 'project');
    mkdirSync(project);
    writeFileSync(
      join(project, 'pyproject.toml'),
      `[project]\nname = "app"\nversion = "1"\nrequires-python = ">=3.9"\ndependencies = ["${NAME}"]\n`,
    );
    const run = async (...args: readonly string[]): Promise<void> => {
      const [program, ...prefixArgs] = uv.command(folder);
      const env = {
        PATH: process.env['PATH'],
        HOME: folder,
        UV_PYTHON_DOWNLOADS: 'never',
        UV_PYTHON: uv.python,
      };
      await exec(program, [...prefixArgs, ...args, '--no-cache'], { cwd: project, env, timeout: 120_000 });
    };
    await run('lock', '--default-index', `${siteUrl}/simple/`);

    // The wheel is removed from the farm, and built again later, by another slave in another folder.
    await stopSlave();
    t.match(await piwRunner(settings)('remove', '--yes', NAME, '2.0'), { code: 0 });
    await until(async () => (await listedWheels()).length === 0, 30_000);
    start('slave', { 'work-dir': join(folder, 'elsewhere') });
    t.same(await waitForWheels(), first, 'the same bytes under the same name');
    t.match(await db.query('select count(*)::int as count from published_files'), [{ count: 1 }]);
    await run('sync', '--frozen', '--no-install-project', '--default-index', `${siteUrl}/simple/`);
  });
