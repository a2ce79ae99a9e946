import { fork } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import type { CloudGazerSettings } from '../../actors/cloud-gazer.js';
import { TheOracle } from '../../actors/the-oracle.js';
import { ProtocolClient } from '../../src/actor/client.js';
import type { Bus } from '../../src/bus/bus.js';
import { acceptRemoval } from '../../src/database/feed.js';
import { Database } from '../../src/database/pool.js';
import { addTarget } from '../../src/database/targets.js';
import { builds } from '../../src/protocols/builds.js';
import { orders } from '../../src/protocols/control.js';
import { natsAddress, uniquePrefix, testBus, until } from '../helpers/bus.js';
import { testDatabase } from '../helpers/database.js';
import { FakePypi, World, randomWorld, type FakePypiOptions } from '../helpers/fake-pypi.js';
import { fastClock, gazerSpec, runActorSpec, type FeedProcessArgs } from '../helpers/feed-process.js';

t.setTimeout(process.env['PIW_TEST_SEEDS'] === undefined ? 280_000 : 0);

/** The number of packages of a large index: above MAX_BLIND_INDEX_PROJECTS, compare.ts. */
const LARGE = 205;

interface FollowingFarm {
  readonly db: Database;
  readonly bus: Bus;
  readonly logLines: string[];
  /** Kills the Cloud Gazer and the Architect with SIGKILL, and starts new ones. */
  kill(): Promise<void>;
  /** Requests a build as a slave would, and then releases it or forgets it. */
  take(forget: boolean): Promise<void>;
}

interface FollowOptions {
  readonly settings?: Partial<CloudGazerSettings>;
  /** Whether the Cloud Gazer runs in a process of its own, with an Architect. */
  readonly separateProcess?: boolean;
  /** How many times faster its clock runs. */
  readonly speed?: number;
}

/** Starts an Oracle and a Cloud Gazer that follow this PyPI. */
async function follow(
  t: Test,
  pypi: FakePypi,
  { settings = {}, separateProcess = false, speed }: FollowOptions = {},
): Promise<FollowingFarm> {
  const { db, dsn } = await testDatabase(t);
  await addTarget(db, { abi: 'cp311', platform: 'linux_x86_64', py_version_tag: 'cp311', skip: null });
  const prefix = uniquePrefix();
  const nats = natsAddress();
  const logLines: string[] = [];
  const sink = (line: string) => {
    logLines.push(line);
  };
  const oracle = runActorSpec(
    {
      task: 'the-oracle',
      kind: 'pool',
      pausing: 'ignores',
      count: 1,
      load: () =>
        Promise.resolve(async (context) => new TheOracle(context, await Database.open(dsn, 'oracle'))),
    },
    { nats, prefix, sink },
  );
  t.teardown(() => oracle.stop());
  const start = () => {
    if (!separateProcess)
      return runActorSpec(gazerSpec(pypi.url, settings), { nats, prefix, sink, clock: fastClock(speed) });
    const processOptions: FeedProcessArgs = { nats, prefix, dsn, url: pypi.url };
    const child = fork(fileURLToPath(new URL('../helpers/feed-process.js', import.meta.url)), [
      JSON.stringify(processOptions),
    ]);
    child.on('message', (line) => logLines.push(JSON.stringify(line)));
    const ended = new Promise<void>((resolve) =>
      child.once('exit', () => {
        resolve();
      }),
    );
    const stop = () => {
      child.kill('SIGKILL');
      return ended;
    };
    return { stop };
  };
  let running = start();
  t.teardown(() => running.stop());
  const bus = await testBus(t, prefix);
  return {
    db,
    bus,
    logLines,
    kill: async () => {
      await running.stop();
      running = start();
    },
    take: async (forget) => {
      const client = new ProtocolClient(bus, builds, undefined, { timeoutMs: 500, patienceMs: 30_000 });
      const wants: [number, string, string][] = [[1, 'cp311', 'linux_x86_64']];
      const { granted } = await client.request('NEXT', { fence: 0, lease_s: 3600, wants });
      const leases = granted.flatMap((grant): [number, number][] => (grant ? [[grant[0], 1]] : []));
      if (!forget) await client.request('RELEASE', { leases, hold_s: 0 });
    },
  };
}

