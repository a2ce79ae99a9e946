import t, { type Test } from 'tap';
import { logBuilds } from '../../src/database/builds.js';
import type { Database } from '../../src/database/pool.js';
import { nextPendingBuilds, leaseBuilds } from '../../src/database/queue.js';
import { packageQueue } from '../../src/database/queue-report.js';
import { addReleases } from '../../src/database/versions.js';
import { parseWheelName } from '../../src/wheels/tags.js';
import { testDatabase } from '../helpers/database.js';
import { PLATFORM, someRelease, insertSlave, insertTarget } from '../helpers/rows.js';
import { NO_DETAILS } from '../../src/model/build-details.js';

t.setTimeout(120_000);

const PURE = 'demo-1.0-py3-none-any.whl';
const native = (abi: string) => `demo-1.0-${abi.replace(/t$/, '')}-${abi}-${PLATFORM}.whl`;

/** Creates a farm with demo 1.0 and targets with these ABIs. */
async function farm(t: Test, ...abis: readonly string[]): Promise<Database> {
  const { db } = await testDatabase(t);
  for (const abi of abis) await insertTarget(db, abi);
  await addReleases(db, 'demo', 'feed', [someRelease('1.0')]);
  return db;
}

/** Returns the ABIs for which demo 1.0 is queued, lowest first. */
async function due(db: Database): Promise<readonly string[]> {
  const rows = await db.query<{ abi: string }>(
    'select abi from queue join targets using (target_id) order by rank, platform',
  );
  return rows.map(({ abi }) => abi);
}

interface BuildOutput {
  /** The wheels that a slave delivers, all with `contents`. */
  readonly files?: readonly string[];
  readonly contents?: string;
  /** Wheels that another build has published before with different contents. */
  readonly served?: readonly string[];
}

const result = (abi: string, { files = [], contents = 'a', served = [] }: BuildOutput) => ({
  lease: null,
  slave_id: null,
  package: 'demo',
  version: '1.0',
  abi,
  platform: PLATFORM,
  status: true,
  failure_class: null,
  duration_s: 1,
  output: 'log',
  details: NO_DETAILS,
  served: [...served],
  files: files.map(
    (
      filename,
    ): [
      [string, number, string, string, string, string, string, string, null, Record<string, never>, true],
      string,
      null,
    ] => {
      const { py, abi: wheelAbi, platform } = parseWheelName(filename);
      const hash = contents.repeat(64);
      return [[filename, 1, hash, 'demo', '1.0', py, wheelAbi, platform, null, {}, true], hash, null];
    },
  ),
});

/** Leases the build that is due for this ABI to a new slave, and logs its result. */
async function build(db: Database, abi: string, output: BuildOutput): Promise<void> {
  const lease = await take(db, abi);
  await logBuilds(db, [{ ...result(abi, output), ...lease }]);
}

async function take(db: Database, abi: string): Promise<{ lease: number; slave_id: number }> {
  const slave_id = await insertSlave(db, abi, abi);
  const order = { abi, platform: PLATFORM, priority: 0, count: 1, first: 'newest' } as const;
  const waiting = await nextPendingBuilds(db, order);
  const [leased] = await leaseBuilds(
    db,
    waiting.map((pending) => ({ ...pending, slaveId: slave_id, leaseS: 60 })),
    1,
  );
  if (!leased) throw new Error(`nothing is due for ${abi}`);
  return { lease: leased.lease, slave_id };
}

void t.test('a pure package is built once, by CPython', async (t) => {
  const db = await farm(t, 'pypy39_pp73', 'cp313t', 'cp312', 'cp311');
  t.same(await due(db), ['cp311']);
  await build(db, 'cp311', { files: [PURE] });
  t.same(await due(db), []);
  await insertTarget(db, 'cp314');
  await insertTarget(db, 'pypy310_pp73');
  t.same(await due(db), []);
});

