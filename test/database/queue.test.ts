import t, { type Test } from 'tap';
import { logBuilds } from '../../src/database/builds.js';
import { quarantine } from '../../src/database/packages.js';
import type { Database } from '../../src/database/pool.js';
import { grant, leaseOf, release, renew, returnExpired, type Waiting } from '../../src/database/queue.js';
import { addTarget } from '../../src/database/targets.js';
import { newVersions, skipVersion, yankVersion } from '../../src/database/versions.js';
import { testDatabase } from '../helpers/database.js';
import { chance } from '../helpers/fake-pypi/chance.js';
import { ARM, LINUX, RandomFarm, built, next, target, type Step } from '../helpers/random-farm.js';
import { someRelease, someSlave } from '../helpers/rows.js';

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

void t.test(
  'a lease is one slave’s, is renewed, comes back when it runs out, and ends with its result',
  async (t) => {
    const db = await farm(t, ['cp311']);
    await newVersions(db, 'a', 'feed', [someRelease('1.0'), someRelease('2.0', { priority: 2 })]);
    const [me, other] = [await someSlave(db, 'cp311', 'me'), await someSlave(db, 'cp311', 'other')];
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

const clear = async (db: Database): Promise<void> => {
  await db.query(
    'truncate packages, targets, specifiers, tags, slaves, builds, queue, pages_backlog, fences, looks cascade',
  );
};

/** The number of the first step after which table and view differ; undefined: none. */
async function firstWrong(db: Database, history: readonly Step[]): Promise<number | undefined> {
  const farm = new RandomFarm(db);
  await clear(db);
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
      const action = RandomFarm.actions[Math.floor(random() * RandomFarm.actions.length)] ?? '';
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
