import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, existsSync, mkdtempSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import t, { type Test } from 'tap';
import { formatConfig, type Given } from '../../src/config.js';
import { natsAddress, ownPrefix, until } from '../helpers/bus.js';
import { piwWith, runTask, runTasks } from '../helpers/command.js';
import { testDatabase } from '../helpers/database.js';
import { mmdb } from '../helpers/mmdb.js';
import { farmNats } from '../helpers/nats.js';
import { combined, counted, lines, pathOf, someFiles } from '../helpers/web-log.js';

const BIN = fileURLToPath(new URL('../../src/bin.js', import.meta.url));
const FARM = ['the-oracle', 'lumberjack'];

/** A farm, or (`away`) only its database, and a folder for logs. */
async function stage(t: Test, { away = false, nats = natsAddress() } = {}) {
  const { db, dsn } = await testDatabase(t);
  await someFiles(db, 'demo');
  const folder = mkdtempSync(join(tmpdir(), 'piw-logger-'));
  const own = { dsn, nats, prefix: ownPrefix() };
  const given = { nats: own.nats, prefix: own.prefix, spool: join(folder, 'spool') };
  const come = () => FARM.map((task) => runTask(t, task, own));
  const tasks = away ? [] : come();
  return { db, folder, given, come, tasks, piw: piwWith(given), spool: given.spool };
}