/** Returns what the database has, in the form of truth(). */
async function databaseState(db: Database): Promise<Record<string, unknown>> {
  const packages = await db.query<{ package: string; status: string }>(
    'select package, status from packages where removed_at is null order by 1',
  );
  const versions = await db.query<Record<string, unknown> & { package: string; version: string }>(
    `select p.package, v.version, v.released, v.has_sdist, v.sdist_url, v.sdist_sha256, s.specifier as requires_python,
       v.yanked, v.quarantined
     from versions v join packages p using (package_id) left join specifiers s using (specifier_id)
     where p.removed_at is null and v.removed_at is null order by 1, 2`,
  );
  return Object.fromEntries(
    packages.map(({ package: name, status }) => [
      name,
      {
        status,
        versions: Object.fromEntries(
          versions.filter((row) => row.package === name).map((row) => [row.version, detail(status, row)]),
        ),
      },
    ]),
  );
}

/** Returns what can be compared of a version. No page says more about a quarantined one than that it is. */
function detail(status: string, row: Readonly<Record<string, unknown>>): unknown {
  if (status === 'quarantined' || row['quarantined'] === true) return { quarantined: row['quarantined'] };
  // A release without files has a time in the changelog, but on no page.
  if (row['has_sdist'] !== true) return { has_sdist: false, yanked: row['yanked'] };
  const { released, has_sdist, sdist_url, sdist_sha256, requires_python, yanked } = row;
  const time = (released as Date | null)?.getTime();
  return { released: time, has_sdist, sdist_url, sdist_sha256, requires_python, yanked, quarantined: false };
}

function truth(world: World): Record<string, unknown> {
  return Object.fromEntries(
    [...world.expectedProjects()]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, { status, versions }]) => [
        name,
        {
          status,
          versions: Object.fromEntries(
            [...versions]
              .sort(([a], [b]) => (a < b ? -1 : 1))
              .map(([version, expected]) => [version, detail(status, { ...expected })]),
          ),
        },
      ]),
  );
}

/** Returns whether nothing is left to be read. */
async function settled(db: Database, world: World): Promise<boolean> {
  const [row] = await db.query<{ serial: number; fetches: number }>(
    'select serial, (select count(*) from page_fetches) as fetches from feed',
  );
  return row?.serial === world.serial && row.fetches === 0;
}

/**
 * Leaves out the versions of quarantined projects: no page says whether the release or the removal came last
 * when the changelog has them out of order.
 */
function decidable(projects: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(projects).map(([name, project]) => [
      name,
      (project as { status: string }).status === 'quarantined' ? { status: 'quarantined' } : project,
    ]),
  );
}

async function replay(
  t: Test,
  seed: number,
  options: FakePypiOptions,
  disturb?: (farm: FollowingFarm) => Promise<void>,
): Promise<void> {
  const world = randomWorld(seed, 400);
  const pypi = await FakePypi.start(world, { visible: 0, pageSize: 60, ...options });
  t.teardown(() => pypi.close());
  const farm = await follow(t, pypi, { separateProcess: disturb !== undefined });
  while (pypi.visible < world.serial) {
    pypi.advance(80);
    await disturb?.(farm);
    await new Promise((resolve) => setTimeout(resolve, 60));
  }
  pypi.stopMisbehaving();
  await until(() => settled(farm.db, world), 60_000).catch(async (error: unknown) => {
    const state = await farm.db.query('select *, (select count(*) from page_fetches) as fetches from feed');
    t.fail(`it did not settle: ${String(error)}`, {
      state,
      logLines: farm.logLines.slice(-20),
      serial: world.serial,
    });
    throw error;
  });
  const comparable =
    options.misbehaviour?.disorder === undefined
      ? (projects: Record<string, unknown>) => projects
      : decidable;
  t.strictSame(comparable(await databaseState(farm.db)), comparable(truth(world)), `seed ${seed}`);
  const mismatches = await farm.db.query(
    `(select version_id, target_id from queue except select version_id, target_id from builds_pending)
     union all (select version_id, target_id from builds_pending except select version_id, target_id from queue)`,
  );
  t.strictSame(mismatches, [], 'the queue equals the view');
  t.ok(
    pypi.requests.every(({ userAgent }) => /^piw\/.*admin@example\.org/.test(userAgent)),
    'every request names its user agent and contact',
  );
}

