import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, existsSync, mkdtempSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import t, { type Test } from 'tap';
import type { RawSettings } from '../../src/config.js';
import { formatConfig } from '../../src/settings/config-file.js';
import { natsAddress, uniquePrefix, until } from '../helpers/bus.js';
import { piwRunner, runTask, runTasks } from '../helpers/command.js';
import { testDatabase } from '../helpers/database.js';
import { buildMmdb } from '../helpers/mmdb.js';
import { startFarmNats } from '../helpers/nats.js';
import {
  combinedLine,
  countDownloads,
  combinedLines,
  wheelPath,
  insertPackages,
} from '../helpers/web-log.js';

const BIN = fileURLToPath(new URL('../../run/bin.js', import.meta.url));
const FARM_TASKS = ['the-oracle', 'lumberjack'];

/** Starts a farm (with `down`, only its database), and creates a folder for logs. */
async function setUp(t: Test, { down = false, nats = natsAddress() } = {}) {
  const { db, dsn } = await testDatabase(t);
  await insertPackages(db, 'demo');
  const folder = mkdtempSync(join(tmpdir(), 'piw-logger-'));
  const farmSettings = { dsn, nats, prefix: uniquePrefix() };
  const loggerSettings = {
    nats: farmSettings.nats,
    prefix: farmSettings.prefix,
    spool: join(folder, 'spool'),
  };
  const startFarm = () => FARM_TASKS.map((task) => runTask(t, task, farmSettings));
  const tasks = down ? [] : startFarm();
  return {
    db,
    folder,
    loggerSettings,
    startFarm,
    tasks,
    piw: piwRunner(loggerSettings),
    spool: loggerSettings.spool,
  };
}