/** A logger with a pipe, as a web server has one. */
function pipeTo(t: Test, given: Given, ...args: readonly string[]) {
  const config = join(mkdtempSync(join(tmpdir(), 'piw-logger-')), 'piwheels.conf');
  writeFileSync(config, formatConfig(given));
  const child: ChildProcess = spawn(process.execPath, [BIN, 'logger', '-c', config, ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const said = { out: '', err: '' };
  child.stdout?.on('data', (data: Buffer) => (said.out += data.toString()));
  child.stderr?.on('data', (data: Buffer) => (said.err += data.toString()));
  child.stdin?.on('error', () => undefined);
  const closed = once(child, 'close');
  return {
    said,
    child,
    write: (text: string) => child.stdin?.write(text),
    /** As a server does that stops. */
    end: () => {
      child.stdin?.end();
    },
    ended: async () => ((await closed) as [number | null])[0],
  };
}

const spooled = (folder: string): number =>
  existsSync(folder)
    ? readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0)
    : 0;

void t.test(
  'files are counted once, whatever they are called, and the summary says what they held',
  async (t) => {
    const { db, folder, piw } = await stage(t);
    const [log, old] = [join(folder, 'access.log'), join(folder, 'access.log.2.gz')];
    writeFileSync(old, gzipSync(lines(100)));
    writeFileSync(
      log,
      `${lines(10, {}, 100)}nonsense\n${combined({ path: '/simple/demo/' })}${combined({ path: '/project/demo/' })}` +
        combined({ path: '/project/demo/json/' }) +
        combined({ path: '/', status: 304 }) +
        combined({ path: '/simple/demo/gone-1.0-py3-none-any.whl' }) +
        combined({ status: 206 }),
    );
    const ran = await piw('logger', log, old, '--json');
    t.equal(ran.code, 0, ran.err);
    const files = [
      { name: log, before: 0, counted: statSync(log).size },
      { name: old, before: 0, counted: lines(100).length },
    ];
    t.same(JSON.parse(ran.out), {
      ...{ lines: 117, downloads: 111, index_pages: 1, projects: 1, json: 1, pages: 1, unknown: 1, bad: 1 },
      first_bad: { log, byte: lines(10, {}, 100).length, text: 'nonsense' },
      ...{ other: 1, elsewhere: 0, first_elsewhere: null },
      ...{ dropped: 0, refused: 0, spooled: 0, files },
    });
    t.equal(await counted(db), 110);
    appendFileSync(log, lines(5, {}, 110));
    const again = await piw('logger', '--format', 'combined', log, old);
    t.match(again, {
      code: 0,
      out: '5 lines: 5 downloads, 0 index pages, 0 project pages, 0 JSON pages, 0 other pages, 0 requests of no kind that is counted.\n',
    });
    t.equal(await counted(db), 115);
    const missing = await piw('logger', join(folder, 'nowhere'), log);
    t.match(missing, { code: 1, err: /nowhere can't be read/, out: /^0 lines/ });
    t.match(await piw('logger', '--format', 'iis', log), { code: 2, err: /format/ });
  },
);

void t.test('a site below a path is recognised by it, and what is not recognised is said', async (t) => {
  const { db, folder, given, piw } = await stage(t);
  const log = join(folder, 'access.log');
  const path = `/farm${pathOf('demo')}`;
  const below =
    lines(12, { path }) +
    combined({ path: '/farm/simple/demo/' }) +
    combined({ path: '/elsewhere/' }) +
    combined({ path, status: 404 });
  writeFileSync(log, below);
  const without = await piw('logger', log);
  t.match(without, {
    code: 0,
    out: /^15 lines: 0 downloads, .* 3 requests of no kind that is counted\.\n12 downloads of wheels at paths where this farm has none were not counted; the first is GET \/farm\/simple\/demo\/demo-1\.0-.*--path-prefix\.\n$/,
  });
  t.equal(await counted(db), 0);
  for (const [n, more] of [
    { 'public-url': 'https://example.org/farm/' },
    { 'path-prefix': 'farm/' },
  ].entries()) {
    // Another log each time.
    writeFileSync(log, combined({ path: `/${String(n)}` }) + below);
    const ran = await piwWith({ ...given, ...more })('logger', log);
    t.match(ran, { code: 0, out: /^16 lines: 12 downloads, 1 index page, .* 3 requests of no/ }, ran.out);
  }
  t.equal(await counted(db), 24);
});

void t.test('what comes by a pipe is counted soon, also when nothing follows it', async (t) => {
  const { db, given, spool } = await stage(t);
  const logger = pipeTo(t, given, '--json');
  for (let n = 1; n <= 3; n += 1) {
    logger.write(combined({ host: `h${String(n)}` }));
    await until(async () => (await counted(db)) === n);
  }
  logger.write(combined().trimEnd());
  logger.end();
  t.equal(await logger.ended(), 0, logger.said.err);
  t.match(JSON.parse(logger.said.out), { lines: 4, downloads: 4, spooled: 0, dropped: 0 });
  t.equal(await counted(db), 4, 'a last line needs no end');
  t.equal(spooled(spool), 0);
});

void t.test('what comes while the farm is away is kept, in order, and survives the logger', async (t) => {
  const { db, given, spool, come } = await stage(t, { away: true });
  const first = pipeTo(t, given);
  first.write(lines(3000));
  await until(() => spooled(spool) === lines(3000).length);
  first.child.kill('SIGKILL');
  await first.ended();
  // The server starts another one, which takes over what the first has left.
  const second = pipeTo(t, given);
  second.write(lines(2000, {}, 3000));
  await until(() => second.said.err.includes('the farm is away'));
  second.child.kill('SIGTERM');
  t.equal(await second.ended(), 0, second.said.err);
  t.match(second.said.err, /bytes are kept in .*spool/);
  t.equal(spooled(spool), lines(5000).length);
  come();
  const third = pipeTo(t, given, '--json');
  third.write(lines(1000, {}, 5000));
  third.end();
  t.equal(await third.ended(), 0, third.said.err);
  t.match(JSON.parse(third.said.out), { lines: 6000, bad: 0 });
  t.equal(await counted(db), 6000);
  t.same(await db.query('select accessed_by from downloads group by 1 having count(*) > 1'), []);
  t.equal(spooled(spool), 0);
});

void t.test('each line is counted once, whoever is killed in between', async (t) => {
  const nats = await farmNats(t, []);
  const { db, given, come } = await stage(t, { away: true, nats: nats.master });
  let tasks = come();
  let sent = 0;
  let logger = pipeTo(t, given);
  const write = (n: number) => {
    logger.write(lines(n, {}, sent));
    sent += n;
  };
  for (let round = 0; round < 3; round += 1) {
    write(9000);
    // Some of it is on its way.
    await until(async () => (await counted(db)) > sent - 9000);
    if (round % 3 === 0) {
      process.kill(nats.process.pid ?? 0, 'SIGKILL');
    } else if (round % 3 === 1) {
      const before = tasks;
      tasks = [];
      await Promise.all(before.map(({ stop }) => stop()));
      write(500);
      tasks = come();
    } else {
      // What it has read is kept; what is in the pipe goes with the pipe, which in a server goes to the next logger.
      await until(() => logger.child.stdin?.writableLength === 0);
      await until(async () => (await counted(db)) + spooledLines(given.spool) >= sent);
      logger.child.kill('SIGKILL');
      await logger.ended();
      logger = pipeTo(t, given);
    }
    write(500);
  }
  logger.end();
  t.equal(await logger.ended(), 0, logger.said.err);
  t.equal(await counted(db), sent);
  t.same(await db.query('select accessed_by from downloads group by 1 having count(*) > 1'), []);
});

/** Lines that are in the spool, those included that are counted. */
const spooledLines = (folder: string): number => Math.round(spooled(folder) / (lines(1000).length / 1000));

void t.test('with --drop what comes while the farm is away is let go, and the rest is counted', async (t) => {
  const { db, given, spool, come } = await stage(t, { away: true });
  const logger = pipeTo(t, given, '--drop', '--json');
  logger.write(lines(100));
  await until(() => logger.said.err.includes('let go'));
  come();
  // Until one of them is taken.
  for (let n = 0; (await counted(db)) === 0; n += 1) {
    logger.write(combined({ host: `try${String(n)}` }));
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  const before = await counted(db);
  logger.write(lines(40_000, {}, 100));
  logger.end();
  t.equal(await logger.ended(), 0, logger.said.err);
  t.equal((await counted(db)) - before >= 40_000, true, 'who writes faster than the farm counts waits');
  const { dropped, downloads } = JSON.parse(logger.said.out) as { dropped: number; downloads: number };
  t.ok(dropped >= 100, String(dropped));
  t.equal(downloads, await counted(db));
  t.equal(existsSync(spool), false, 'nothing is kept');
});

void t.test('a spool has a limit, which is said when it is reached', async (t) => {
  const { db, given, spool, come } = await stage(t, { away: true });
  const logger = pipeTo(t, { ...given, 'spool-limit': 1 }, '--json');
  logger.write(lines(30_000));
  await until(() => logger.said.err.includes('is full'));
  t.match(logger.said.err, /the spool .* is full: \d+ lines were let go/);
  come();
  logger.end();
  t.equal(await logger.ended(), 1, logger.said.err);
  const { dropped, lines: kept } = JSON.parse(logger.said.out) as { dropped: number; lines: number };
  t.equal(dropped + kept, 30_000);
  t.equal(await counted(db), kept);
  t.ok(kept > 5000);
  t.equal(spooled(spool), 0);
});

void t.test('a spool that is smaller than what comes loses nothing while the farm is there', async (t) => {
  const { db, given, spool } = await stage(t);
  const logger = pipeTo(t, { ...given, 'spool-limit': 1 }, '--json');
  logger.write(lines(30_000));
  await until(async () => (await counted(db)) > 20_000);
  logger.write(lines(10, {}, 30_000));
  logger.end();
  t.equal(await logger.ended(), 0, logger.said.err);
  t.match(JSON.parse(logger.said.out), { lines: 30_010, dropped: 0 });
  t.equal(await counted(db), 30_010);
  t.equal(spooled(spool), 0);
});

void t.test('the country is noted, and the address kept as far as is wished', async (t) => {
  const { db, folder, piw } = await stage(t);
  const database = join(folder, 'countries.mmdb');
  writeFileSync(database, mmdb({ '192.0.2.0/24': 'GB' }));
  const log = join(folder, 'access.log');
  writeFileSync(log, combined({ host: '192.0.2.77' }) + combined({ host: '203.0.113.9' }));
  const ran = await piw('logger', log, '--geoip-database', database, '--log-hosts', 'truncate');
  t.equal(ran.code, 0, ran.err);
  t.same(await db.query('select accessed_by, country from downloads order by 1'), [
    { accessed_by: '192.0.2.0', country: 'GB' },
    { accessed_by: '203.0.113.0', country: null },
  ]);
  t.match(await piw('logger', log, '--geoip-database', log), { code: 2, err: /MaxMind/ });
});

void t.test(
  'a farm that is away is said so, and what was not counted is counted the next time',
  async (t) => {
    const { folder, given } = await stage(t, { away: true });
    const log = join(folder, 'access.log');
    writeFileSync(log, lines(10));
    const piw = piwWith({ ...given, nats: '127.0.0.1:9' });
    const logger = piw('logger', '-', '--spool', '/dev/null/x');
    t.match(await logger, { code: 2, err: /spool folder \/dev\/null\/x can't be used/ });
    const interrupted = pipeTo(t, given, log);
    await until(() => interrupted.said.err.includes('does not answer'));
    interrupted.child.kill('SIGINT');
    t.equal(await interrupted.ended(), 130, interrupted.said.err);
  },
);

void t.test('months that are old enough are forgotten, if that is wished', async (t) => {
  const { db, dsn } = await testDatabase(t);
  await someFiles(db, 'demo');
  await db.query(`select make_log_months('{2020-01-01}')`);
  const months = async () =>
    (await db.query(`select 1 from pg_inherits where inhparent = 'downloads'::regclass`)).length;
  t.equal(await months(), 3);
  runTasks(t, FARM, { dsn, 'keep-downloads': 12 });
  await until(async () => (await months()) === 2);
});
