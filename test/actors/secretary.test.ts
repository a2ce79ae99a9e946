import t, { type Test } from 'tap';
import { TheSecretary } from '../../actors/the-secretary.js';
import { Actor } from '../../src/actor/actor.js';
import { ProtocolClient } from '../../src/actor/client.js';
import { systemClock, type Clock } from '../../src/concurrency/clock.js';
import { logBuilds } from '../../src/database/builds.js';
import type { Database } from '../../src/database/pool.js';
import { addReleases } from '../../src/database/versions.js';
import { PiwError } from '../../src/errors.js';
import { createLog } from '../../src/log.js';
import type { LoggedBuild } from '../../src/model/build.js';
import { oracle } from '../../src/protocols/oracle.js';
import { scribe, secretary } from '../../src/protocols/web.js';
import { testBus, until } from '../helpers/bus.js';
import { runTasks } from '../helpers/command.js';
import { testDatabase } from '../helpers/database.js';
import { loggedBuild } from '../helpers/random-farm.js';
import { PLATFORM, insertTarget, someRelease } from '../helpers/rows.js';

t.setTimeout(120_000);

/** Stands in for the Scribes: records what it was asked to write, and writes it once the latch opens. */
class FakeScribe extends Actor {
  readonly requests: string[] = [];
  /** Requests that arrive while this is set wait for it. */
  latch: Promise<void> | undefined;
  /** Packages without files. */
  readonly empty = new Set<string>();
  readonly roots: number[] = [];
  rootLatch: Promise<void> | undefined;
  readonly packed: (string | null)[] = [];
  searches = 0;
  searchLatch: Promise<void> | undefined;
  /** How many of the next requests fail. */
  failuresLeft = 0;

  override start(): void {
    const done = { verb: 'DONE' } as const;
    const write = async (page: string): Promise<typeof done> => {
      this.requests.push(page);
      await this.latch;
      if (this.failuresLeft > 0) {
        this.failuresLeft -= 1;
        throw new PiwError('PIW_DISK_FULL', 'no space is left');
      }
      return done;
    };
    this.serve(scribe, {
      PKG: async ({ package: name, serial, remove_if_empty: removeIfEmpty }) => {
        await write(`PKG ${name}${removeIfEmpty ? ' if empty' : ''}`);
        const empty = this.empty.has(name);
        return { verb: 'WRITTEN', serial: empty ? null : serial, empty_page_remains: !removeIfEmpty };
      },
      ROOT: async ({ serial }) => {
        this.roots.push(serial);
        await this.rootLatch;
        return done;
      },
      PACK: ({ package: name }) => {
        this.packed.push(name);
        return done;
      },
      SITEMAP: () => done,
      PROJECT: ({ package: name }) => write(`PROJECT ${name}`),
      LOG: ({ build_id }) => write(`LOG ${build_id}`),
      SEARCH: async () => {
        this.searches += 1;
        await this.searchLatch;
        return done;
      },
    });
  }
}

interface SecretaryStage {
  readonly db: Database;
  readonly pages: FakeScribe;
  readonly client: ProtocolClient<typeof secretary.verbs>;
  readonly database: ProtocolClient<typeof oracle.verbs>;
  /** The warnings in the log. */
  readonly warnings: readonly string[];
  /** Starts a Secretary, with this revision of its lease; it is stopped with the test. */
  start(bufferS: number, fence?: number, clock?: Clock): TheSecretary;
}

