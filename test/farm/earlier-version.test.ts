import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { ProtocolClient } from '../../src/actor/client.js';
import { Bus } from '../../src/bus/bus.js';
import { parseConfig } from '../../src/settings/config-file.js';
import { loadSettings } from '../../src/settings/load.js';
import { migrate, schemaVersion } from '../../src/database/migrations.js';
import { Database } from '../../src/database/pool.js';
import { countQueue } from '../../src/database/queue-count.js';
import { packageQueue } from '../../src/database/queue-report.js';
import { readStatistics } from '../../src/database/statistics.js';
import { listTargets } from '../../src/database/targets.js';
import { writeSampleIndex } from '../../src/farm/sample-index.js';
import { chase } from '../../src/protocols/chase.js';
import { DataFolder } from '../../src/servers/data-folder.js';
import { freePort } from '../../src/servers/ports.js';
import { startPostgres } from '../../src/servers/postgres.js';
import { chownTree, unprivilegedAccount } from '../../src/servers/privileges.js';
import { startWebServer } from '../../src/web/web-server.js';
import { until } from '../helpers/bus.js';
import { runTask } from '../helpers/command.js';
import { emptyDatabase } from '../helpers/database.js';
import { MASTER_TASKS } from '../helpers/master.js';
import { startSampleServer } from '../helpers/nats.js';
import { packFixture } from '../helpers/sdist.js';
import { sha256 } from '../helpers/wheel.js';

/** What an earlier version left behind; its README says what is in it. */
const FIXTURE = fileURLToPath(new URL('../../../test/fixtures/installation-of-schema-15/', import.meta.url));
const SCHEMA_VERSION = 15;
const BIN = fileURLToPath(new URL('../../run/bin.js', import.meta.url));

t.setTimeout(330_000);

const readFixture = (name: string): string => readFileSync(join(FIXTURE, name), 'utf8');

async function restoreDatabase(dsn: string): Promise<void> {
  const db = await Database.open(dsn, 'restore');
  await db.query(readFixture('database.sql')).finally(() => db.close());
}

/** Creates a folder that unprivileged users can enter. */
function makeFolder(): string {
  const path = mkdtempSync(join(tmpdir(), 'piw-earlier-'));
  chmodSync(path, 0o755);
  return path;
}

/** Unpacks the output path, and returns it. */
function restoreOutput(folder: string): string {
  const output = join(folder, 'www');
  mkdirSync(output);
  execFileSync('tar', ['-xzf', join(FIXTURE, 'output.tar.gz'), '-C', output, '--no-same-owner']);
  return output;
}

/** Serves the index that the earlier version followed. Returns the address of its simple API. */
async function serveIndex(t: Test): Promise<string> {
  const root = makeFolder();
  writeSampleIndex(root);
  const folder = join(root, 'simple', 'piw-fixture-plain');
  mkdirSync(folder);
  const anchors = ['1.0', '2.0'].map((version) => {
    const { filename, contents } = packFixture('plain', { version });
    writeFileSync(join(folder, filename), contents);
    return `<a href="${filename}">${filename}</a>`;
  });
  writeFileSync(join(folder, 'index.html'), `<!DOCTYPE html><html><body>${anchors.join('')}</body></html>`);
  const server = await startWebServer({ root, host: '127.0.0.1', port: 0 });
  t.teardown(() => server.close());
  return `http://127.0.0.1:${server.port}/simple`;
}

/** Returns the SHA-256 of every wheel and of its metadata, by path. */
function publishedFiles(output: string): Readonly<Record<string, string>> {
  const paths = readdirSync(join(output, 'simple'), { recursive: true }).map(String);
  const published = paths.filter((path) => /\.whl(\.metadata)?$/.test(path)).sort();
  return Object.fromEntries(
    published.map((path) => [path, sha256(readFileSync(join(output, 'simple', path)))]),
  );
}

/** Returns the files that a project's page lists, without those of `except`. */
function listedFiles(output: string, project: string, except?: RegExp): readonly unknown[] {
  const page = readFileSync(join(output, 'simple', project, 'index.v1_json'), 'utf8');
  const { files } = JSON.parse(page) as { files: readonly { filename: string }[] };
  return files.filter(({ filename }) => except?.test(filename) !== true);
}

