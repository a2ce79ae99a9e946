import { DAY_MS } from '../../src/units.js';
import t from 'tap';
import { logBuilds } from '../../src/database/builds.js';
import { setQuarantined, skipPackage } from '../../src/database/packages.js';
import type { Database } from '../../src/database/pool.js';
import { nextPendingBuilds, leaseBuilds } from '../../src/database/queue.js';
import { addTarget } from '../../src/database/targets.js';
import { addReleases, skipVersion, yankVersion } from '../../src/database/versions.js';
import type { LoggedBuild } from '../../src/model/build.js';
import type { Release } from '../../src/model/release.js';
import { natsAddress, uniquePrefix } from '../helpers/bus.js';
import { piwRunner, piwRunnerWithTasks, type PiwRunner } from '../helpers/command.js';
import { testDatabase } from '../helpers/database.js';
import { PLATFORM, someRelease, insertSlave, someBuild } from '../helpers/rows.js';

t.setTimeout(200_000);

const DAY_0 = Date.UTC(2024, 0, 1);

/** Returns a release of day `day` of 2024. */
const release = (version: string, day: number, more: Partial<Release> = {}): Release =>
  someRelease(version, { released: DAY_0 + day * DAY_MS, ...more });

/** Returns a build for cp39 with one wheel with these tags, or a failed build if there are none. */
const build = (version: string, tags: readonly [string, string, string] | null): LoggedBuild => {
  if (tags === null) return someBuild(version, { abi: 'cp39' });
  const name = `demo-${version}-${tags.join('-')}.whl`;
  const digest = '0'.repeat(64);
  return someBuild(version, {
    abi: 'cp39',
    status: true,
    failure_class: null,
    files: [[[name, 1, digest, 'demo', version, ...tags, null, {}, true], digest, null]],
  });
};

/** Gives a slave demo 6.0 for cp39, the only build that is waiting. */
async function grantOne(db: Database): Promise<void> {
  const slaveId = await insertSlave(db, 'cp39');
  const [next] = await nextPendingBuilds(db, {
    abi: 'cp39',
    platform: PLATFORM,
    priority: 0,
    count: 1,
    first: 'newest',
  });
  if (next) await leaseBuilds(db, [{ ...next, slaveId, leaseS: 3600 }], 1);
}

/** Creates a version in every possible state. */
async function fillFarm(db: Database): Promise<void> {
  const target = (abi: string, skip: string | null = null) => ({
    abi,
    platform: PLATFORM,
    py_version_tag: abi,
    skip,
  });
  await addTarget(db, target('cp39'));
  await addTarget(db, target('cp311'));
  await addTarget(db, target('cp312', 'no slave has it'));
  await addReleases(db, 'demo', 'feed', [release('6.0', 60)]);
  await grantOne(db);
  await addReleases(db, 'demo', 'feed', [
    release('9.0', 90),
    release('8.0', 80),
    release('7.0', 70),
    release('5.1', 51),
    release('5.0', 50),
    release('4.0', 40),
    release('3.0', 30),
    release('2.0', 20, { has_sdist: false }),
    release('1.5', 15, { requires_python: '>=3.10' }),
    release('1.4', 14),
    release('1.3', 13),
  ]);
  await logBuilds(db, [
    build('9.0', ['cp39', 'cp39', PLATFORM]),
    build('8.0', ['py3', 'none', 'any']),
    build('7.0', null),
  ]);
  await skipVersion(db, 'demo', '4.0', 'it never ends');
  await yankVersion(db, 'demo', '3.0', 'a mistake');
  await setQuarantined(db, 'demo', '1.4', true);
  await db.query(`update versions set removed_at = now() where version = '1.3'`);
  await db.query('select requeue(array(select version_id from versions))');
  await addReleases(db, 'shunned', 'feed', [release('1.0', 1)]);
  await skipPackage(db, 'shunned', 'it mines coins');
  // A target whose queue has not been filled yet.
  await addTarget(db, target('cp313'), 0);
}

interface VersionStatus {
  readonly version: string;
  readonly abi: string;
  readonly state: string;
  readonly position: number | null;
  readonly why: string;
}

async function versionStatuses(piw: PiwRunner, name: string): Promise<Readonly<Record<string, string>>> {
  const { out } = await piw('queue', name, '--json');
  const { versions } = JSON.parse(out) as { readonly versions: readonly VersionStatus[] };
  return Object.fromEntries(
    versions.map(({ version, abi, state, position, why }) => [
      `${version} ${abi}`,
      `${state} ${position === null ? why : String(position)}`.trim(),
    ]),
  );
}

