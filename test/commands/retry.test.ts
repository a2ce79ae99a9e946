import t, { type Test } from 'tap';
import { logBuilds } from '../../src/database/builds.js';
import type { Database } from '../../src/database/pool.js';
import { nextPendingBuilds } from '../../src/database/queue.js';
import { addReleases, skipVersion } from '../../src/database/versions.js';
import type { LoggedBuild } from '../../src/model/build.js';
import { NO_DETAILS } from '../../src/model/build-details.js';
import { piwRunnerWithTasks, type PiwRunner } from '../helpers/command.js';
import { testDatabase } from '../helpers/database.js';
import { loggedBuild, nextBuilds } from '../helpers/random-farm.js';
import { PLATFORM, someRelease, insertSlave, insertTarget } from '../helpers/rows.js';

t.setTimeout(300_000);

const ABI = 'cp311';

interface RetryResult {
  readonly builds: number;
  readonly classes: Readonly<Record<string, number>>;
  readonly examples: readonly { readonly package: string; readonly version: string }[];
  readonly dry_run: boolean;
}

const failure = (name: string, version: string, more: Partial<LoggedBuild> = {}): LoggedBuild => ({
  lease: null,
  slave_id: null,
  package: name,
  version,
  abi: ABI,
  platform: PLATFORM,
  status: false,
  failure_class: 'compiler',
  duration_s: 1,
  output: 'it said: ffi.h: No such file',
  details: NO_DETAILS,
  files: [],
  served: [],
  ...more,
});

async function setUp(t: Test) {
  const { db, dsn } = await testDatabase(t);
  await insertTarget(db, ABI);
  const { piw } = piwRunnerWithTasks(t, ['the-oracle', 'mr-chase'], { dsn });
  return { db, piw };
}

/** Returns what `piw retry --json` prints. Throws if its exit code is not 0. */
async function retry(piw: PiwRunner, ...args: readonly string[]): Promise<RetryResult> {
  const { code, out, err } = await piw('retry', ...args, '--json');
  if (code !== 0) throw new Error(`exit code ${code}: ${err}`);
  return JSON.parse(out) as RetryResult;
}

const waitingBuilds = async (db: Database): Promise<readonly string[]> =>
  (
    await db.query<{ line: string }>(
      `select package || ' ' || version || ' ' || q.priority as line
       from queue q join versions v using (version_id) join packages p on p.package_id = v.package_id order by 1`,
    )
  ).map(({ line }) => line);

/** Creates packages that differ in what a filter can select by. */
async function fillFarm(db: Database): Promise<void> {
  const [sick, healthy] = [
    await insertSlave(db, ABI, 's1', 'attic'),
    await insertSlave(db, ABI, 's2', 'cellar'),
  ];
  for (const name of ['a', 'b', 'c', 'served', 'skipped'])
    await addReleases(db, name, 'feed', [someRelease('1.0', { priority: 1 }), someRelease('2.0')]);
  await logBuilds(db, [
    failure('a', '1.0', { slave_id: sick }),
    failure('a', '2.0', { slave_id: sick, failure_class: 'missing-header' }),
    failure('b', '1.0', { slave_id: healthy, output: 'error: unused variable [-Werror]' }),
    failure('c', '1.0', { slave_id: healthy, failure_class: 'timeout' }),
    failure('served', '1.0', { slave_id: sick }),
    loggedBuild('served', '1.0', ABI, PLATFORM, ['py3-none-any']),
    failure('skipped', '1.0', { slave_id: sick }),
  ]);
  await skipVersion(db, 'skipped', '1.0', 'it never ends');
  await db.query(
    `update builds set built_at = now() - interval '3 days' where version_id in (
       select version_id from versions join packages using (package_id) where package = 'c')`,
  );
}

const namesOf = ({ examples }: RetryResult): readonly string[] =>
  examples.map(({ package: name, version }) => `${name} ${version}`).sort();

