import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import type { RawSettings } from '../../src/config.js';
import { formatConfig } from '../../src/settings/config-file.js';
import type { Database } from '../../src/database/pool.js';
import { natsAddress, uniquePrefix, until } from '../helpers/bus.js';
import { runPiw, runTask } from '../helpers/command.js';
import { testDatabase } from '../helpers/database.js';
import { countDownloads, wheelPath, insertPackages } from '../helpers/web-log.js';

t.setTimeout(120_000);
const BIN = fileURLToPath(new URL('../../run/bin.js', import.meta.url));
const WHEEL = wheelPath('demo');

/** Creates an output path with one wheel, a database with it, and a farm that `startFarm` starts. */
async function setUp(t: Test) {
  const { db, dsn } = await testDatabase(t);
  await insertPackages(db, 'demo');
  const folder = mkdtempSync(join(tmpdir(), 'piw-web-'));
  const output = join(folder, 'www');
  mkdirSync(join(output, 'simple/demo'), { recursive: true });
  writeFileSync(join(output, WHEEL), 'a wheel');
  writeFileSync(join(output, 'simple/demo/index.html'), 'a page');
  const farmSettings = { dsn, nats: natsAddress(), prefix: uniquePrefix() };
  const webSettings = {
    nats: farmSettings.nats,
    prefix: farmSettings.prefix,
    'output-path': output,
    spool: join(folder, 'spool'),
  };
  const config = join(folder, 'piwheels.conf');
  writeFileSync(config, formatConfig(webSettings satisfies RawSettings));
  const startFarm = () => ['the-oracle', 'lumberjack'].map((task) => runTask(t, task, farmSettings));
  return { db, config, spool: webSettings.spool, startFarm };
}

/** Starts `piw web`, and collects its stderr. */
async function startWeb(t: Test, config: string, ...args: readonly string[]) {
  const child = spawn(process.execPath, [BIN, 'web', '-c', config, '--port', '0', ...args], {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  let log = '';
  child.stderr?.on('data', (data: Buffer) => (log += data.toString()));
  const [message] = (await once(child, 'message')) as [{ port: number }];
  const url = `http://127.0.0.1:${message.port}`;
  return {
    log: () => log,
    get: async (path: string, options: RequestInit = {}) => (await fetch(url + path, options)).arrayBuffer(),
    stop: async () => {
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      return ((await ended) as [number | null])[0];
    },
  };
}

const agents = (db: Database) =>
  db.query('select accessed_by, arch, installer_name from downloads order by installer_name');

void t.test('answers of piw web are counted by the rules of piw logger', async (t) => {
  const { db, config, startFarm } = await setUp(t);
  startFarm();
  const { get, stop } = await startWeb(t, config);
  await get(WHEEL, { headers: { 'user-agent': 'pip/26.0 {"ci":null,"cpu":"armv7l"}' } });
  await get(WHEEL, { method: 'HEAD' });
  await get(WHEEL, { headers: { range: 'bytes=0-2' } });
  await get('/simple/demo/');
  await get(`${WHEEL}.metadata`);
  await until(async () => (await countDownloads(db)) === 1);
  t.same(await agents(db), [{ accessed_by: '127.0.0.1', arch: 'armv7l', installer_name: 'pip' }]);
  await get(WHEEL, { headers: { 'user-agent': 'uv/0.9.0' } });
  t.equal(await stop(), 0);
  t.equal(await countDownloads(db), 2, 'the last answer is counted before it exits');
});

void t.test('answers while the farm is down are kept, and counted by the next piw web', async (t) => {
  const { db, config, spool, startFarm } = await setUp(t);
  const first = await startWeb(t, config);
  await first.get(WHEEL);
  await until(() => first.log().includes('the farm is down; new lines are kept'));
  await first.get(WHEEL);
  t.equal(await first.stop(), 0);
  t.not(readdirSync(spool).length, 0);
  t.equal(await countDownloads(db), 0);
  startFarm();
  const second = await startWeb(t, config);
  await until(async () => (await countDownloads(db)) === 2);
  t.equal(await second.stop(), 0);
});

void t.test('piw web counts nothing with --no-count, and serves even without a usable spool', async (t) => {
  const { db, config, spool, startFarm } = await setUp(t);
  startFarm();
  const silent = await startWeb(t, config, '--no-count');
  await silent.get(WHEEL);
  t.equal(await silent.stop(), 0);
  t.throws(() => readdirSync(spool), 'there is no spool');
  const unable = await startWeb(t, config, '--spool', join(config, 'spool'));
  t.equal(Buffer.from(await unable.get(WHEEL)).toString(), 'a wheel');
  t.match(unable.log(), /downloads are not counted code=/);
  t.equal(await unable.stop(), 0);
  t.equal(await countDownloads(db), 0);
});

void t.test('piw web does not start without a folder to serve', async (t) => {
  const path = join(mkdtempSync(join(tmpdir(), 'piw-web-')), 'missing');
  const { code, err } = await runPiw(['web', '-c', '/dev/null', '-o', path, '--no-count']);
  t.equal(code, 2);
  t.match(err, `piw: the output path ${path} is not a folder. Correct the configuration;`);
});