const NEW_WHEEL = /piw_fixture_plain-2\.0-/;
/** Packages with a page in the simple index. */
const PROJECTS = [
  ...['piw-fixture-dated', 'piw-fixture-optional', 'piw-fixture-plain'],
  ...['piw-sample-native', 'piw-sample-pure', 'piw-sample-variants'],
];

/** The settings that the earlier version did not have. */
const NEWER_SETTINGS: ReadonlySet<string> = new Set(['log-format']);

void t.test('every setting of an earlier version is still accepted', (t) => {
  const file = join(FIXTURE, 'all-settings.conf');
  const settings = loadSettings({}, file);
  const defaults = loadSettings({}, '/dev/null');
  const ignored = Object.entries(settings).filter(
    ([name, value]) =>
      !NEWER_SETTINGS.has(name) &&
      JSON.stringify(value) === JSON.stringify(defaults[name as keyof typeof defaults]),
  );
  t.same(ignored, [], 'each has an effect');
  t.end();
});

void t.test('piw farm continues with the data folder of an earlier version', async (t) => {
  const index = await serveIndex(t);
  const folder = makeFolder();
  const output = restoreOutput(folder);
  const published = publishedFiles(output);
  const data = join(folder, 'data');
  cpSync(join(FIXTURE, 'data-folder'), data, { recursive: true });
  for (const name of readdirSync(data)) {
    const moved = readFileSync(join(data, name), 'utf8')
      .replaceAll('/var/lib/piw/farm', data)
      .replaceAll('/var/www/piwheels', output);
    writeFileSync(join(data, name), moved, { mode: 0o600 });
  }
  const account = unprivilegedAccount();
  if (account) for (const path of [data, output]) await chownTree(path, account);
  const dataFolder = DataFolder.open(data, account);
  const postgres = await startPostgres({
    folder: dataFolder,
    log: () => undefined,
    onFailure: (error) => t.fail(error.message),
    signal: new AbortController().signal,
  });
  await restoreDatabase(postgres.adminDsn);
  await postgres.process.stop();
  dataFolder.close();

  const args = ['--once', '--json', '--port', '0', '--data-dir', data, '-o', output, '--index-url', index];
  const packages = ['piw-sample-pure', 'piw-fixture-plain==2.0'];
  const farm = spawn(process.execPath, [BIN, 'farm', ...args, ...packages], { stdio: 'pipe' });
  let [out, err] = ['', ''];
  farm.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  farm.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
  t.equal(await new Promise((resolve) => farm.once('close', resolve)), 0, out + err);

  t.match(out, /"event":"published","package":"piw-sample-pure"/);
  t.match(out, /"event":"published","package":"piw-fixture-plain","version":"2.0"/);
  t.notMatch(out, /"event":"built","package":"piw-sample-pure"/, 'what was published is not built again');
  t.match(publishedFiles(output), published, 'earlier wheels are unchanged');
  t.match(readFileSync(join(output, 'simple/piw-fixture-plain/index.html'), 'utf8'), NEW_WHEEL);
  t.match(JSON.parse(readFileSync(join(output, 'statistics.json'), 'utf8')), { downloads: 4 });
  t.match(readFileSync(join(data, 'nats-slaves.conf'), 'utf8'), /piw\.slave\.pi4\./, 'pi4 may still connect');
  t.match(readFileSync(join(data, 'piwheels.conf'), 'utf8'), /^watch = piw-fixture-optional$/m);
});

