import t, { type Test } from 'tap';
import { CloudGazer, type CloudGazerSettings } from '../../actors/cloud-gazer.js';
import { TheOracle } from '../../actors/the-oracle.js';
import type { Clock } from '../../src/actor/clock.js';
import { runActor, type Part } from '../../src/actor/run.js';
import { Database } from '../../src/database/pool.js';
import { addTarget } from '../../src/database/targets.js';
import { createLog } from '../../src/log.js';
import { Changelog } from '../../src/pypi/changelog.js';
import { SimpleIndex } from '../../src/pypi/index-reader.js';
import { natsAddress, ownPrefix, until } from '../helpers/bus.js';
import { testDatabase } from '../helpers/database.js';
import { FakePypi, randomWorld, type FakePypiOptions, type World } from '../helpers/fake-pypi.js';

t.setTimeout(280_000);

/** A clock that turns so many times as fast: ten minutes of disorder are over in seconds. */
const FAST = 300;
function fastClock(): Clock {
  const began = Date.now();
  return {
    now: () => began + (Date.now() - began) * FAST,
    after: (ms, what) => {
      const timer = setTimeout(what, ms / FAST);
      return () => {
        clearTimeout(timer);
      };
    },
  };
}

interface Reader {
  readonly db: Database;
  readonly said: string[];
  /** Ends the Cloud Gazer without a word, and starts another. */
  kill(): Promise<void>;
}

/** An Oracle and a Cloud Gazer, following this PyPI. */
async function follow(t: Test, pypi: FakePypi, given: Partial<CloudGazerSettings> = {}): Promise<Reader> {
  const { db, dsn } = await testDatabase(t);
  await addTarget(db, { abi: 'cp311', platform: 'linux_x86_64', py_version_tag: 'cp311', skip: null });
  const prefix = ownPrefix();
  const said: string[] = [];
  const start = <S>(part: Part<S>, settings: S, clock?: Clock) => {
    const controller = new AbortController();
    const running = runActor(part, settings, {
      bus: { address: natsAddress(), name: part.task, prefix },
      log: createLog(part.task, 'info', (line) => said.push(line)),
      signal: controller.signal,
      ...(clock ? { clock } : {}),
    });
    const stop = async () => {
      controller.abort();
      await running;
    };
    return { stop };
  };
  const oracle = start(
    {
      task: 'the-oracle',
      kind: 'pool',
      pausing: 'ignores',
      count: 1,
      load: () =>
        Promise.resolve(async (context) => new TheOracle(context, await Database.open(dsn, 'oracle'))),
    },
    undefined,
  );
  const http = { pauseMs: 5, timeoutMs: 2000, contact: 'admin@example.org' };
  const settings: CloudGazerSettings = {
    index: new SimpleIndex(`${pypi.url}/simple/`, http),
    changelog: new Changelog(`${pypi.url}/pypi`, http),
    json: `${pypi.url}/pypi`,
    watch: [],
    history: 'all',
    pollS: 10,
    rate: 50,
    removalDelayS: 3600,
    removalShare: 1,
    contact: 'admin@example.org',
    ...given,
  };
  const gaze = () =>
    start(
      {
        task: 'cloud-gazer',
        kind: 'single',
        pausing: 'stops',
        count: 1,
        load: () => Promise.resolve((context) => new CloudGazer(context, settings)),
      },
      settings,
      fastClock(),
    );
  let gazer = gaze();
  t.teardown(async () => {
    await gazer.stop();
    await oracle.stop();
  });
  return {
    db,
    said,
    kill: async () => {
      await gazer.stop();
      gazer = gaze();
    },
  };
}

/** What the database has, in the words of World.truth(). */
async function known(db: Database): Promise<Record<string, unknown>> {
  const packages = await db.query<{ package: string; status: string }>(
    'select package, status from packages where gone is null order by 1',
  );
  const versions = await db.query<Record<string, unknown> & { package: string; version: string }>(
    `select p.package, v.version, v.released, v.has_sdist, v.sdist_url, v.sdist_sha256, s.specifier as requires_python,
       v.yanked, v.quarantined
     from versions v join packages p using (package_id) left join specifiers s using (specifier_id)
     where p.gone is null and v.gone is null order by 1, 2`,
  );
  return Object.fromEntries(
    packages.map(({ package: name, status }) => [
      name,
      {
        status,
        versions: Object.fromEntries(
          versions.filter((one) => one.package === name).map((one) => [one.version, detail(status, one)]),
        ),
      },
    ]),
  );
}