void t.test('a changelog is read from its beginning', async (t) => {
  await replay(t, 1, {});
});

/** Returns a world of projects p0, p1, …, with one release each. */
function smallWorld(projects: number): World {
  const world = new World();
  for (let n = 0; n < projects; n += 1) release(world, `p${n}`, '1.0');
  return world;
}

function release(world: World, name: string, version: string): void {
  if (!world.projects.has(name)) world.create(name);
  world.newRelease(name, version);
  world.addFile(name, version, `${name}-${version}.tar.gz`, { kind: 'sdist', requiresPython: '>=3.8' });
  world.tick(60);
}

const offeredVersions = async (db: Database): Promise<string> =>
  (
    await db.query<{ line: string }>(
      `select p.package || ' ' || v.version as line from versions v join packages p using (package_id)
       where p.removed_at is null and v.removed_at is null`,
    )
  )
    .map(({ line }) => line)
    .sort()
    .join(', ');

const OTHER_INDEXES: Readonly<Record<string, FakePypiOptions>> = {
  'JSON and serials': { pypi: false },
  'HTML and nothing else': { pypi: false, json: false, serials: false, etags: false },
};

for (const [description, options] of Object.entries(OTHER_INDEXES)) {
  void t.test(`an index with ${description} is followed by its root`, async (t) => {
    const world = smallWorld(3);
    const pypi = await FakePypi.start(world, options);
    t.teardown(() => pypi.close());
    const { db } = await follow(t, pypi, { settings: { changelog: undefined, json: null } });
    await until(async () => (await offeredVersions(db)) === 'p0 1.0, p1 1.0, p2 1.0');
    release(world, 'p1', '1.1');
    release(world, 'p3', '1.0');
    world.removeProject('p0');
    await until(async () => (await offeredVersions(db)) === 'p1 1.0, p1 1.1, p2 1.0, p3 1.0');
    world.yankRelease('p2', '1.0', 'broken');
    await until(async () => (await db.query(`select from versions where yanked = 'broken'`)).length === 1);
  });
}

const ANY_INDEX = { settings: { changelog: undefined, json: null } };

for (const json of [true, false]) {
  const format = json ? 'JSON' : 'HTML';
  void t.test(`a large index of ${format} without serials is followed by its pages' ETags`, async (t) => {
    const world = smallWorld(LARGE);
    const pypi = await FakePypi.start(world, { pypi: false, serials: false, json });
    t.teardown(() => pypi.close());
    const { db, logLines } = await follow(t, pypi, ANY_INDEX);
    await until(async () => (await offeredVersions(db)).split(', ').length === LARGE);
    release(world, 'p7', '1.1');
    world.yankRelease('p100', '1.0', 'broken');
    release(world, 'another', '1.0');
    await until(async () => (await offeredVersions(db)).split(', ').length === LARGE + 2);
    await until(async () => (await db.query(`select from versions where yanked = 'broken'`)).length === 1);
    const unchanged = () =>
      pypi.requests.filter(({ path, status }) => path === '/simple/p8/' && status === 304);
    await until(() => unchanged().length > 1);
    t.notOk(logLines.some((line) => line.includes('neither serials nor ETags')));
  });
}

const FEEDS: Readonly<Record<string, readonly [FakePypiOptions, Partial<CloudGazerSettings>]>> = {
  'a changelog': [{}, {}],
  'serials in its root': [{ pypi: false }, ANY_INDEX.settings],
  ETags: [{ pypi: false, serials: false }, ANY_INDEX.settings],
  'nothing but pages': [{ pypi: false, json: false, serials: false, etags: false }, ANY_INDEX.settings],
};

