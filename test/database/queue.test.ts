import t, { type Test } from 'tap';
import { logBuilds } from '../../src/database/builds.js';
import { newPackage, quarantine, skipPackage } from '../../src/database/packages.js';
import type { Database } from '../../src/database/pool.js';
import {
  front,
  grant,
  leaseOf,
  release,
  renew,
  returnExpired,
  type Waiting,
} from '../../src/database/queue.js';
import { applyEvents } from '../../src/database/feed-events.js';
import { applyPage, missingPage, settleVersions } from '../../src/database/feed-pages.js';
import { addTarget, fillSlice, removeTarget } from '../../src/database/targets.js';
import {
  deleteBuilds,
  deleteVersion,
  newVersions,
  skipVersion,
  yankVersion,
} from '../../src/database/versions.js';
import type { LoggedBuild } from '../../src/protocols/oracle.js';
import type { ChangeEvent } from '../../src/pypi/changelog.js';
import { fold } from '../../src/pypi/fold.js';
import type { PackageName } from '../../src/wheels/names.js';
import { testDatabase } from '../helpers/database.js';
import { someRelease, someSlave } from '../helpers/rows.js';
import { chance } from '../helpers/fake-pypi/chance.js';

const LINUX = 'linux_x86_64';
const ARM = 'linux_aarch64';

const target = (abi: string, platform = LINUX) => ({ abi, platform, py_version_tag: abi, skip: null });
/** What comes next for a target, of all priorities. */
async function next(db: Database, abi: string, platform: string, count: number): Promise<readonly Waiting[]> {
  const order = { abi, platform, count, first: 'newest' as const };
  const found: Waiting[] = [];
  for (const priority of [2, 1, 0]) found.push(...(await front(db, { ...order, priority })));
  return found;
}

let serial = 0;
const built = (
  name: string,
  version: string,
  abi: string,
  platform: string,
  tags: readonly string[],
): LoggedBuild => ({
  lease: null,
  slave_id: null,
  package: name,
  version,
  abi,
  platform,
  status: tags.length > 0,
  failure_class: tags.length > 0 ? null : 'compiler',
  duration_s: 1,
  output: 'log',
  files: tags.map((tag) => {
    const [py = '', its = '', on = ''] = tag.split('-');
    serial += 1;
    const hash = serial.toString(16).padStart(64, '0');
    // A build tag makes each name its own.
    return [
      [
        `${name}-${version}-${String(serial)}-${tag}.whl`,
        10,
        hash,
        name,
        version,
        py,
        its,
        on,
        null,
        {},
        true,
      ],
      hash,
    ];
  }),
  served: [],
});

async function queued(db: Database): Promise<string[]> {
  const rows = await db.query<{ line: string }>(
    `select p.package || ' ' || v.version || ' ' || t.abi || ' ' || t.platform as line
     from queue join versions v using (version_id) join packages p using (package_id) join targets t using (target_id) order by 1`,
  );
  return rows.map(({ line }) => line.replace(` ${LINUX}`, '')).sort();
}

/** Rows that only one of table and view has. */
async function difference(db: Database): Promise<readonly unknown[]> {
  return await db.query(
    `(select 'only in the table' as side, version_id, target_id, priority, released from queue
      except select 'only in the table', version_id, target_id, priority, released from builds_pending)
     union all
     (select 'only in the view', version_id, target_id, priority, released from builds_pending
      except select 'only in the view', version_id, target_id, priority, released from queue)`,
  );
}

async function farm(t: Test, ...targets: readonly (readonly [string, string?])[]) {
  const { db } = await testDatabase(t);
  for (const [abi, platform] of targets) await addTarget(db, target(abi, platform));
  return db;
}

t.setTimeout(process.env['PIW_TEST_SEEDS'] === undefined ? 200_000 : 0);

void t.test('the lowest ABI is built first, by version and not as text', async (t) => {
  const db = await farm(t, ['cp311'], ['cp39'], ['pypy39_pp73']);
  await newVersions(db, 'a', 'feed', [someRelease('1.0')]);
  t.same(await queued(db), ['a 1.0 cp39']);
});

void t.test('a wheel that serves them all ends it; one that does not makes the rest due', async (t) => {
  const db = await farm(t, ['cp39'], ['cp311'], ['cp313t']);
  await newVersions(db, 'a', 'feed', [someRelease('1.0'), someRelease('2.0'), someRelease('3.0')]);
  await logBuilds(db, [built('a', '1.0', 'cp39', LINUX, ['py3-none-any'])]);
  await logBuilds(db, [built('a', '2.0', 'cp39', LINUX, [`cp39-cp39-${LINUX}`])]);
  await logBuilds(db, [built('a', '3.0', 'cp39', LINUX, [`cp39-abi3-${LINUX}`])]);
  t.same(await queued(db), ['a 2.0 cp311', 'a 2.0 cp313t', 'a 3.0 cp313t']);
});