void t.test('a master and a slave work with the configuration of an earlier version', async (t) => {
  const { db, dsn } = await emptyDatabase(t);
  await restoreDatabase(dsn);
  t.same(await migrate(dsn, { user: decodeURIComponent(new URL(dsn).username) }), {
    from: SCHEMA_VERSION,
    to: schemaVersion(),
  });

  t.match(await listTargets(db), [
    { abi: 'cp311', skip: null, phase: 'active' },
    { abi: 'cp313', skip: 'not yet', phase: 'skipped' },
    { abi: 'pypy39_pp73', skip: null, phase: 'active' },
  ]);
  t.same((await countQueue(db)).lengths, [
    ['cp311', 'linux_x86_64', 2, 1, null],
    ['cp311', 'linux_x86_64', 0, 1, null],
    ['pypy39_pp73', 'linux_x86_64', 2, 3, Date.parse('2026-01-01')],
  ]);
  const statesOf = async (name: string) =>
    (await packageQueue(db, name, 'newest')).map(([version, abi, , state, position]) => [
      version,
      abi,
      state,
      position,
    ]);
  t.same(await statesOf('piw-fixture-plain'), [
    ['2.0', 'cp311', 'waiting', 1],
    ['2.0', 'cp313', 'none', null],
    ['2.0', 'pypy39_pp73', 'none', null],
    ['1.0', 'cp311', 'built', null],
    ['1.0', 'cp313', 'built', null],
    ['1.0', 'pypy39_pp73', 'built', null],
  ]);
  t.match(await statesOf('piw-fixture-needs-header'), [
    ['1.0', 'cp311', 'failed', null],
    ['1.0', 'cp313', 'none', null],
    ['1.0', 'pypy39_pp73', 'waiting', 3],
  ]);
  t.match(await statesOf('piw-fixture-retried'), [['1.0', 'cp311', 'waiting', 2]]);
  t.match(await readStatistics(db), {
    packages: 9,
    packages_built: 6,
    versions: 9,
    builds: 8,
    builds_failed: 2,
    builds_retried: 0,
    files: 6,
    files_bytes: 21_734,
    downloads: 4,
  });

  const port = String(await freePort());
  const server = await startSampleServer(
    t,
    'single.conf',
    (folder) => ({
      '0.0.0.0:4222': `127.0.0.1:${port}`,
      '/var/lib/nats': join(folder, 'store'),
      '/run/nats/nats-server.pid': join(folder, 'pid'),
    }),
    {},
    join(FIXTURE, 'nats'),
  );
  const folder = makeFolder();
  const output = restoreOutput(folder);
  const published = publishedFiles(output);
  const listed = PROJECTS.map((project) => listedFiles(output, project));
  const substituted = readFixture('master.conf')
    .replace('127.0.0.1:4222', `127.0.0.1:${port}`)
    .replace('postgres:///piwheels', dsn)
    .replace('/var/www/piwheels', output)
    .replaceAll('http://127.0.0.1:8099/simple', await serveIndex(t));
  const configuration = parseConfig(substituted, 'master.conf');
  const settings = { ...configuration, nats: String(configuration.nats), prefix: 'piw' };
  for (const task of [...MASTER_TASKS, 'mr-chase']) runTask(t, task, settings);
  const bus = await Bus.connect({ address: settings.nats, name: t.name, prefix: 'piw' });
  t.teardown(() => bus.drain());
  const client = new ProtocolClient(bus, chase, [chase.name, 'test'], {
    timeoutMs: 5000,
    patienceMs: 60_000,
  });
  await client.request('REBUILD', { part: 'ALL', package: null });

  const slaveConf = join(folder, 'slave.conf');
  writeFileSync(slaveConf, readFixture('slave.conf').replace('127.0.0.1:4399', `127.0.0.1:${port}`), {
    mode: 0o600,
  });
  const slaveArgs = ['--allow-root', '--allow-exposed', '--work-dir', join(folder, 'builds')];
  const slave = spawn(process.execPath, [BIN, 'slave', '-c', slaveConf, ...slaveArgs], { stdio: 'pipe' });
  let err = '';
  slave.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
  const ended = new Promise((resolve) => slave.once('close', resolve));
  t.teardown(() => slave.kill('SIGKILL'));
  const isListed = () =>
    JSON.stringify(listedFiles(output, 'piw-fixture-plain')).includes('piw_fixture_plain-2.0-');
  await until(() => isListed() || slave.exitCode !== null, 60_000);
  slave.kill('SIGTERM');
  await ended;
  t.ok(isListed(), `the new wheel is listed: ${err}${server.log()}`);
  await until(async () => (await db.query('select 1 from pages_backlog')).length === 0, 60_000);

  t.match(publishedFiles(output), published, 'earlier wheels are unchanged');
  t.same(
    PROJECTS.map((project) => listedFiles(output, project, NEW_WHEEL)),
    listed,
    'rewritten pages list the same files',
  );
  t.match(await db.query(`select nats_user, label from slaves order by slave_id desc limit 1`), [
    { nats_user: 'attic', label: 'the one in the attic' },
  ]);
});
