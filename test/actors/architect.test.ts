import t, { type Test } from 'tap';
import { deferred } from '../../src/concurrency/deferred.js';
import { TheArchitect, type ArchitectSettings } from '../../actors/the-architect.js';
import { ProtocolClient } from '../../src/actor/client.js';
import { systemClock, type Clock } from '../../src/concurrency/clock.js';
import type { Bus } from '../../src/bus/bus.js';
import { Database, type SqlRow } from '../../src/database/pool.js';
import { addReleases } from '../../src/database/versions.js';
import { createLog } from '../../src/log.js';
import { builds, buildHints } from '../../src/protocols/builds.js';
import type { Release } from '../../src/model/release.js';
import { uniquePrefix, testBus, until } from '../helpers/bus.js';
import { testDatabase } from '../helpers/database.js';
import { PLATFORM, someRelease, insertSlave, insertTarget } from '../helpers/rows.js';

t.setTimeout(60_000);

const ABI = 'cp311';
/**
 * A clock on which the Architect's polls never come: everything here is triggered by the database's
 * notifications.
 */
const clockWithoutPolls: Clock = {
  now: systemClock.now,
  monotonicMs: systemClock.monotonicMs,
  after: (ms, callback) => (ms >= 1000 ? () => undefined : systemClock.after(ms, callback)),
};

/** A running Architect with a database of its own, and a slave that can request builds. */
class ArchitectStage {
  readonly db: Database;
  readonly #client: ProtocolClient<typeof builds.verbs>;
  readonly #slave: number;
  /** How many READY messages it has published. */
  ready = 0;
  /** Completed queries of the queue; while there is a latch, their results are held back until it opens. */
  fetches = 0;
  latch: Promise<void> | undefined;

  private constructor(db: Database, bus: Bus, slave: number) {
    this.db = db;
    this.#client = new ProtocolClient(bus, builds, undefined, { timeoutMs: 20_000 });
    this.#slave = slave;
  }

  static async build(t: Test, settings: Partial<ArchitectSettings> = {}): Promise<ArchitectStage> {
    const { db, dsn } = await testDatabase(t);
    await insertTarget(db, ABI);
    const prefix = uniquePrefix();
    const bus = await testBus(t, prefix);
    const stage = new ArchitectStage(db, bus, await insertSlave(db, ABI));
    const crashes: unknown[] = [];
    const architect = new TheArchitect(
      {
        task: 'the-architect',
        bus,
        log: createLog('test', 'error', () => undefined),
        clock: clockWithoutPolls,
        pausing: 'stops',
        assertLeader: () => 1,
        crash: (error) => crashes.push(error),
      },
      stage.#delayed(await Database.open(dsn, 'architect', { byKey: true })),
      { backlogOrder: 'newest', weights: [16, 4, 1], ...settings },
    );
    const readySubscription = bus.subscribe(bus.subject(buildHints.name, '*'));
    const reading = (async () => {
      for await (const { subject } of readySubscription) stage.ready += subject.endsWith('.READY') ? 1 : 0;
    })();
    architect.start();
    t.teardown(async () => {
      await architect.stop();
      await readySubscription.stop();
      await reading;
      if (crashes.length > 0) throw crashes[0];
    });
    return stage;
  }