void t.test('when the lowest failed, the next one is tried', async (t) => {
  const db = await farm(t, ['cp39'], ['cp311']);
  await newVersions(db, 'a', 'feed', [someRelease('1.0')]);
  await logBuilds(db, [built('a', '1.0', 'cp39', LINUX, [])]);
  t.same(await queued(db), ['a 1.0 cp311']);
});

void t.test('each platform has a lowest of its own', async (t) => {
  const db = await farm(t, ['cp311'], ['cp311', ARM], ['cp312', ARM]);
  await newVersions(db, 'a', 'feed', [someRelease('1.0')]);
  t.same(await queued(db), ['a 1.0 cp311', `a 1.0 cp311 ${ARM}`]);
});

void t.test(
  'requires-python, skips, yanks, quarantine and a missing sdist keep a version out, and let it in again',
  async (t) => {
    const db = await farm(t, ['cp39'], ['cp311']);
    await newVersions(db, 'a', 'feed', [
      someRelease('1.0', { requires_python: '>=3.10' }),
      someRelease('2.0', { has_sdist: false }),
      someRelease('3.0'),
    ]);
    t.same(await queued(db), ['a 1.0 cp311', 'a 3.0 cp39']);
    await skipVersion(db, 'a', '3.0', 'too large');
    t.same(await queued(db), ['a 1.0 cp311']);
    await skipVersion(db, 'a', '3.0', null);
    await yankVersion(db, 'a', '1.0', '');
    t.same(await queued(db), ['a 3.0 cp39']);
    await quarantine(db, 'a', null, true);
    t.same(await queued(db), []);
    await quarantine(db, 'a', null, false);
    await yankVersion(db, 'a', '1.0', null);
    t.same(await queued(db), ['a 1.0 cp311', 'a 3.0 cp39']);
  },
);

const slave = (db: Database, session?: string) => someSlave(db, 'cp311', session);

void t.test(
  'a lease is one slave’s, is renewed, comes back when it runs out, and ends with its result',
  async (t) => {
    const db = await farm(t, ['cp311']);
    await newVersions(db, 'a', 'feed', [someRelease('1.0'), someRelease('2.0', { priority: 2 })]);
    const [me, other] = [await slave(db, 'me'), await slave(db, 'other')];
    const waiting = await next(db, 'cp311', LINUX, 10);
    const to = (build: Waiting | undefined, slaveId: number) =>
      build ? [{ ...build, slaveId, leaseS: 60 }] : [];
    const [request, backlog] = waiting;
    const [given] = await grant(db, to(request, me), 7);
    t.match(given, { package: 'a', number: '2.0', attempt: 1 }, 'a request before the backlog');
    t.same(await grant(db, to(request, other), 7), [], 'it is given once');
    await t.rejects(grant(db, to(backlog, me), 6), { code: 'PIW_FENCED' });
    t.same(await next(db, 'cp311', LINUX, 10), [backlog]);
    const first = given?.lease ?? 0;
    t.match(await leaseOf(db, first, me), { package: 'a', version: '2.0' });
    t.equal(await leaseOf(db, first, other), undefined);
    t.same(await renew(db, [[first, me]], 60), []);
    t.same(await renew(db, [[first, other]], 60), [first], 'only its holder renews it');
    t.same(await renew(db, [[999, me]], 60), [999]);
    await release(db, [[first, other]]);
    t.match(await leaseOf(db, first, me), { version: '2.0' }, 'nobody else gives it back');
    await renew(db, [[first, me]], -1);
    t.equal(await returnExpired(db), 1);
    const [again] = await grant(db, to((await next(db, 'cp311', LINUX, 10))[0], me), 7);
    t.match(again, { number: '2.0', attempt: 2 });
    const mine = { ...built('a', '2.0', 'cp311', LINUX, []), lease: again?.lease ?? 0, slave_id: me };
    t.same(
      (await logBuilds(db, [{ ...mine, lease: first }]))[0]?.outcome,
      'lost',
      'the old lease is worth nothing',
    );
    t.same((await logBuilds(db, [{ ...mine, slave_id: other }]))[0]?.outcome, 'lost', 'nor is another’s');
    const [logged] = await logBuilds(db, [mine]);
    t.equal(logged?.outcome, 'logged');
    t.match(
      await logBuilds(db, [mine]),
      [{ outcome: 'repeated', buildId: logged?.buildId }],
      'the same result is logged once',
    );
    t.same(await queued(db), ['a 1.0 cp311']);
  },
);