for (const [description, [options, settings]] of Object.entries(FEEDS)) {
  void t.test(`the time of the last news is known for an index with ${description}`, async (t) => {
    const world = smallWorld(3);
    const pypi = await FakePypi.start(world, options);
    t.teardown(() => pypi.close());
    const { db } = await follow(t, pypi, { settings });
    /** Waits until everything has been requested once more, with a margin. */
    const quiet = async () => {
      const before = pypi.requests.length;
      await until(async () => {
        const rows = await db.query(`select from feed where read_serial = serial`);
        return rows.length === 1 && pypi.requests.length > before + 12;
      });
    };
    const agesAgo = `now() - interval '1 hour'`;
    const hasRecentEvent = async () =>
      (await db.query(`select from feed where last_event > now() - interval '10 minutes'`)).length === 1;
    await until(async () => (await offeredVersions(db)) === 'p0 1.0, p1 1.0, p2 1.0');
    t.ok(await hasRecentEvent(), 'existing releases are news to the farm');
    await quiet();
    await db.query(`update feed set last_event = ${agesAgo}`);
    await quiet();
    t.notOk(await hasRecentEvent(), 'a page without changes is not news');
    const changes = [
      () => {
        release(world, 'p1', '1.1');
      },
      () => {
        world.yankRelease('p2', '1.0', 'broken');
      },
      () => {
        world.removeProject('p0');
      },
    ];
    for (const change of changes) {
      change();
      await until(hasRecentEvent);
      // Events of a changelog are applied once more when they have settled.
      await quiet();
      await db.query(`update feed set last_event = ${agesAgo}`);
    }
    await quiet();
    t.notOk(await hasRecentEvent());
  });
}

void t.test('only new names are seen in a large index with neither serials nor ETags', async (t) => {
  const world = smallWorld(LARGE);
  const pypi = await FakePypi.start(world, { pypi: false, serials: false, etags: false });
  t.teardown(() => pypi.close());
  const { db, logLines } = await follow(t, pypi, ANY_INDEX);
  await until(async () => (await offeredVersions(db)).split(', ').length === LARGE);
  release(world, 'p7', '1.1');
  release(world, 'another', '1.0');
  await until(async () => (await offeredVersions(db)).includes('another 1.0'));
  const roots = () => pypi.requests.filter(({ path }) => path === '/simple/').length;
  const before = roots();
  await until(() => roots() > before + 5);
  t.equal(pypi.requests.filter(({ path }) => path === '/simple/p7/').length, 1);
  t.equal(
    logLines.filter((line) => line.includes('neither serials nor ETags')).length,
    1,
    'which is logged once',
  );
});

void t.test(
  'the pages of watched packages are read again if the index does not say what has changed',
  async (t) => {
    const world = smallWorld(LARGE);
    const pypi = await FakePypi.start(world, { pypi: false, serials: false, etags: false });
    t.teardown(() => pypi.close());
    const watch = { entries: ['p19?', 'p3'], only: false, file: null };
    const { db } = await follow(t, pypi, { settings: { ...ANY_INDEX.settings, watch } });
    await until(async () => (await offeredVersions(db)).split(', ').length === 11);
    release(world, 'p190', '1.1');
    release(world, 'p3', '1.1');
    release(world, 'p4', '1.1');
    await until(async () => (await offeredVersions(db)).split(', ').length === 13);
    t.notOk((await offeredVersions(db)).includes('p4'));
  },
);

void t.test('a watch list with patterns limits the farm to the matching packages', async (t) => {
  const world = smallWorld(12);
  const pypi = await FakePypi.start(world);
  t.teardown(() => pypi.close());
  const { db } = await follow(t, pypi, {
    settings: { watch: { entries: ['p1*', 'p3'], only: false, file: null } },
  });
  await until(async () => (await offeredVersions(db)) === 'p1 1.0, p10 1.0, p11 1.0, p3 1.0');
});