  /** Returns the same database, with the results of queue queries held back by the latch. */
  #delayed(database: Database): Database {
    const query = database.query.bind(database);
    database.query = async <R extends SqlRow>(sql: string, values?: readonly unknown[]) => {
      const rows = await query<R>(sql, values);
      if (sql.includes('json_agg(version_id)')) {
        this.fetches += 1;
        await this.latch;
      }
      return rows;
    };
    return database;
  }

  /** Requests one build, as `package version`. */
  async next(): Promise<string | null> {
    return (await this.nextMany(1))[0] ?? null;
  }

  /** Requests several builds at once. */
  async nextMany(count: number): Promise<readonly (string | null)[]> {
    const wants = Array<[number, string, string]>(count).fill([this.#slave, ABI, PLATFORM]);
    const { granted } = await this.#client.request('NEXT', { fence: 1, lease_s: 60, wants });
    return granted.map((grant) => grant && `${grant[2]} ${grant[3]}`);
  }

  async add(name: string, ...releases: readonly Release[]): Promise<void> {
    await addReleases(this.db, name, 'feed', [...releases]);
  }
}

void t.test(
  'READY is published each time that there is something for a slave that got nothing',
  async (t) => {
    const stage = await ArchitectStage.build(t);
    for (const version of ['1.0', '2.0', '3.0']) {
      const before = stage.ready;
      t.equal(await stage.next(), null);
      await stage.add('a', someRelease(version));
      await until(() => stage.ready > before);
      t.equal(await stage.next(), `a ${version}`);
    }
  },
);

void t.test('READY is published for a build that was added during a refill', async (t) => {
  const stage = await ArchitectStage.build(t);
  t.equal(await stage.next(), null);
  const latch = deferred();
  stage.latch = latch.promise;
  const fetchesBefore = stage.fetches;
  const request = stage.next();
  await until(() => stage.fetches > fetchesBefore);
  // The refill in progress has found that there are no requests.
  await stage.add('a', someRelease('1.0', { priority: 2 }));
  t.equal(stage.ready, 0);
  await new Promise((resolve) => setTimeout(resolve, 150));
  latch.resolve();
  stage.latch = undefined;
  t.equal(await request, null);
  await until(() => stage.ready > 0);
  t.equal(await stage.next(), 'a 1.0');
});

void t.test('READY is published after the prefetched builds were taken from the queue', async (t) => {
  const stage = await ArchitectStage.build(t);
  await stage.add('a', someRelease('1.0'), someRelease('2.0'), someRelease('3.0'));
  t.equal(await stage.next(), 'a 3.0');
  await stage.db.query('delete from queue where lease is null');
  t.same(await stage.nextMany(3), [null, null, null], 'builds that are gone are not granted');
  await stage.add('b', someRelease('1.0'));
  await until(() => stage.ready > 0);
  t.equal(await stage.next(), 'b 1.0');
});

void t.test('a build is granted to one slave, however many request it at once', async (t) => {
  const stage = await ArchitectStage.build(t);
  const releases = Array.from({ length: 60 }, (_, n) => someRelease(`${n}.0`));
  await stage.add('a', ...releases);
  const batches = await Promise.all(Array.from({ length: 8 }, () => stage.nextMany(10)));
  const granted = batches.flat().filter((build) => build !== null);
  t.equal(new Set(granted).size, granted.length, 'none was granted twice');
  const waiting = await stage.db.query('select from queue where lease is null');
  t.equal(granted.length + waiting.length, 60, 'none was lost');
  while (waiting.length > 0 && (await stage.next()) !== null);
  t.same(await stage.db.query('select from queue where lease is null'), [], 'further requests get the rest');
});

void t.test(
  'no slave is turned away while there are enough builds, however many request at once',
  async (t) => {
    const stage = await ArchitectStage.build(t);
    await stage.add('a', ...Array.from({ length: 300 }, (_, n) => someRelease(`${n}.0`)));
    const granted = await stage.nextMany(100);
    t.equal(granted.filter((build) => build === null).length, 0);
    t.equal(new Set(granted).size, 100);
  },
);

void t.test('requests, releases and the backlog share the grants by weighted round robin', async (t) => {
  const stage = await ArchitectStage.build(t, { weights: [6, 3, 1] });
  for (const [priority, name] of ['backlog', 'release', 'request'].entries()) {
    for (let n = 0; n < 60; n += 1) await stage.add(`${name}-${n}`, someRelease('1.0', { priority }));
  }
  const order: string[] = [];
  for (let n = 0; n < 50; n += 1) order.push((await stage.next())?.replace(/-.*/, '') ?? '');
  const count = (name: string) => order.filter((granted) => granted === name).length;
  t.same([count('request'), count('release'), count('backlog')], [30, 15, 5]);
});

void t.test('a package with many releases does not delay the others', async (t) => {
  const stage = await ArchitectStage.build(t);
  const releases = Array.from({ length: 500 }, (_, n) => someRelease(`${n}.0`, { released: 1.8e12 + n }));
  await stage.add('crowd', ...releases);
  for (let n = 0; n < 30; n += 1) await stage.add(`one-${n}`, someRelease('1.0'));
  const order: string[] = [];
  for (let n = 0; n < 60; n += 1) order.push((await stage.next())?.replace(/[- ].*/, '') ?? '');
  t.equal(
    order.filter((name) => name === 'one').length,
    30,
    'all the others were granted, although all of its releases are newer',
  );
  t.equal(order.filter((name) => name === 'crowd').length, 30);
});