void t.test('piw queue shows the state of each version for each target, and why', async (t) => {
  const { db, dsn } = await testDatabase(t);
  await fillFarm(db);
  const { piw: newest } = piwRunnerWithTasks(t, ['the-oracle'], { dsn });
  // Each farm needs its own database.
  const other = await testDatabase(t);
  await fillFarm(other.db);
  const { piw: oldest } = piwRunnerWithTasks(t, ['the-oracle'], {
    dsn: other.dsn,
    'backlog-order': 'oldest',
  });

  const statuses = await versionStatuses(newest, 'demo');
  t.match(statuses, {
    '9.0 cp39': `built demo-9.0-cp39-cp39-${PLATFORM}.whl`,
    '9.0 cp311': 'waiting 1',
    '8.0 cp39': 'built demo-8.0-py3-none-any.whl',
    '8.0 cp311': 'built served by demo-8.0-py3-none-any.whl',
    '7.0 cp39': /^failed compiler, build \d+$/,
    '7.0 cp311': 'waiting 2',
    '6.0 cp39': 'building on slave anvil',
    '6.0 cp311': 'none waits for cp39, whose wheel may serve this ABI too',
    '5.1 cp39': 'waiting 1',
    '5.0 cp39': 'waiting 2',
    '5.0 cp312': 'none the target is skipped because no slave has it',
    '5.0 cp313': 'none the target is new, and this version has not been queued yet',
    '4.0 cp39': 'none skipped because it never ends',
    '3.0 cp39': 'none yanked because a mistake',
    '2.0 cp39': 'none no source distribution',
    '1.5 cp39': 'none requires Python >=3.10',
    '1.5 cp311': 'waiting 3',
    '1.4 cp39': 'none quarantined',
    '1.3 cp39': 'none removed from the index',
  });
  t.equal(Object.keys(statuses).length, 12 * 4);
  t.match(await versionStatuses(oldest, 'demo'), {
    '1.5 cp311': 'waiting 1',
    '7.0 cp311': 'waiting 2',
    '9.0 cp311': 'waiting 3',
    '5.0 cp39': 'waiting 1',
    '5.1 cp39': 'waiting 2',
  });
  t.match(await versionStatuses(newest, 'shunned'), {
    '1.0 cp39': 'none the package is skipped because it mines coins',
  });

  const { code, out } = await newest('queue', 'Demo');
  t.equal(code, 0);
  const lines = out.split('\n');
  t.match(lines[0], /^version +ABI +state$/);
  t.match(lines[1], /^9\.0 +cp39 +built +demo-9\.0-cp39-cp39-linux_x86_64\.whl$/);
  t.match(lines[2], /^9\.0 +cp311 +waiting +position 1$/);
  t.match(out, /^4\.0 +cp39 +- +skipped because it never ends$/m);

  const whole = await newest('queue');
  t.equal(whole.code, 0);
  t.match(whole.out, /^cp39 +linux_x86_64 +backlog +2 +2024-02-20$/m);
  t.match(whole.out, /^cp311 +linux_x86_64 +backlog +3 +2024-01-16$/m);
  t.match(whole.out, /^5 waiting, 1 in progress; 3 finished in the last minute, 3 in the last hour\.$/m);
  t.match(JSON.parse((await newest('queue', '--json')).out), {
    queue: [
      {
        abi: 'cp39',
        platform: PLATFORM,
        priority: 'backlog',
        waiting: 2,
        oldest: '2024-02-20T00:00:00.000Z',
      },
      {
        abi: 'cp311',
        platform: PLATFORM,
        priority: 'backlog',
        waiting: 3,
        oldest: '2024-01-16T00:00:00.000Z',
      },
    ],
    waiting: 5,
    building: 1,
    last_minute: 3,
    last_hour: 3,
    estimated: false,
  });

  for (const args of [['nothing-such'], ['nothing-such', '--json']]) {
    const unknown = await newest('queue', ...args);
    t.equal(unknown.code, 1);
    t.equal(unknown.err.trim(), 'piw: there is no package nothing-such. Check the name.');
  }
});

void t.test('piw feed shows how far the index is followed, and approves a large removal', async (t) => {
  const { db, dsn } = await testDatabase(t);
  const { piw } = piwRunnerWithTasks(t, ['the-oracle'], { dsn });
  t.match(await piw('feed'), { code: 0, out: /^The farm has not been compared with the whole index yet; / });
  await db.query(
    `update feed set serial = 90, read_serial = 100, compared = '2024-05-01T12:00:00Z', held = 12000`,
  );
  t.same((await piw('feed')).out.trimEnd().split('\n'), [
    'Events are read up to serial 100, and processed up to 90.',
    'The farm was last compared with the whole index at 2024-05-01T12:00:00.000Z.',
    '12,000 packages are no longer in the index, and stay until you run piw feed --accept 12000.',
  ]);
  const position = { serial: 90, read: 100, held: 12000, compared: '2024-05-01T12:00:00.000Z' };
  t.same(JSON.parse((await piw('feed', '--json')).out), { ...position, accepted: 0 });
  t.match(
    (await piw('feed', '--accept', '12000')).out,
    /^Up to 12,000 packages may be removed at the next comparison/m,
  );
  t.same(JSON.parse((await piw('feed', '--accept', '13000', '--json')).out), {
    ...position,
    accepted: 13000,
  });
  t.match(await piw('feed', '--accept', 'all'), { code: 2, out: '', err: /See piw feed --help/ });
});

void t.test('without a master, piw queue and piw feed print one line', async (t) => {
  const withoutMaster = piwRunner({ nats: natsAddress(), prefix: uniquePrefix() });
  const withoutNats = piwRunner({ nats: '127.0.0.1:1' });
  const cases = ([['queue'], ['queue', 'six', '--json'], ['feed']] as const).flatMap((args) => [
    [withoutMaster, args, /^piw: .*is the farm running\?\n$/] as const,
    [
      withoutNats,
      args,
      /^(?:piw: waiting for NATS at .*\n)?piw: can't connect to NATS at 127\.0\.0\.1:1: .* is running; .*\.\n$/,
    ] as const,
  ]);
  await Promise.all(
    cases.map(async ([piw, args, line]) => {
      const { code, out, err } = await piw(...args);
      t.equal(code, 5, args.join(' '));
      t.equal(out, '');
      t.match(err, line);
    }),
  );
});