for (const [fallsBack, later] of [
  ['pypy39_pp73', 'pypy310_pp73'],
  ['cp313t', 'cp314t'],
] as const) {
  void t.test(
    `a pure wheel built for ${fallsBack} as a fallback doesn't keep CPython from getting its extension`,
    async (t) => {
      const db = await farm(t, fallsBack, 'cp311', 'cp312');
      await build(db, 'cp311', { files: [native('cp311')] });
      t.same(await due(db), ['cp312', fallsBack]);
      const lease = await take(db, 'cp312');
      await build(db, fallsBack, { files: [PURE] });
      t.same(await due(db), ['cp312']);
      t.match(
        await logBuilds(db, [{ ...result('cp312', { files: [native('cp312')] }), ...lease }]),
        [{ outcome: 'logged' }],
        'not even while it is being built',
      );
      t.same(await due(db), []);
      await insertTarget(db, 'cp310');
      await insertTarget(db, later);
      t.same(await due(db), ['cp310'], 'not even on a target that is registered later');
    },
  );
}

void t.test('a pure wheel of PyPy says nothing about CPython, whose lowest ABI is built first', async (t) => {
  const db = await farm(t, 'pypy39_pp73');
  await build(db, 'pypy39_pp73', { files: [PURE] });
  await insertTarget(db, 'cp312');
  await insertTarget(db, 'cp311');
  t.same(await due(db), ['cp311']);
  await build(db, 'cp311', { files: [native('cp311')] });
  t.same(await due(db), ['cp312']);
});

void t.test('a pure wheel that CPython builds under the same name serves every target', async (t) => {
  for (const [message, output] of [
    ['different contents', { served: [PURE] }],
    ['the same contents', { files: [PURE] }],
  ] as const) {
    const db = await farm(t, 'pypy39_pp73');
    await build(db, 'pypy39_pp73', { files: [PURE] });
    await insertTarget(db, 'cp311');
    await insertTarget(db, 'cp312');
    t.same(await due(db), ['cp311']);
    await build(db, 'cp311', output);
    t.same(await due(db), [], message);
    await insertTarget(db, 'cp313');
    await insertTarget(db, 'cp313t');
    t.same(await due(db), []);
    t.same(
      (await packageQueue(db, 'demo', 'newest')).map(([, abi, , state, , why]) => [abi, state, why]),
      [
        ['cp311', 'built', PURE],
        ['cp312', 'built', `served by ${PURE}`],
        ['cp313', 'built', `served by ${PURE}`],
        ['cp313t', 'built', `served by ${PURE}`],
        ['pypy39_pp73', 'built', PURE],
      ],
    );
    t.match(await db.query('select filename, sha256 from files'), [{ filename: PURE, sha256: /^a+$/ }]);
  }
});

void t.test(
  'a wheel that two kinds of interpreters build at the same time serves both of them',
  async (t) => {
    const db = await farm(t, 'cp311', 'cp313t', 'pypy39_pp73');
    await build(db, 'cp311', { files: [native('cp311')] });
    const leases = { cp313t: await take(db, 'cp313t'), pypy39_pp73: await take(db, 'pypy39_pp73') };
    await logBuilds(db, [
      { ...result('pypy39_pp73', { files: [PURE] }), ...leases.pypy39_pp73 },
      { ...result('cp313t', { files: [PURE] }), ...leases.cp313t },
    ]);
    t.same(await db.query('select reach from files join tags using (tag_id) order by filename'), [
      { reach: 'all' },
      { reach: 'free-threaded.pypy' },
    ]);
    for (const abi of ['cp314t', 'pypy310_pp73', 'cp312']) await insertTarget(db, abi);
    t.same(await due(db), ['cp312']);
  },
);

void t.test('an imported wheel serves every target that its tags admit', async (t) => {
  const db = await farm(t, 'pypy39_pp73', 'cp311');
  await logBuilds(db, [result('pypy39_pp73', { files: [PURE] })]);
  t.same(await due(db), []);
});