/** Of what is quarantined no page tells more than that. */
function detail(status: string, its: Readonly<Record<string, unknown>>): unknown {
  if (status === 'quarantined' || its['quarantined'] === true) return { quarantined: its['quarantined'] };
  // A release without a file has a time in the log, and none on any page.
  if (its['has_sdist'] !== true) return { has_sdist: false, yanked: its['yanked'] };
  const { released, has_sdist, sdist_url, sdist_sha256, requires_python, yanked } = its;
  const time = (released as Date | null)?.getTime();
  return { released: time, has_sdist, sdist_url, sdist_sha256, requires_python, yanked, quarantined: false };
}

function truth(world: World): Record<string, unknown> {
  return Object.fromEntries(
    [...world.truth()]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, { status, versions }]) => [
        name,
        {
          status,
          versions: Object.fromEntries(
            [...versions]
              .sort(([a], [b]) => (a < b ? -1 : 1))
              .map(([version, its]) => [version, detail(status, { ...its })]),
          ),
        },
      ]),
  );
}

/** Nothing is left to be read. */
async function settled(db: Database, world: World): Promise<boolean> {
  const [row] = await db.query<{ serial: number; looks: number }>(
    'select serial, (select count(*) from looks) as looks from feed',
  );
  return row?.serial === world.serial && row.looks === 0;
}

/** Of a quarantined project no page tells whether what the log has in disorder was its release or its removal. */
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
  disturb?: (reader: Reader) => Promise<void>,
): Promise<void> {
  const world = randomWorld(seed, 400);
  const pypi = await FakePypi.start(world, { visible: 0, pageSize: 60, ...options });
  t.teardown(() => pypi.close());
  const reader = await follow(t, pypi);
  while (pypi.visible < world.serial) {
    pypi.advance(80);
    await disturb?.(reader);
    await new Promise((resolve) => setTimeout(resolve, 60));
  }
  pypi.settle();
  await until(() => settled(reader.db, world), 60_000).catch(async (error: unknown) => {
    const state = await reader.db.query('select *, (select count(*) from looks) as looks from feed');
    t.fail(`it did not settle: ${String(error)}`, {
      state,
      said: reader.said.slice(-20),
      serial: world.serial,
    });
    throw error;
  });
  const compared =
    options.misbehaviour?.disorder === undefined ? (all: Record<string, unknown>) => all : decidable;
  t.strictSame(compared(await known(reader.db)), compared(truth(world)), `seed ${String(seed)}`);
  const wrong = await reader.db.query(
    `(select version_id, target_id from queue except select version_id, target_id from builds_pending)
     union all (select version_id, target_id from builds_pending except select version_id, target_id from queue)`,
  );
  t.strictSame(wrong, [], 'the queue is what the view says');
  t.ok(
    pypi.requests.every(({ userAgent }) => /^piw\/.*admin@example\.org/.test(userAgent)),
    'every request says who asks',
  );
}

void t.test('a log that is read from its beginning', async (t) => {
  await replay(t, 1, {});
});

/** More of them by hand: PIW_TEST_SEEDS=8 npm test -- actors/cloud-gazer. */
const SEEDS = Array.from({ length: Number(process.env['PIW_TEST_SEEDS'] ?? 1) }, (_, i) => i + 2);

const TROUBLE: Readonly<Record<string, FakePypiOptions>> = {
  'disorder, duplicates, gaps and late events': {
    misbehaviour: { disorder: 300, duplicates: 0.2, gaps: 0.1, late: 0.05 },
  },
  'throttling, drops and half answers': {
    misbehaviour: { throttle: 7, cutBefore: 0.05, cutMiddle: 0.05, halfBody: 0.05, serverError: 0.05 },
  },
  lies: {
    misbehaviour: {
      ...{ serialBack: 0.1, noEvents: 0.1, htmlPage: 0.1, cutXml: 0.1, truncatedJson: 0.1, emptyRoot: 0.5 },
      stale: 0.1,
    },
    noVersion: 'empty',
  },
};

for (const [what, options] of Object.entries(TROUBLE)) {
  void t.test(`after ${what} the database is what an ideal reader would have`, async (t) => {
    for (const seed of SEEDS) await replay(t, seed, options);
  });
}

void t.test(
  'a Cloud Gazer that is killed at random during a replay changes nothing in the end',
  async (t) => {
    for (const seed of SEEDS) {
      let step = 0;
      const options = { misbehaviour: { disorder: 300, duplicates: 0.1, late: 0.03, cutMiddle: 0.03 } };
      await replay(t, seed + 100, options, async (reader) => {
        step += 1;
        if ((step * 7919 + seed * 104_729) % 3 === 0) await reader.kill();
      });
    }
  },
);
