import t, { type Test } from 'tap';
import { logBuilds } from '../../src/database/builds.js';
import { setQuarantined } from '../../src/database/packages.js';
import type { Database } from '../../src/database/pool.js';
import {
  leaseBuilds,
  findLease,
  releaseLeases,
  renewLeases,
  requeueExpired,
  type PendingBuild,
} from '../../src/database/queue.js';
import { addTarget } from '../../src/database/targets.js';
import { addReleases, skipVersion, yankVersion } from '../../src/database/versions.js';
import { testDatabase } from '../helpers/database.js';
import { seededRandom } from '../helpers/random.js';
import {
  ARM,
  LINUX,
  RandomFarm,
  loggedBuild,
  nextBuilds,
  targetRow,
  type RandomStep,
} from '../helpers/random-farm.js';
import { someRelease, insertSlave } from '../helpers/rows.js';

async function queued(db: Database): Promise<string[]> {
  const rows = await db.query<{ build: string }>(
    `select p.package || ' ' || v.version || ' ' || t.abi || ' ' || t.platform as build
     from queue q join versions v using (version_id) join packages p on p.package_id = v.package_id
       join targets t using (target_id) order by 1`,
  );
  return rows.map(({ build }) => build.replace(` ${LINUX}`, '')).sort();
}

/** Returns the rows that only the table `queue` or only the view `builds_pending` has. */
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
  for (const [abi, platform] of targets) await addTarget(db, targetRow(abi, platform));
  return db;
}

t.setTimeout(process.env['PIW_TEST_SEEDS'] === undefined ? 200_000 : 0);

void t.test('the lowest ABI is built first, compared by version and not as text', async (t) => {
  const db = await farm(t, ['cp311'], ['cp39'], ['pypy39_pp73']);
  await addReleases(db, 'a', 'feed', [someRelease('1.0')]);
  t.same(await queued(db), ['a 1.0 cp39']);
});

void t.test(
  'a wheel that serves all targets ends the builds; one that does not makes the others due',
  async (t) => {
    const db = await farm(t, ['cp39'], ['cp311'], ['cp313t']);
    await addReleases(db, 'a', 'feed', [someRelease('1.0'), someRelease('2.0'), someRelease('3.0')]);
    await logBuilds(db, [loggedBuild('a', '1.0', 'cp39', LINUX, ['py3-none-any'])]);
    await logBuilds(db, [loggedBuild('a', '2.0', 'cp39', LINUX, [`cp39-cp39-${LINUX}`])]);
    await logBuilds(db, [loggedBuild('a', '3.0', 'cp39', LINUX, [`cp39-abi3-${LINUX}`])]);
    t.same(await queued(db), ['a 2.0 cp311', 'a 2.0 cp313t', 'a 3.0 cp313t']);
  },
);

void t.test('after the lowest ABI has failed, the next one is due', async (t) => {
  const db = await farm(t, ['cp39'], ['cp311']);
  await addReleases(db, 'a', 'feed', [someRelease('1.0')]);
  await logBuilds(db, [loggedBuild('a', '1.0', 'cp39', LINUX, [])]);
  t.same(await queued(db), ['a 1.0 cp311']);
});

void t.test('each platform has its own lowest ABI', async (t) => {
  const db = await farm(t, ['cp311'], ['cp311', ARM], ['cp312', ARM]);
  await addReleases(db, 'a', 'feed', [someRelease('1.0')]);
  t.same(await queued(db), ['a 1.0 cp311', `a 1.0 cp311 ${ARM}`]);
});