void t.test('piw retry selects failures by each condition, and by several together', async (t) => {
  const { db, piw } = await setUp(t);
  await fillFarm(db);
  const before = await waitingBuilds(db);
  const day = (ago: number) => new Date(Date.now() - ago * 86_400_000).toISOString();
  for (const [args, expected] of [
    [['--all'], ['a 1.0', 'a 2.0', 'b 1.0', 'c 1.0']],
    [['A'], ['a 1.0', 'a 2.0']],
    [['a', '2.0'], ['a 2.0']],
    [
      ['--class', 'missing-header', '--class', 'timeout'],
      ['a 2.0', 'c 1.0'],
    ],
    [
      ['--slave', 'attic'],
      ['a 1.0', 'a 2.0'],
    ],
    [['--slave', 'cellar', '--since', '1d'], ['b 1.0']],
    [['--until', '2d'], ['c 1.0']],
    [['--since', day(4), '--until', day(2).slice(0, 10)], ['c 1.0']],
    [['--text', 'ffi.h:', '--class', 'compiler'], ['a 1.0']],
    [['--text', 'ERROR: .*-W(error|all)', '--regexp'], []],
    [['--text', '(?i)ERROR: .*-W(error|all)', '--regexp'], ['b 1.0']],
    [['--abi', 'cp39'], []],
    [['--abi', ABI, '--platform', PLATFORM, '--class', 'timeout'], ['c 1.0']],
  ] as const) {
    const result = await retry(piw, ...args, '--dry-run');
    t.same(namesOf(result), expected, args.join(' '));
    t.equal(result.builds, expected.length, args.join(' '));
  }
  t.same(await waitingBuilds(db), before, 'a dry run requeues nothing');
  const { code, out } = await piw('retry', '--all', '--dry-run');
  t.equal(code, 0);
  t.match(out, /^4 builds would be requeued\.\n {2}compiler +2\n/);
  t.match(out, /^ {2}a 2\.0 +cp311 linux_x86_64 +missing-header +build \d+ +\d{4}-\d\d-\d\d \d\d:\d\d$/m);
});

void t.test('a requeued build waits behind new releases, keeps its log, and is requeued once', async (t) => {
  const { db, piw } = await setUp(t);
  await fillFarm(db);
  await addReleases(db, 'today', 'feed', [someRelease('1.0', { priority: 1, released: 1 })]);
  const logs = await db.query('select build_id, output, failure_class from builds order by build_id');
  t.match(await retry(piw, '--slave', 'attic', '--yes'), {
    builds: 2,
    classes: { compiler: 1 },
    dry_run: false,
  });
  t.match(
    await retry(piw, '--slave', 'attic', '--yes'),
    { builds: 0, classes: {} },
    'a second run requeues nothing',
  );
  t.match(
    await waitingBuilds(db),
    ['a 1.0 0', 'a 2.0 0', 'b 2.0 0'],
    'in the backlog, whatever their version’s priority',
  );
  t.same(await db.query('select build_id, output, failure_class from builds order by build_id'), logs);
  const order = { abi: ABI, platform: PLATFORM, priority: 1, count: 10, first: 'oldest' } as const;
  t.equal((await nextPendingBuilds(db, order)).length, 1, 'new releases do not wait for requeued builds');
  const { out } = await piw('queue', 'a');
  t.match(out, /^1\.0 +cp311 +waiting +position \d+, requeued after compiler, build \d+$/m);
  const [first] = await nextBuilds(db, ABI, PLATFORM, 1);
  t.ok(first);
  await logBuilds(db, [failure('a', '1.0')]);
  t.match(await waitingBuilds(db), ['a 2.0 0'], 'it has failed for good again');
  t.match(await retry(piw, 'a', '--yes'), { builds: 1 }, 'and can be requeued again');
});

void t.test('piw retry asks for confirmation, and rejects invalid arguments', async (t) => {
  const { db, piw } = await setUp(t);
  await fillFarm(db);
  for (const [args, code, err] of [
    [['--all'], 1, /nothing was requeued\. Answer y at the terminal, or pass --yes\./],
    [[], 2, /select builds by a package or an option, or pass --all/],
    [['a', '--all'], 2, /select builds .* not both/],
    [['--since', 'soon', '-y'], 2, /--since "soon": must be a time such as/],
    [['--class', 'bad-luck', '-y'], 2, /bad-luck/],
    [['--regexp', '-y'], 2, /--text/],
    [['--text', '(', '--regexp', '-y'], 2, /"\(" is not a regular expression/],
    [['nothing-such', '-y'], 1, /there is no package nothing-such/],
    [['a', '9.9', '-y'], 1, /there is no version 9\.9 of a/],
  ] as const) {
    const ran = await piw('retry', ...args);
    t.equal(ran.code, code, args.join(' '));
    t.match(ran.err, err, args.join(' '));
  }
  t.match(await piw('retry', '--text', 'in no log'), { code: 0, out: 'No failed build matches.\n' });
  t.match(
    await retry(piw, '--all', '--dry-run'),
    { builds: 4 },
    'nothing was requeued, and the farm still answers',
  );
});

void t.test('one run requeues thousands of builds, page by page', async (t) => {
  const { db, piw } = await setUp(t);
  const count = 1234;
  const releases = Array.from({ length: count }, (_, i) => someRelease(`1.${i}`));
  await addReleases(db, 'demo', 'feed', releases);
  await logBuilds(
    db,
    releases.map(({ version }) => failure('demo', version)),
  );
  t.same(await waitingBuilds(db), []);
  t.match(await retry(piw, '--class', 'compiler', '--yes'), { builds: count, classes: { compiler: count } });
  t.equal((await waitingBuilds(db)).length, count);
  t.match(await retry(piw, '--all', '--yes'), { builds: 0 });
});