void t.test('a changed watch list file takes effect once it is valid', async (t) => {
  const world = smallWorld(12);
  const pypi = await FakePypi.start(world);
  t.teardown(() => pypi.close());
  const file = join(mkdtempSync(join(tmpdir(), 'watch-')), 'list');
  const write = (...lines: string[]) => {
    writeFileSync(file, `${lines.join('\n')}\n`);
  };
  write('P1', '', '# p4', 'p2==1.0  # and no other');
  const watch = { entries: ['p0'], only: false, file };
  const { db, logLines } = await follow(t, pypi, { settings: { watch } });
  const untilOffered = (list: string) => until(async () => (await offeredVersions(db)) === list);
  await untilOffered('p0 1.0, p1 1.0, p2 1.0');
  release(world, 'p2', '1.1');
  write('p1', 'p2==1.0', 'p3', 'zope interface');
  await until(() => logLines.some((line) => line.includes(`${file}, line 4: \\"zope interface\\" is no`)));
  release(world, 'p1', '1.1');
  await untilOffered('p0 1.0, p1 1.0, p1 1.1, p2 1.0');
  rmSync(file);
  await until(() => logLines.some((line) => line.includes("the watch list can't be read")));

  write('P.1*');
  release(world, 'p-10', '1.0');
  await untilOffered('p-10 1.0, p0 1.0, p1 1.0, p1 1.1, p2 1.0');
  release(world, 'p1', '1.2');
  release(world, 'p0', '1.1');
  await untilOffered('p-10 1.0, p0 1.0, p0 1.1, p1 1.0, p1 1.1, p2 1.0');
  await until(() => settled(db, world));
  write('p3*', 'p4');
  await untilOffered('p-10 1.0, p0 1.0, p0 1.1, p1 1.0, p1 1.1, p2 1.0, p3 1.0, p4 1.0');
  await db.query(
    `insert into page_fetches (package_id, urgent) select package_id, true from packages where package = 'p1'`,
  );
  await until(() => settled(db, world));

  write('p1==1.2');
  await untilOffered('p-10 1.0, p0 1.0, p0 1.1, p1 1.0, p1 1.1, p1 1.2, p2 1.0, p3 1.0, p4 1.0');
  t.equal(logLines.filter((line) => line.includes("the watch list can't be read")).length, 1);
});

void t.test('pages of live releases keep to the rate limit', async (t) => {
  const pypi = await FakePypi.start(smallWorld(9));
  t.teardown(() => pypi.close());
  const { db } = await follow(t, pypi, { settings: { pagesPerSecond: 1, pollS: 5 }, speed: 10 });
  await until(async () => (await db.query('select from versions where sdist_url is not null')).length === 9);
  const times = pypi.requests.filter(({ path }) => path.startsWith('/simple/p')).map(({ time }) => time);
  // A second of its clock is 100 ms; a request may take a while to arrive.
  for (const [at, time] of times.entries()) {
    const after = time - (times[0] ?? 0);
    t.ok(after >= at * 100 - 60, `page ${at} after ${after} ms`);
  }
});

void t.test(
  'an index that asks to be left alone is, and what was released in the meantime is read afterwards',
  async (t) => {
    const world = smallWorld(1);
    const pypi = await FakePypi.start(world);
    t.teardown(() => pypi.close());
    const { db, logLines } = await follow(t, pypi);
    await until(async () => (await db.query('select from feed where compared is not null')).length === 1);
    const before = pypi.requests.length;
    pypi.injectNext('leaveAlone');
    release(world, 'p1', '1.0');
    await until(
      async () => (await db.query('select from versions where sdist_url is not null')).length === 2,
    );
    t.ok(logLines.some((line) => line.includes('asks to retry after 60 s')));
    const [refused, next] = pypi.requests.slice(before).filter(({ path }) => path === '/simple/p1/');
    t.equal(refused?.fault, 'leaveAlone');
    const between = pypi.requests.filter(
      ({ time }) => time > (refused?.time ?? 0) && time < (refused?.time ?? 0) + 150,
    );
    t.strictSame(between, [], 'a minute of its clock is 200 ms');
    t.equal(next?.status, 200);
  },
);