const TAGS = [
  'py3-none-any',
  `cp39-abi3-${LINUX}`,
  `cp311-cp311-${LINUX}`,
  `cp311-none-${ARM}`,
  `cp39-cp39-${LINUX}`,
  `cp313-cp313t-${LINUX}`,
  `pp39-pypy39_pp73-${LINUX}`,
  `py2.py3-none-${ARM}`,
];
const TARGETS: readonly (readonly [string, string])[] = [
  ['cp39', LINUX],
  ['cp311', LINUX],
  ['cp311', ARM],
  ['cp313t', LINUX],
  ['pypy39_pp73', LINUX],
  ['pypy310_pp73', ARM],
];
const SPECIFIERS = [null, '>=3.10', '<3.11', '>=3.9,!=3.11.*'];

interface Step {
  readonly action: string;
  /** Of what is drawn for it, so that it is the same when others before it are left out. */
  readonly seed: number;
}

/** What can be done to a queue. */
class Farm {
  readonly #db: Database;
  readonly #leases: { lease: number; version: string; package: string; abi: string; platform: string }[] = [];
  #slave = 0;
  #serial = 0;

  constructor(db: Database) {
    this.#db = db;
  }

  async begin(): Promise<void> {
    await this.#db.query(
      'truncate packages, targets, specifiers, tags, slaves, builds, queue, pages_backlog, fences, looks cascade',
    );
    this.#slave = await slave(this.#db);
  }

  async do({ action, seed }: Step): Promise<void> {
    const random = chance(seed);
    const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
    await this.#actions(pick)[action]?.();
  }

  static readonly actions = Object.keys(
    new Farm(undefined as unknown as Database).#actions(<T>(list: readonly T[]) => list[0] as T),
  );

  #actions(pick: <T>(list: readonly T[]) => T): Readonly<Record<string, () => Promise<unknown>>> {
    const db = this.#db;
    const name = () => pick(['a', 'b']);
    const version = () => pick(['1.0', '2.0', '3.0']);
    const releases = () => ['1.0', '2.0', '3.0'].filter(() => pick([true, false])).map(aRelease);
    const aRelease = (its: string) =>
      someRelease(its, {
        requires_python: pick(SPECIFIERS),
        has_sdist: pick([true, true, false]),
        priority: pick([0, 1, 2]),
        yanked: pick([null, null, '']),
      });
    const serial = () => (this.#serial += pick([0, 1, 1, 2]));
    return {
      'new version': () =>
        newVersions(db, name(), pick(['feed', 'feed', 'add', 'import'] as const), [aRelease(version())]),
      'new package': () => {
        const added = { package: name(), description: null, aliases: [] };
        const origin = pick(['feed', 'add'] as const);
        return db.transaction((within) => newPackage(within, { ...added, origin }));
      },
      events: () => {
        const kinds = [
          'create',
          'release',
          'add file',
          'remove file',
          'remove release',
          'remove project',
        ] as const;
        const events = Array.from({ length: pick([1, 3, 6]) }, (): ChangeEvent => {
          const kind = pick([
            ...kinds,
            'release',
            'add file',
            'yank',
            'unyank',
            'quarantine',
            'clear',
          ] as const);
          const ofProject =
            kind === 'create' || kind === 'remove project' || (kind.length > 6 && pick([true, false]));
          const whole = ofProject && !['release', 'add file', 'remove file', 'remove release'].includes(kind);
          const file = kind.endsWith('file') ? { name: 'x', sdist: pick([true, true, false]) } : null;
          return {
            serial: serial(),
            time: 1e9,
            name: name() as PackageName,
            version: whole ? null : version(),
            kind,
            file,
          };
        });
        const { projects, versions } = fold(events);
        return applyEvents(db, { fence: 0, position: [0, 0, 0, 0], projects, versions });
      },
      page: () =>
        applyPage(db, {
          ...{
            fence: 0,
            package: name(),
            serial: pick([0, serial(), serial() + 3]),
            etag: null,
            description: null,
          },
          status: pick(['active', 'active', 'quarantined', 'archived']),
          ...{ releases: releases(), removal_delay_s: pick([0, 3600]) },
        }),
      'missing page': () => missingPage(db, 0, name(), pick([true, false])),
      list: () =>
        settleVersions(db, {
          ...{ fence: 0, package: name(), serial: serial() + 5 },
          versions: ['1.0', '2.0', '3.0'].filter(() => pick([true, false])),
        }),
      'add target': () => {
        const [abi, platform] = pick(TARGETS);
        return addTarget(db, { ...target(abi, platform), skip: pick([null, null, 'why']) }, pick([0, 3]));
      },
      'remove target': () => {
        const [abi, platform] = pick(TARGETS);
        return pick([0, 0, 1]) === 1 ? removeTarget(db, abi, platform, pick([0, 3])) : Promise.resolve();
      },
      'fill a slice': () => fillSlice(db, pick([1, 2, 3])),
      'log a build': () => {
        const [abi, platform] = pick(TARGETS);
        return logBuilds(db, [
          built(name(), version(), abi, platform, pick([[], [pick(TAGS)], [pick(TAGS), pick(TAGS)]])),
        ]);
      },
      'skip version': () => skipVersion(db, name(), version(), pick([null, 'why'])),
      'skip package': () => skipPackage(db, name(), pick([null, null, 'why'])),
      yank: () => yankVersion(db, name(), version(), pick([null, '', 'why'])),
      quarantine: () => quarantine(db, name(), pick([null, version()]), pick([true, false])),
      'delete builds': () => deleteBuilds(db, name(), version()),
      'delete version': () =>
        pick([0, 0, 1]) === 1 ? deleteVersion(db, name(), version()) : Promise.resolve(),
      take: async () => {
        const [abi, platform] = pick(TARGETS);
        for (const build of await next(db, abi, platform, 2)) {
          const asked = { ...build, slaveId: this.#slave, leaseS: pick([60, -1]) };
          for (const { lease, number, package: of } of await grant(db, [asked], 1))
            this.#leases.push({ lease, version: number, package: of, abi, platform });
        }
      },
      'hand in': async () => {
        const held = this.#leases.shift();
        if (!held) return;
        const { lease, package: of, version: its, abi, platform } = held;
        const its1 = built(of, its, abi, platform, pick([[], [pick(TAGS)]]));
        const there = await db.query<{ filename: string }>(
          `select filename from files join versions using (version_id) join packages using (package_id)
           where package = $1 and version = $2 order by uploaded`,
          [of, its],
        );
        // Others have published what this build would have.
        const served = its1.status && pick([true, false]) ? there.map(({ filename }) => filename) : [];
        const failure = its1.status
          ? {}
          : { failure_class: pick(['compiler', 'network', 'memory', 'no-sdist']) };
        // Held back for so long, or ready to be given out again at the next step that returns what has run out.
        const result = { ...its1, ...failure, served, lease, slave_id: this.#slave };
        await logBuilds(db, [result], pick([60, -60]));
      },
      'give back': async () => {
        const held = this.#leases.shift();
        if (held) await release(db, [[held.lease, this.#slave]], pick([0, 60]));
      },
      expire: () => returnExpired(db),
    };
  }
}

/** The number of the first step after which table and view differ; undefined: none. */
async function firstWrong(db: Database, history: readonly Step[]): Promise<number | undefined> {
  const farm = new Farm(db);
  await farm.begin();
  for (const [at, step] of history.entries()) {
    await farm.do(step);
    if ((await difference(db)).length > 0) return at;
  }
  return undefined;
}

/** The shortest history that is found by leaving steps out, and that still goes wrong. */
async function shortest(db: Database, history: readonly Step[]): Promise<readonly Step[]> {
  let best = history;
  for (let chunk = Math.ceil(best.length / 2); chunk >= 1; chunk = chunk === 1 ? 0 : Math.ceil(chunk / 2)) {
    for (let at = 0; at < best.length;) {
      const fewer = [...best.slice(0, at), ...best.slice(at + chunk)];
      const wrong = await firstWrong(db, fewer);
      if (wrong === undefined) at += chunk;
      else best = fewer.slice(0, wrong + 1);
    }
  }
  return best;
}

/** All of them, in an hour: PIW_TEST_SEEDS=100 PIW_TEST_STEPS=10000 PIW_TEST_LIMIT_S=9000 npm test -- database/queue. */
void t.test('after every step of random histories the table is what the view says', async (t) => {
  const seeds = Number(process.env['PIW_TEST_SEEDS'] ?? 5);
  const steps = Number(process.env['PIW_TEST_STEPS'] ?? 200);
  const first = Number(process.env['PIW_TEST_FIRST'] ?? 1);
  const { db } = await testDatabase(t);
  for (let seed = first; seed < first + seeds; seed += 1) {
    const random = chance(seed);
    const history = Array.from({ length: steps }, (): Step => {
      const action = Farm.actions[Math.floor(random() * Farm.actions.length)] ?? '';
      return { action, seed: Math.floor(random() * 2 ** 32) };
    });
    const wrong = await firstWrong(db, history);
    if (wrong === undefined) {
      t.pass(`seed ${String(seed)}`);
      continue;
    }
    const short = await shortest(db, history.slice(0, wrong + 1));
    await firstWrong(db, short);
    t.fail(`seed ${String(seed)}, step ${String(wrong)}`, {
      history: short.map(({ action, seed: its }) => `${action} (${String(its)})`),
      difference: await difference(db),
    });
    return;
  }
});