/** Starts a database with its Oracle, and the fake Scribe. */
async function stage(t: Test): Promise<SecretaryStage> {
  const { db, dsn } = await testDatabase(t);
  const { prefix } = runTasks(t, ['the-oracle'], { dsn });
  const bus = await testBus(t, prefix);
  const warnings: string[] = [];
  const sink = (line: string): void => void warnings.push(line);
  const context = (task: string, fence = 0, clock = systemClock) => ({
    task,
    bus,
    log: createLog(task, 'warning', sink),
    clock,
    pausing: 'ignores' as const,
    assertLeader: () => fence,
    crash: (error: unknown) => {
      throw error;
    },
  });
  const pages = new FakeScribe(context('the-scribe'));
  pages.start();
  t.teardown(() => pages.stop());
  const client = new ProtocolClient(bus, secretary, undefined, { timeoutMs: 20_000, patienceMs: 20_000 });
  const database = new ProtocolClient(bus, oracle, undefined, { timeoutMs: 20_000 });
  const start = (bufferS: number, fence = 0, clock = systemClock) => {
    const actor = new TheSecretary(context('the-secretary', fence, clock), { bufferS });
    actor.start();
    t.teardown(() => actor.stop());
    return actor;
  };
  return { db, pages, client, database, warnings, start };
}

const backlog = (db: Database) => db.query("select kind, argument from pages_backlog where kind <> 'PACK'");

void t.test('the first request for a page is done at once, and the following ones together', async (t) => {
  const { db, pages, client, start } = await stage(t);
  start(1);
  const began = performance.now();
  await client.request('PKG', { package: 'a' });
  await until(() => pages.requests.length === 1);
  await until(async () => (await backlog(db)).length === 0);
  for (let n = 0; n < 10; n += 1) await client.request('PKG', { package: 'a' });
  t.equal(pages.requests.length, 1, 'it is not written again so soon');
  await until(() => pages.requests.length === 2);
  t.ok(performance.now() - began >= 1000, 'it is written a second later');
  await until(async () => (await backlog(db)).length === 0);
  t.same(pages.requests, ['PKG a', 'PKG a'], 'it is written once for all ten');
});

void t.test('a change during a write is written afterwards', async (t) => {
  const { db, pages, client, start } = await stage(t);
  start(0.2);
  let open: () => void = () => undefined;
  pages.latch = new Promise((resolve) => (open = resolve));
  await client.request('PKG', { package: 'a' });
  await until(() => pages.requests.length === 1);
  await client.request('PKG', { package: 'a' });
  pages.latch = undefined;
  open();
  await until(() => pages.requests.length === 2);
  await until(async () => (await backlog(db)).length === 0);
  t.same(pages.requests, ['PKG a', 'PKG a']);
});

void t.test('pages that were due when a Secretary stopped are written by the next one', async (t) => {
  const { db, pages, client, start } = await stage(t);
  const first = start(60);
  await client.request('PKG', { package: 'a' });
  await until(async () => pages.requests.length === 1 && (await backlog(db)).length === 0);
  // It is not written again for a minute.
  await client.request('PKG', { package: 'a' });
  // Its last attempt fails.
  pages.failuresLeft = 1;
  await first.stop();
  t.equal((await backlog(db)).length, 1);
  start(60);
  await until(async () => (await backlog(db)).length === 0);
  t.same(pages.requests, ['PKG a', 'PKG a', 'PKG a']);
});

void t.test('pages that are due in the database are found without a request', async (t) => {
  const { db, pages, start } = await stage(t);
  start(60);
  await addReleases(db, 'a', 'feed', [someRelease('1.0')]);
  await until(() => pages.requests.length > 0);
  t.same(pages.requests, ['PROJECT a'], 'only the project page of a package without files');
});

/** The interval at which the Secretary polls the backlog. */
const POLL_INTERVAL_MS = 2000;
const clockWithoutPolls: Clock = {
  ...systemClock,
  after: (ms, callback) => (ms === POLL_INTERVAL_MS ? () => undefined : systemClock.after(ms, callback)),
};

/** Adds a package, and returns a successful build of it. */
async function successfulBuild(db: Database, name: string): Promise<LoggedBuild> {
  await addReleases(db, name, 'feed', [someRelease('1.0')]);
  return loggedBuild(name, '1.0', 'cp311', PLATFORM, ['py3-none-any']);
}