/** Starts a logger that reads a pipe, as a web server does. */
function startPipeLogger(t: Test, settings: RawSettings, ...args: readonly string[]) {
  const config = join(mkdtempSync(join(tmpdir(), 'piw-logger-')), 'piwheels.conf');
  writeFileSync(config, formatConfig(settings));
  const child: ChildProcess = spawn(process.execPath, [BIN, 'logger', '-c', config, ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const output = { out: '', err: '' };
  child.stdout?.on('data', (data: Buffer) => (output.out += data.toString()));
  child.stderr?.on('data', (data: Buffer) => (output.err += data.toString()));
  child.stdin?.on('error', () => undefined);
  const closed = once(child, 'close');
  return {
    output,
    child,
    write: (text: string) => child.stdin?.write(text),
    /** Closes the pipe, as a server does that stops. */
    end: () => {
      child.stdin?.end();
    },
    ended: async () => ((await closed) as [number | null])[0],
  };
}

const spooledBytes = (folder: string): number =>
  existsSync(folder)
    ? readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0)
    : 0;

void t.test(
  'files are counted once, whatever their names, and the summary states their contents',
  async (t) => {
    const { db, folder, piw } = await setUp(t);
    const [log, old] = [join(folder, 'access.log'), join(folder, 'access.log.2.gz')];
    writeFileSync(old, gzipSync(combinedLines(100)));
    writeFileSync(
      log,
      `${combinedLines(10, {}, 100)}nonsense\n${combinedLine({ path: '/simple/demo/' })}${combinedLine({ path: '/project/demo/' })}` +
        combinedLine({ path: '/project/demo/json/' }) +
        combinedLine({ path: '/', status: 304 }) +
        combinedLine({ path: '/simple/demo/gone-1.0-py3-none-any.whl' }) +
        combinedLine({ status: 206 }),
    );
    const ran = await piw('logger', log, old, '--json');
    t.equal(ran.code, 0, ran.err);
    const files = [
      { name: log, before: 0, counted: statSync(log).size },
      { name: old, before: 0, counted: combinedLines(100).length },
    ];
    t.same(JSON.parse(ran.out), {
      lines: 117,
      downloads: 111,
      index_pages: 1,
      projects: 1,
      json: 1,
      pages: 1,
      unknown: 1,
      bad: 1,
      first_bad: { log, byte: combinedLines(10, {}, 100).length, text: 'nonsense' },
      other: 1,
      elsewhere: 0,
      first_elsewhere: null,
      dropped: 0,
      refused: 0,
      spooled: 0,
      files,
    });
    t.equal(await countDownloads(db), 110);
    appendFileSync(log, combinedLines(5, {}, 110));
    const second = await piw('logger', '--format', 'combined', log, old);
    t.match(second, {
      code: 0,
      out: '5 lines: 5 downloads, 0 index pages, 0 project pages, 0 JSON pages, 0 other pages, 0 requests of other kinds, not counted.\n',
    });
    t.equal(await countDownloads(db), 115);
    const missing = await piw('logger', join(folder, 'nowhere'), log);
    t.match(missing, { code: 1, err: /can't be read file=\S*nowhere code=ENOENT/, out: /^0 lines/ });
    t.match(await piw('logger', '--format', 'iis', log), { code: 2, err: /format/ });
  },
);

void t.test('a site below a path is recognised, and unrecognised downloads are reported', async (t) => {
  const { db, folder, loggerSettings, piw } = await setUp(t);
  const log = join(folder, 'access.log');
  const path = `/farm${wheelPath('demo')}`;
  const below =
    combinedLines(12, { path }) +
    combinedLine({ path: '/farm/simple/demo/' }) +
    combinedLine({ path: '/elsewhere/' }) +
    combinedLine({ path, status: 404 });
  writeFileSync(log, below);
  const without = await piw('logger', log);
  t.match(without, {
    code: 0,
    out: /^15 lines: 0 downloads, .* 3 requests of other kinds, not counted\.\nNot counted: 12 downloads of wheels outside the paths of this farm's site, the first being GET \/farm\/simple\/demo\/demo-1\.0-.*--path-prefix\.\n$/,
  });
  t.equal(await countDownloads(db), 0);
  for (const [n, more] of [
    { 'public-url': 'https://example.org/farm/' },
    { 'path-prefix': 'farm/' },
  ].entries()) {
    // Change the first line, so that it is a new log each time.
    writeFileSync(log, combinedLine({ path: `/${n}` }) + below);
    const ran = await piwRunner({ ...loggerSettings, ...more })('logger', log);
    t.match(ran, { code: 0, out: /^16 lines: 12 downloads, 1 index page, .* 3 requests of other/ }, ran.out);
  }
  t.equal(await countDownloads(db), 24);
});

void t.test('lines from a pipe are counted soon, even if none follow', async (t) => {
  const { db, loggerSettings, spool } = await setUp(t);
  const logger = startPipeLogger(t, loggerSettings, '--json');
  for (let n = 1; n <= 3; n += 1) {
    logger.write(combinedLine({ host: `h${n}` }));
    await until(async () => (await countDownloads(db)) === n);
  }
  logger.write(combinedLine().trimEnd());
  logger.end();
  t.equal(await logger.ended(), 0, logger.output.err);
  t.match(JSON.parse(logger.output.out), { lines: 4, downloads: 4, spooled: 0, dropped: 0 });
  t.equal(await countDownloads(db), 4, 'the last line needs no newline');
  t.equal(spooledBytes(spool), 0);
});

void t.test('lines that arrive while the farm is down are kept, and survive the logger', async (t) => {
  const { db, loggerSettings, spool, startFarm } = await setUp(t, { down: true });
  const first = startPipeLogger(t, loggerSettings);
  first.write(combinedLines(3000));
  await until(() => spooledBytes(spool) === combinedLines(3000).length);
  first.child.kill('SIGKILL');
  await first.ended();
  // The server starts another logger, which adopts the segments of the first.
  const second = startPipeLogger(t, loggerSettings);
  second.write(combinedLines(2000, {}, 3000));
  await until(() => second.output.err.includes('the farm is down'));
  second.child.kill('SIGTERM');
  t.equal(await second.ended(), 0, second.output.err);
  t.match(second.output.err, /lines are kept; .* path=\S*spool bytes=\d+/);
  t.equal(spooledBytes(spool), combinedLines(5000).length);
  startFarm();
  const third = startPipeLogger(t, loggerSettings, '--json');
  third.write(combinedLines(1000, {}, 5000));
  third.end();
  t.equal(await third.ended(), 0, third.output.err);
  t.match(JSON.parse(third.output.out), { lines: 6000, bad: 0 });
  t.equal(await countDownloads(db), 6000);
  t.same(await db.query('select accessed_by from downloads group by 1 having count(*) > 1'), []);
  t.equal(spooledBytes(spool), 0);
});

void t.test('each line is counted once, whichever process is killed', async (t) => {
  const nats = await startFarmNats(t, []);
  const { db, loggerSettings, startFarm } = await setUp(t, { down: true, nats: nats.master });
  let tasks = startFarm();
  let sent = 0;
  let logger = startPipeLogger(t, loggerSettings);
  const write = (n: number) => {
    logger.write(combinedLines(n, {}, sent));
    sent += n;
  };
  for (let round = 0; round < 3; round += 1) {
    write(9000);
    // Wait until some lines are counted, and others are in flight.
    await until(async () => (await countDownloads(db)) > sent - 9000);
    if (round % 3 === 0) {
      process.kill(nats.process.pid ?? 0, 'SIGKILL');
    } else if (round % 3 === 1) {
      const before = tasks;
      tasks = [];
      await Promise.all(before.map(({ stop }) => stop()));
      write(500);
      tasks = startFarm();
    } else {
      // Lines that the logger has read are kept. Here, lines in the pipe would be lost with it; a server passes the
      // pipe on to the next logger.
      await until(() => logger.child.stdin?.writableLength === 0);
      await until(async () => (await countDownloads(db)) + spooledLines(loggerSettings.spool) >= sent);
      logger.child.kill('SIGKILL');
      await logger.ended();
      logger = startPipeLogger(t, loggerSettings);
    }
    write(500);
  }
  logger.end();
  t.equal(await logger.ended(), 0, logger.output.err);
  t.equal(await countDownloads(db), sent);
  t.same(await db.query('select accessed_by from downloads group by 1 having count(*) > 1'), []);
});

/** Returns the number of lines in the spool, including those that are already counted. */
const spooledLines = (folder: string): number =>
  Math.round(spooledBytes(folder) / (combinedLines(1000).length / 1000));

void t.test('with --drop, lines that arrive while the farm is down are dropped', async (t) => {
  const { db, loggerSettings, spool, startFarm } = await setUp(t, { down: true });
  const logger = startPipeLogger(t, loggerSettings, '--drop', '--json');
  logger.write(combinedLines(100));
  await until(() => logger.output.err.includes('dropped'));
  startFarm();
  // Until the farm counts one of them.
  for (let n = 0; (await countDownloads(db)) === 0; n += 1) {
    logger.write(combinedLine({ host: `try${n}` }));
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  const before = await countDownloads(db);
  logger.write(combinedLines(40_000, {}, 100));
  logger.end();
  t.equal(await logger.ended(), 0, logger.output.err);
  t.equal((await countDownloads(db)) - before >= 40_000, true, 'a writer that is faster than the farm waits');
  const { dropped, downloads } = JSON.parse(logger.output.out) as { dropped: number; downloads: number };
  t.ok(dropped >= 100, String(dropped));
  t.equal(downloads, await countDownloads(db));
  t.equal(existsSync(spool), false, 'nothing is spooled');
});

void t.test('lines beyond the limit of the spool are dropped, and the log says so', async (t) => {
  const { db, loggerSettings, spool, startFarm } = await setUp(t, { down: true });
  const logger = startPipeLogger(t, { ...loggerSettings, 'spool-limit': 1 }, '--json');
  logger.write(combinedLines(30_000));
  await until(() => logger.output.err.includes('is full'));
  t.match(logger.output.err, /lines dropped count=\d+ reason="the spool .* is full"/);
  startFarm();
  logger.end();
  t.equal(await logger.ended(), 1, logger.output.err);
  const { dropped, lines: kept } = JSON.parse(logger.output.out) as { dropped: number; lines: number };
  t.equal(dropped + kept, 30_000);
  t.equal(await countDownloads(db), kept);
  t.ok(kept > 5000);
  t.equal(spooledBytes(spool), 0);
});

void t.test('a spool smaller than the input loses nothing while the farm is running', async (t) => {
  const { db, loggerSettings, spool } = await setUp(t);
  const logger = startPipeLogger(t, { ...loggerSettings, 'spool-limit': 1 }, '--json');
  logger.write(combinedLines(30_000));
  await until(async () => (await countDownloads(db)) > 20_000);
  logger.write(combinedLines(10, {}, 30_000));
  logger.end();
  t.equal(await logger.ended(), 0, logger.output.err);
  t.match(JSON.parse(logger.output.out), { lines: 30_010, dropped: 0 });
  t.equal(await countDownloads(db), 30_010);
  t.equal(spooledBytes(spool), 0);
});

void t.test('the country is recorded, and the address is truncated as configured', async (t) => {
  const { db, folder, piw } = await setUp(t);
  const database = join(folder, 'countries.mmdb');
  writeFileSync(database, buildMmdb({ '192.0.2.0/24': 'GB' }));
  const log = join(folder, 'access.log');
  writeFileSync(log, combinedLine({ host: '192.0.2.77' }) + combinedLine({ host: '203.0.113.9' }));
  const ran = await piw('logger', log, '--geoip-database', database, '--log-hosts', 'truncate');
  t.equal(ran.code, 0, ran.err);
  t.same(await db.query('select accessed_by, country from downloads order by 1'), [
    { accessed_by: '192.0.2.0', country: 'GB' },
    { accessed_by: '203.0.113.0', country: null },
  ]);
  t.match(await piw('logger', log, '--geoip-database', log), { code: 2, err: /MaxMind/ });
});

void t.test(
  'an unusable spool exits with 2, and an interrupted run while the farm is down with 130',
  async (t) => {
    const { folder, loggerSettings } = await setUp(t, { down: true });
    const log = join(folder, 'access.log');
    writeFileSync(log, combinedLines(10));
    const piw = piwRunner({ ...loggerSettings, nats: '127.0.0.1:9' });
    const logger = piw('logger', '-', '--spool', '/dev/null/x');
    t.match(await logger, { code: 2, err: /spool folder \/dev\/null\/x can't be used/ });
    const interrupted = startPipeLogger(t, loggerSettings, log);
    await until(() => interrupted.output.err.includes('does not answer'));
    interrupted.child.kill('SIGINT');
    t.equal(await interrupted.ended(), 130, interrupted.output.err);
  },
);

void t.test('months older than keep-downloads are deleted', async (t) => {
  const { db, dsn } = await testDatabase(t);
  await insertPackages(db, 'demo');
  await db.query(`select make_log_months('{2020-01-01}')`);
  const months = async () =>
    (await db.query(`select 1 from pg_inherits where inhparent = 'downloads'::regclass`)).length;
  t.equal(await months(), 3);
  runTasks(t, FARM_TASKS, { dsn, 'keep-downloads': 12 });
  await until(async () => (await months()) === 2);
});