void t.test('a paused Cloud Gazer requests nothing of the index until it is resumed', async (t) => {
  const world = smallWorld(1);
  const pypi = await FakePypi.start(world);
  t.teardown(() => pypi.close());
  const { db, bus, logLines } = await follow(t, pypi);
  await until(async () => (await db.query('select from feed where compared is not null')).length === 1);
  const order = new ProtocolClient(bus, orders);
  await order.publish('PAUSE', { task: '*' });
  await until(() => logLines.some((line) => line.includes('paused')));
  release(world, 'p1', '1.0');
  // Requests that it had begun before it was paused.
  let before = -1;
  await until(() => {
    const unchanged = pypi.requests.length === before;
    before = pypi.requests.length;
    return unchanged;
  });
  // On its clock, ten polls.
  await new Promise((resolve) => setTimeout(resolve, 333));
  t.equal(pypi.requests.length, before);
  await order.publish('RESUME', { task: '*' });
  await until(async () => (await offeredVersions(db)) === 'p0 1.0, p1 1.0');
});

void t.test('the root is followed if the configured changelog does not exist', async (t) => {
  const world = smallWorld(3);
  const pypi = await FakePypi.start(world, { pypi: false });
  t.teardown(() => pypi.close());
  const { db, logLines } = await follow(t, pypi, { settings: { json: null } });
  await until(async () => (await offeredVersions(db)) === 'p0 1.0, p1 1.0, p2 1.0');
  t.equal(
    logLines.filter((line) => line.includes('no changelog at pypi-xmlrpc')).length,
    1,
    'it is logged once',
  );
  release(world, 'p1', '1.1');
  await until(async () => (await offeredVersions(db)) === 'p0 1.0, p1 1.0, p1 1.1, p2 1.0');
});

void t.test('many packages that vanish at once are removed only after confirmation', async (t) => {
  const world = smallWorld(15);
  const pypi = await FakePypi.start(world, { pypi: false });
  t.teardown(() => pypi.close());
  const { db, logLines } = await follow(t, pypi, { settings: { changelog: undefined, json: null } });
  await until(async () => (await offeredVersions(db)).split(', ').length === 15);
  for (let n = 0; n < 12; n += 1) world.removeProject(`p${n}`);
  await until(() => logLines.some((line) => line.includes('piw feed --accept 12')));
  t.equal((await offeredVersions(db)).split(', ').length, 15, 'nothing is removed before');
  await acceptRemoval(db, 12);
  await until(async () => (await offeredVersions(db)).split(', ').length === 3);
});

/** For more seeds, by hand: PIW_TEST_SEEDS=8 npm test -- actors/cloud-gazer. */
const SEEDS = Array.from({ length: Number(process.env['PIW_TEST_SEEDS'] ?? 1) }, (_, i) => i + 2);

const MISBEHAVIOURS: Readonly<Record<string, FakePypiOptions>> = {
  'disorder, duplicates, gaps and late events': {
    misbehaviour: { disorder: 300, duplicates: 0.2, gaps: 0.1, late: 0.05 },
  },
  'throttling, drops and half answers': {
    misbehaviour: { throttle: 7, cutBefore: 0.05, cutMiddle: 0.05, halfBody: 0.05, serverError: 0.05 },
  },
  lies: {
    misbehaviour: {
      serialBack: 0.1,
      noEvents: 0.1,
      htmlPage: 0.1,
      cutXml: 0.1,
      truncatedJson: 0.1,
      emptyRoot: 0.5,
      stale: 0.1,
    },
    noVersion: 'empty',
  },
};

for (const [description, options] of Object.entries(MISBEHAVIOURS)) {
  void t.test(`despite ${description}, the database equals that of an ideal reader`, async (t) => {
    for (const seed of SEEDS) await replay(t, seed, options);
  });
}

void t.test(
  'killing the Cloud Gazer and the Architect at random during a replay does not change the result',
  async (t) => {
    for (const seed of SEEDS) {
      let step = 0;
      const options = { misbehaviour: { disorder: 300, duplicates: 0.1, late: 0.03, cutMiddle: 0.03 } };
      await replay(t, seed + 100, options, async (farm) => {
        step += 1;
        if ((step * 7919 + seed * 104_729) % 3 === 0) await farm.kill();
      });
    }
  },
);