void t.test('the page of a build is written at once, because the Oracle names it', async (t) => {
  const { db, pages, database, start } = await stage(t);
  await insertTarget(db, 'cp311');
  const build = await successfulBuild(db, 'a');
  await db.query('delete from pages_backlog');
  start(60, 0, clockWithoutPolls);
  await until(() => pages.roots.length > 0);
  await database.request('LOGBUILD', { builds: [build] });
  await until(async () => (await backlog(db)).length === 1);
  t.match(await backlog(db), [{ kind: 'LOG' }], 'all else waits for a poll');
  t.same(pages.requests, ['PKG a']);
});

void t.test('the page of a build whose hint is lost is written after the next poll', async (t) => {
  const { db, pages, start } = await stage(t);
  await insertTarget(db, 'cp311');
  const builds = [await successfulBuild(db, 'a'), await successfulBuild(db, 'b')];
  await db.query('delete from pages_backlog');
  start(60);
  const delays: number[] = [];
  for (const build of builds) {
    const began = performance.now();
    // As if the Oracle had been killed after its transaction.
    await logBuilds(db, [build]);
    await until(() => pages.requests.includes(`PKG ${build.package}`));
    delays.push(performance.now() - began);
  }
  t.comment(`written ${delays.map((ms) => ms.toFixed(0)).join(' and ')} ms after the builds`);
  t.ok(Math.max(...delays) < POLL_INTERVAL_MS + 2000);
  await until(async () => (await backlog(db)).length === 0);
  t.same(pages.requests.filter((page) => page.startsWith('PKG')).sort(), ['PKG a', 'PKG b'], 'each once');
});

void t.test('pages that people install from do not wait for a storm of logs', async (t) => {
  const { db, pages, client, start } = await stage(t);
  const logs = Array.from({ length: 300 }, (_, n) => String(n + 1));
  await db.query(`insert into pages_backlog (kind, argument) select 'LOG', unnest($1::text[])`, [logs]);
  start(1);
  await until(() => pages.requests.length > 0);
  await client.request('PKG', { package: 'a' });
  await until(() => pages.requests.includes('PKG a'));
  t.ok((await backlog(db)).length > 100, 'most of the logs are still to come');
  await client.request('DELVER', { package: 'a', version: '1.0' });
  t.equal(
    pages.requests.filter((page) => page === 'PKG a').length,
    2,
    'a page that a removal waits for does not wait either',
  );
  t.ok((await backlog(db)).length > 50);
  // Otherwise the Secretary would use up its shutdown time to write logs.
  await pages.stop();
});

void t.test('a removal is answered once it is written, however long that takes', async (t) => {
  const { pages, client, start } = await stage(t);
  start(60);
  let open: () => void = () => undefined;
  pages.latch = new Promise((resolve) => (open = resolve));
  // It is being written, from a state that still has the version.
  let answered = false;
  const removed = client.request('DELVER', { package: 'a', version: '1.0' }).then(() => (answered = true));
  await until(() => pages.requests.length === 1);
  const repeated = client.request('DELVER', { package: 'a', version: '1.0' });
  await new Promise((resolve) => setTimeout(resolve, 300));
  t.notOk(answered);
  pages.latch = undefined;
  open();
  await Promise.all([removed, repeated]);
  t.same(pages.requests, ['PKG a', 'PKG a'], 'written once more for the second request');
});

void t.test('a page that could not be written is retried', async (t) => {
  const { db, pages, client, start } = await stage(t);
  start(0.1);
  pages.failuresLeft = 1;
  await client.request('LOG', { build_id: 7 });
  await until(() => pages.requests.length === 2);
  await until(async () => (await backlog(db)).length === 0);
  t.same(pages.requests, ['LOG 7', 'LOG 7']);
});

void t.test('the root follows changes of packages, and is written at most once per interval', async (t) => {
  const { pages, client, start } = await stage(t);
  start(2);
  await until(() => pages.roots.length === 1);
  for (const name of ['a', 'b', 'c']) await client.request('PKG', { package: name });
  await until(() => pages.roots.length === 2);
  t.same(pages.requests, ['PKG a', 'PKG b', 'PKG c'], 'all three at once');
  const [before = 0, after = 0] = pages.roots;
  t.ok(after >= before + 3, 'its serial covers all pages that it lists');
  await until(() => pages.packed.includes(null) && pages.packed.includes('b'));
  t.ok(pages.searches >= 1);
});

