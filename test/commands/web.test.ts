import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { formatConfig, type Given } from '../../src/config.js';
import type { Database } from '../../src/database/pool.js';
import { natsAddress, ownPrefix, until } from '../helpers/bus.js';
import { runTask } from '../helpers/command.js';
import { testDatabase } from '../helpers/database.js';
import { counted, pathOf, someFiles } from '../helpers/web-log.js';

t.setTimeout(120_000);
const BIN = fileURLToPath(new URL('../../src/bin.js', import.meta.url));
const WHEEL = pathOf('demo');

/** An output path with one wheel, a database that knows it, and a farm that is there once it is told to `come`. */
async function stage(t: Test) {
  const { db, dsn } = await testDatabase(t);
  await someFiles(db, 'demo');
  const here = mkdtempSync(join(tmpdir(), 'piw-web-'));
  const output = join(here, 'www');
  mkdirSync(join(output, 'simple/demo'), { recursive: true });
  writeFileSync(join(output, WHEEL), 'a wheel');
  writeFileSync(join(output, 'simple/demo/index.html'), 'a page');
  const own = { dsn, nats: natsAddress(), prefix: ownPrefix() };
  const given = { nats: own.nats, prefix: own.prefix, 'output-path': output, spool: join(here, 'spool') };
  const config = join(here, 'piwheels.conf');
  writeFileSync(config, formatConfig(given satisfies Given));
  const come = () => ['the-oracle', 'lumberjack'].map((task) => runTask(t, task, own));
  return { db, config, spool: given.spool, come };
}

/** A `piw web`, and what it has written to stderr. */
async function web(t: Test, config: string, ...args: readonly string[]) {
  const child = spawn(process.execPath, [BIN, 'web', '-c', config, '--port', '0', ...args], {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  let log = '';
  child.stderr?.on('data', (data: Buffer) => (log += data.toString()));
  const [message] = (await once(child, 'message')) as [{ port: number }];
  const url = `http://127.0.0.1:${String(message.port)}`;
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

void t.test('what piw web answers is counted, by the rules of piw logger', async (t) => {
  const { db, config, come } = await stage(t);
  come();
  const { get, stop } = await web(t, config);
  await get(WHEEL, { headers: { 'user-agent': 'pip/26.0 {"ci":null,"cpu":"armv7l"}' } });
  await get(WHEEL, { method: 'HEAD' });
  await get(WHEEL, { headers: { range: 'bytes=0-2' } });
  await get('/simple/demo/');
  await get(`${WHEEL}.metadata`);
  await until(async () => (await counted(db)) === 1);
  t.same(await agents(db), [{ accessed_by: '127.0.0.1', arch: 'armv7l', installer_name: 'pip' }]);
  await get(WHEEL, { headers: { 'user-agent': 'uv/0.9.0' } });
  t.equal(await stop(), 0);
  t.equal(await counted(db), 2, 'the last one is counted before it ends');
});

void t.test('what piw web answers while the farm is away is kept, and counted by the next one', async (t) => {
  const { db, config, spool, come } = await stage(t);
  const first = await web(t, config);
  await first.get(WHEEL);
  await until(() => first.log().includes('the farm is away, and what comes is kept'));
  await first.get(WHEEL);
  t.equal(await first.stop(), 0);
  t.not(readdirSync(spool).length, 0);
  t.equal(await counted(db), 0);
  come();
  const second = await web(t, config);
  await until(async () => (await counted(db)) === 2);
  t.equal(await second.stop(), 0);
});

void t.test('piw web counts nothing with --no-count, and serves where nothing can be kept', async (t) => {
  const { db, config, spool, come } = await stage(t);
  come();
  const silent = await web(t, config, '--no-count');
  await silent.get(WHEEL);
  t.equal(await silent.stop(), 0);
  t.throws(() => readdirSync(spool), 'there is no spool');
  const unable = await web(t, config, '--spool', join(config, 'spool'));
  t.equal(Buffer.from(await unable.get(WHEEL)).toString(), 'a wheel');
  t.match(unable.log(), /downloads are not counted: /);
  t.equal(await unable.stop(), 0);
  t.equal(await counted(db), 0);
});