void t.test(
  'requires-python, skips, yanks, quarantine and a missing sdist exclude a version until they end',
  async (t) => {
    const db = await farm(t, ['cp39'], ['cp311']);
    await addReleases(db, 'a', 'feed', [
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
    await setQuarantined(db, 'a', null, true);
    t.same(await queued(db), []);
    await setQuarantined(db, 'a', null, false);
    await yankVersion(db, 'a', '1.0', null);
    t.same(await queued(db), ['a 1.0 cp311', 'a 3.0 cp39']);
  },
);

void t.test(
  'a lease belongs to one slave, is renewed, returns to the queue when it expires, and ends with its result',
  async (t) => {
    const db = await farm(t, ['cp311']);
    await addReleases(db, 'a', 'feed', [someRelease('1.0'), someRelease('2.0', { priority: 2 })]);
    const [me, other] = [await insertSlave(db, 'cp311', 'me'), await insertSlave(db, 'cp311', 'other')];
    const waiting = await nextBuilds(db, 'cp311', LINUX, 10);
    const assignTo = (build: PendingBuild | undefined, slaveId: number) =>
      build ? [{ ...build, slaveId, leaseS: 60 }] : [];
    const [request, backlog] = waiting;
    const [leased] = await leaseBuilds(db, assignTo(request, me), 7);
    t.match(leased, { package: 'a', version: '2.0', attempt: 1 }, 'a request before the backlog');
    t.same(await leaseBuilds(db, assignTo(request, other), 7), [], 'a build is leased once');
    await t.rejects(leaseBuilds(db, assignTo(backlog, me), 6), { code: 'PIW_FENCED' });
    t.same(await nextBuilds(db, 'cp311', LINUX, 10), [backlog]);
    const leaseId = leased?.lease ?? 0;
    t.match(await findLease(db, leaseId, me), { package: 'a', version: '2.0' });
    t.equal(await findLease(db, leaseId, other), undefined);
    t.same(await renewLeases(db, [[leaseId, me]], 60), []);
    t.same(await renewLeases(db, [[leaseId, other]], 60), [leaseId], 'only its holder can renew it');
    t.same(await renewLeases(db, [[999, me]], 60), [999]);
    await releaseLeases(db, [[leaseId, other]]);
    t.match(await findLease(db, leaseId, me), { version: '2.0' }, 'only its holder can release it');
    await renewLeases(db, [[leaseId, me]], -1);
    t.equal(await requeueExpired(db), 1);
    const [secondGrant] = await leaseBuilds(
      db,
      assignTo((await nextBuilds(db, 'cp311', LINUX, 10))[0], me),
      7,
    );
    t.match(secondGrant, { version: '2.0', attempt: 2 });
    const result = {
      ...loggedBuild('a', '2.0', 'cp311', LINUX, []),
      lease: secondGrant?.lease ?? 0,
      slave_id: me,
    };
    t.same(
      (await logBuilds(db, [{ ...result, lease: leaseId }]))[0]?.outcome,
      'lost',
      'the old lease is no longer valid',
    );
    t.same(
      (await logBuilds(db, [{ ...result, slave_id: other }]))[0]?.outcome,
      'lost',
      'another slave’s result is dropped',
    );
    const [logged] = await logBuilds(db, [result]);
    t.equal(logged?.outcome, 'logged');
    t.match(
      await logBuilds(db, [result]),
      [{ outcome: 'repeated', buildId: logged?.buildId }],
      'the same result is logged once',
    );
    t.same(await queued(db), ['a 1.0 cp311']);
  },
);

const clear = async (db: Database): Promise<void> => {
  await db.query(
    'truncate packages, targets, specifiers, tags, slaves, builds, queue, pages_backlog, fences, page_fetches cascade',
  );
};

/** Returns the index of the first step after which table and view differ; undefined if there is none. */
async function firstMismatch(db: Database, history: readonly RandomStep[]): Promise<number | undefined> {
  const farm = new RandomFarm(db);
  await clear(db);
  await farm.setUp();
  for (const [index, step] of history.entries()) {
    await farm.apply(step);
    if ((await difference(db)).length > 0) return index;
  }
  return undefined;
}

/** Returns the shortest history that still fails, found by leaving out steps. */
async function shrinkHistory(db: Database, history: readonly RandomStep[]): Promise<readonly RandomStep[]> {
  let shortest = history;
  for (
    let chunk = Math.ceil(shortest.length / 2);
    chunk >= 1;
    chunk = chunk === 1 ? 0 : Math.ceil(chunk / 2)
  ) {
    for (let start = 0; start < shortest.length;) {
      const candidate = [...shortest.slice(0, start), ...shortest.slice(start + chunk)];
      const mismatch = await firstMismatch(db, candidate);
      if (mismatch === undefined) start += chunk;
      else shortest = candidate.slice(0, mismatch + 1);
    }
  }
  return shortest;
}

/**
 * A long run takes an hour: PIW_TEST_SEEDS=100 PIW_TEST_STEPS=10000 PIW_TEST_LIMIT_S=9000 npm test -- database/queue.
 */
void t.test('after every step of random histories the table equals the view', async (t) => {
  const seeds = Number(process.env['PIW_TEST_SEEDS'] ?? 5);
  const steps = Number(process.env['PIW_TEST_STEPS'] ?? 200);
  const first = Number(process.env['PIW_TEST_FIRST'] ?? 1);
  const { db } = await testDatabase(t);
  for (let seed = first; seed < first + seeds; seed += 1) {
    const random = seededRandom(seed);
    const history = Array.from({ length: steps }, (): RandomStep => {
      const action = RandomFarm.actions[Math.floor(random() * RandomFarm.actions.length)] ?? '';
      return { action, seed: Math.floor(random() * 2 ** 32) };
    });
    const mismatch = await firstMismatch(db, history);
    if (mismatch === undefined) {
      t.pass(`seed ${seed}`);
      continue;
    }
    const shrunk = await shrinkHistory(db, history.slice(0, mismatch + 1));
    await firstMismatch(db, shrunk);
    t.fail(`seed ${seed}, step ${mismatch}`, {
      history: shrunk.map((step) => `${step.action} (${step.seed})`),
      difference: await difference(db),
    });
    return;
  }
});