void t.test('a Secretary that stops does not wait for Scribes that have stopped', async (t) => {
  const { db, pages, client, start } = await stage(t);
  const actor = start(60);
  await client.request('PKG', { package: 'a' });
  await until(async () => (await backlog(db)).length === 0);
  await client.request('PKG', { package: 'a' });
  await pages.stop();
  let ended = false;
  void actor.stop().then(() => (ended = true));
  await until(() => ended, 8000);
  t.same(await backlog(db), [{ kind: 'PKG', argument: 'a' }], 'the next one will find it');
});

void t.test('a Secretary that stops does not wait for a Scribe to write the search', async (t) => {
  const { db, pages, client, start } = await stage(t);
  const actor = start(60);
  await client.request('PKG', { package: 'a' });
  await until(async () => (await backlog(db)).length === 0 && pages.roots.length > 1 && pages.searches > 0);
  await client.request('SEARCH', {});
  await pages.stop();
  let ended = false;
  void actor.stop().then(() => (ended = true));
  await until(() => ended, 8000);
});

void t.test('project pages do not wait for a storm of logs', async (t) => {
  const { db, pages, start } = await stage(t);
  await db.query(
    `insert into pages_backlog (kind, argument) select 'LOG', n::text from generate_series(1, 2000) n`,
  );
  await db.query(`insert into pages_backlog (kind, argument) values ('PROJECT', 'a'), ('PROJECT', 'b')`);
  start(60);
  await until(() => pages.requests.includes('PROJECT b'));
  t.ok(pages.requests.length < 20, pages.requests.join(', '));
  await until(() => pages.requests.some((request) => request.startsWith('LOG')));
  // Otherwise the Secretary would use up its shutdown time to write logs.
  await pages.stop();
});

void t.test('an empty page is removed once a root without it is written', async (t) => {
  const { db, pages, client, start } = await stage(t);
  start(0.1);
  pages.empty.add('a');
  await until(() => pages.roots.length > 0);
  let open: () => void = () => undefined;
  pages.rootLatch = new Promise((resolve) => (open = resolve));
  await client.request('DELPKG', { package: 'a' });
  t.same(pages.requests, ['PKG a'], 'its files can be removed');
  await until(() => pages.roots.length > 1);
  await client.request('PKG', { package: 'b' });
  await until(() => pages.requests.includes('PKG b'));
  t.same(pages.requests, ['PKG a', 'PKG b'], 'but its page is kept');
  await until(async () => (await backlog(db)).length === 1);
  t.same(await backlog(db), [{ kind: 'PKG', argument: 'a' }], 'a crash would not lose that');
  pages.rootLatch = undefined;
  open();
  await until(() => pages.requests.includes('PKG a if empty'));
  await until(async () => (await backlog(db)).length === 0);
});

void t.test('serials continue after those of the previous Secretary, and settle in order', async (t) => {
  const { db, pages, client, start } = await stage(t);
  const first = start(0.1);
  await client.request('PKG', { package: 'a' });
  const serialOf = async (name: string) => {
    const [row] = await db.query<{ serial: number }>(
      'select serial from listed_packages where package = $1',
      [name],
    );
    return row?.serial ?? 0;
  };
  await until(async () => (await serialOf('a')) > 0);
  await first.stop();
  const roots = pages.roots.length;
  start(0.1);
  await until(() => pages.roots.length > roots);
  t.ok((pages.roots.at(-1) ?? 0) >= (await serialOf('a')), 'its first root covers all earlier pages');
  let open: () => void = () => undefined;
  pages.latch = new Promise((resolve) => (open = resolve));
  await client.request('PKG', { package: 'b' });
  await until(() => pages.requests.includes('PKG b'));
  pages.latch = undefined;
  const count = pages.roots.length;
  await client.request('PKG', { package: 'c' });
  await until(async () => (await serialOf('c')) > 0);
  await until(() => pages.roots.length > count);
  t.ok((pages.roots.at(-1) ?? 0) < (await serialOf('c')), 'b, with a lower serial, is not written yet');
  open();
  await until(async () => (await serialOf('b')) > 0);
  t.ok((await serialOf('b')) > (await serialOf('a')));
  t.ok((await serialOf('b')) < (await serialOf('c')));
  await until(async () => (pages.roots.at(-1) ?? 0) >= (await serialOf('c')));
});

