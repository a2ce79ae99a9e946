import t, { type Test } from 'tap';
import { TheSecretary } from '../../actors/the-secretary.js';
import { Actor } from '../../src/actor/actor.js';
import { Client } from '../../src/actor/client.js';
import { systemClock } from '../../src/actor/clock.js';
import type { Database } from '../../src/database/pool.js';
import { newVersions } from '../../src/database/versions.js';
import { PiwError } from '../../src/errors.js';
import { createLog } from '../../src/log.js';
import { scribe, secretary } from '../../src/protocols/web.js';
import { testBus, until } from '../helpers/bus.js';
import { runTasks } from '../helpers/command.js';
import { testDatabase } from '../helpers/database.js';
import { someRelease } from '../helpers/rows.js';

t.setTimeout(60_000);

/** Stands for the Scribes: says what it was asked to write, and writes it when it is let. */
class Pages extends Actor {
  readonly asked: string[] = [];
  /** What is asked while this is set waits for it. */
  gate: Promise<void> | undefined;
  /** So many are refused. */
  failures = 0;

  override start(): void {
    const done = { verb: 'DONE' } as const;
    const write = async (page: string) => {
      this.asked.push(page);
      await this.gate;
      if (this.failures > 0) {
        this.failures -= 1;
        throw new PiwError('PIW_DISK_FULL', 'no space is left');
      }
      return done;
    };
    this.serve(scribe, {
      PKG: ({ package: name }) => write(`PKG ${name}`),
      PROJECT: ({ package: name }) => write(`PROJECT ${name}`),
      LOG: ({ build_id }) => write(`LOG ${String(build_id)}`),
      SEARCH: () => write('SEARCH'),
      DELVER: ({ package: name, version }) => write(`DELVER ${name} ${version}`),
    });
  }
}

interface Stage {
  readonly db: Database;
  readonly pages: Pages;
  readonly client: Client<typeof secretary.verbs>;
  /** Starts a Secretary, which ends with the test. */
  start(bufferS: number): TheSecretary;
}

/** A database with its Oracle, and the pages. */
async function stage(t: Test): Promise<Stage> {
  const { db, dsn } = await testDatabase(t);
  const { prefix } = runTasks(t, ['the-oracle'], { dsn });
  const bus = await testBus(t, prefix);
  const context = (task: string) => ({
    ...{ task, bus, log: createLog(task, 'error', () => undefined), clock: systemClock },
    ...{ pausing: 'ignores' as const, fence: () => 0 },
    crash: (error: unknown) => {
      throw error;
    },
  });
  const pages = new Pages(context('the-scribe'));
  pages.start();
  t.teardown(() => pages.stop());
  const client = new Client(bus, secretary, undefined, { timeoutMs: 20_000, patienceMs: 20_000 });
  const start = (bufferS: number) => {
    const actor = new TheSecretary(context('the-secretary'), { bufferS });
    actor.start();
    t.teardown(() => actor.stop());
    return actor;
  };
  return { db, pages, client, start };
}

const backlog = (db: Database) => db.query('select kind, argument from pages_backlog');

void t.test('the first wish for a page is met at once, those that follow together', async (t) => {
  const { db, pages, client, start } = await stage(t);
  start(1);
  const began = performance.now();
  await client.ask('PKG', { package: 'a' });
  await until(() => pages.asked.length === 1);
  await until(async () => (await backlog(db)).length === 0);
  for (let n = 0; n < 10; n += 1) await client.ask('PKG', { package: 'a' });
  t.equal(pages.asked.length, 1, 'so soon it is not written again');
  await until(() => pages.asked.length === 2);
  t.ok(performance.now() - began >= 1000, 'but a second later');
  await until(async () => (await backlog(db)).length === 0);
  t.same(pages.asked, ['PKG a', 'PKG a'], 'once for all ten');
});

void t.test('what changes while a page is written is written afterwards', async (t) => {
  const { db, pages, client, start } = await stage(t);
  start(0.2);
  let open: () => void = () => undefined;
  pages.gate = new Promise((resolve) => (open = resolve));
  await client.ask('PKG', { package: 'a' });
  await until(() => pages.asked.length === 1);
  await client.ask('PKG', { package: 'a' });
  pages.gate = undefined;
  open();
  await until(() => pages.asked.length === 2);
  await until(async () => (await backlog(db)).length === 0);
  t.same(pages.asked, ['PKG a', 'PKG a']);
});

void t.test('what was due when a Secretary ended is written by the next one', async (t) => {
  const { db, pages, client, start } = await stage(t);
  const first = start(60);
  await client.ask('PKG', { package: 'a' });
  await until(async () => pages.asked.length === 1 && (await backlog(db)).length === 0);
  // For a minute nothing more is written of it.
  await client.ask('PKG', { package: 'a' });
  await first.stop();
  t.equal((await backlog(db)).length, 1);
  start(60);
  await until(async () => (await backlog(db)).length === 0);
  t.same(pages.asked, ['PKG a', 'PKG a']);
});

void t.test('what is due in the database is found, also without a word', async (t) => {
  const { db, pages, start } = await stage(t);
  start(60);
  await newVersions(db, 'a', 'feed', [someRelease('1.0')]);
  await until(() => pages.asked.length > 0);
  t.same(pages.asked, ['PROJECT a'], 'of a package without a file only its project page');
});

void t.test('pages that people install from do not wait for a storm of logs', async (t) => {
  const { db, pages, client, start } = await stage(t);
  const logs = Array.from({ length: 300 }, (_, n) => String(n + 1));
  await db.query(`insert into pages_backlog (kind, argument) select 'LOG', unnest($1::text[])`, [logs]);
  start(1);
  await until(() => pages.asked.length > 0);
  await client.ask('PKG', { package: 'a' });
  await until(() => pages.asked.includes('PKG a'));
  t.ok((await backlog(db)).length > 100, 'most of the logs are still to come');
  await client.ask('DELVER', { package: 'a', version: '1.0' });
  t.ok(pages.asked.includes('DELVER a 1.0'), 'nor does what a file waits for to be removed');
  t.ok((await backlog(db)).length > 50);
});

void t.test('a removal is answered when it is written, however long that takes', async (t) => {
  const { pages, client, start } = await stage(t);
  start(60);
  let open: () => void = () => undefined;
  pages.gate = new Promise((resolve) => (open = resolve));
  // It is being written, from a state that still has the version.
  let answered = false;
  const removed = client.ask('DELVER', { package: 'a', version: '1.0' }).then(() => (answered = true));
  await until(() => pages.asked.length === 1);
  const again = client.ask('DELVER', { package: 'a', version: '1.0' });
  await new Promise((resolve) => setTimeout(resolve, 300));
  t.notOk(answered);
  pages.gate = undefined;
  open();
  await Promise.all([removed, again]);
  t.same(pages.asked, ['DELVER a 1.0', 'DELVER a 1.0'], 'once more for who asked meanwhile');
});

void t.test('a page that could not be written is tried again', async (t) => {
  const { db, pages, client, start } = await stage(t);
  start(0.1);
  pages.failures = 1;
  await client.ask('SEARCH', {});
  await until(() => pages.asked.length === 2);
  await until(async () => (await backlog(db)).length === 0);
  t.same(pages.asked, ['SEARCH', 'SEARCH']);
});