void t.test('a Secretary that stops writes what is due, and then the root', async (t) => {
  const { db, pages, client, start } = await stage(t);
  const firstSecretary = start(60);
  await until(() => pages.roots.length === 1 && pages.searches === 1);
  await client.request('PKG', { package: 'a' });
  await client.request('LOG', { build_id: 7 });
  await until(async () => (await backlog(db)).length === 0);
  // Now only a log was written; the root is due in ten seconds, and 'a' in a minute.
  await client.request('PKG', { package: 'a' });
  await db.query(`insert into pages_backlog (kind, argument) values ('LOG', '8')`);
  const roots = pages.roots.length;
  await firstSecretary.stop();
  t.same(pages.requests, ['PKG a', 'LOG 7', 'PKG a', 'LOG 8']);
  t.equal(pages.roots.length, roots + 1);
  t.equal(pages.searches, 2);
  t.same(await backlog(db), []);
});

void t.test('all workers are free again after a time without serials', async (t) => {
  const { db, pages, client, warnings, start } = await stage(t);
  // A newer revision in the database keeps this Secretary from getting any.
  await db.query("insert into fences (task, revision) values ('the-secretary', 7)");
  start(0.1);
  const names = Array.from('abcdefghijkl');
  for (const name of names) await client.request('PKG', { package: name });
  await client.request('PROJECT', { package: 'z' });
  await until(() =>
    [...names, 'z'].every((name) => warnings.some((line) => line.includes(`page="the pages of ${name}"`))),
  );
  t.same(pages.requests, []);
  await db.query('delete from fences');
  await until(async () => (await backlog(db)).length === 0);
  t.same([...pages.requests].sort(), [...names.map((name) => `PKG ${name}`), 'PROJECT z']);
});

void t.test('a late write of a replaced Secretary changes nothing', async (t) => {
  const { db, pages, client, warnings, start } = await stage(t);
  const listed = () => db.query('select package from listed_packages');
  start(60, 1);
  let open: () => void = () => undefined;
  pages.latch = new Promise((resolve) => (open = resolve));
  await client.request('PKG', { package: 'a' });
  await until(() => pages.requests.length === 1);
  pages.latch = undefined;
  start(60, 2);
  await until(async () => (await listed()).length === 1);
  // The first one learns only now that the package has no files.
  pages.empty.add('a');
  open();
  await until(() => warnings.some((line) => line.includes('page="the pages of a"')));
  t.same(await listed(), [{ package: 'a' }]);
});

void t.test('a Scribe that was killed while writing the root does not delay it for long', async (t) => {
  const { pages, start } = await stage(t);
  let open: () => void = () => undefined;
  pages.rootLatch = new Promise((resolve) => (open = resolve));
  start(0.1);
  await until(() => pages.roots.length === 1);
  pages.rootLatch = undefined;
  await until(() => pages.roots.length === 2, 30_000);
  open();
});

void t.test('a log does not wait for a Scribe that was killed while writing the search', async (t) => {
  const { pages, client, start } = await stage(t);
  let open: () => void = () => undefined;
  pages.searchLatch = new Promise((resolve) => (open = resolve));
  start(0.1);
  await until(() => pages.searches === 1);
  await client.request('LOG', { build_id: 7 });
  await until(() => pages.requests.includes('LOG 7'), 10_000);
  open();
});
