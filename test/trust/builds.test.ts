import t, { type Test } from 'tap';
import { until } from '../helpers/bus.js';
import { RawNats } from '../helpers/raw-nats.js';
import { makeWheel, sha256 } from '../helpers/wheel.js';
import { Mallory, STATS, startHostileFarm, type MalloryLease, type HostileFarm } from './stage.js';
import { mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

t.setTimeout(280_000);

const HASH = 'f'.repeat(64);

interface AnnouncedFile {
  readonly filename?: string;
  readonly size?: number;
  readonly name?: string;
  readonly version?: string;
  readonly py?: string;
  readonly abi?: string;
  readonly platform?: string;
  readonly dependencies?: unknown;
}

/** Returns a file's state as BUILT announces it: correct for the lease, except for `overrides`. */
function announcedFile(lease: MalloryLease, overrides: AnnouncedFile = {}): readonly unknown[] {
  const {
    name = lease.package,
    version = lease.version,
    py = 'py3',
    abi = 'none',
    platform = 'any',
  } = overrides;
  const {
    filename = `${name}-${version}-${py}-${abi}-${platform}.whl`,
    size = 1000,
    dependencies = {},
  } = overrides;
  return [filename, size, HASH, name, version, py, abi, platform, null, dependencies, false];
}

/**
 * Files that BUILT announces, and why each is refused: by the slave's own description, or for what it isn't.
 */
const REFUSED_FILES: readonly (readonly [
  string,
  (lease: MalloryLease) => readonly (readonly unknown[])[],
  RegExp,
])[] = [
  ['another package’s wheel', (l) => [announcedFile(l, { name: 'pip' })], /is not a wheel of (?:demo|other)/],
  [
    'a package’s name with the same prefix',
    (l) => [announcedFile(l, { name: `${l.package}_evil` })],
    /is not a wheel of/,
  ],
  ['another version', (l) => [announcedFile(l, { version: '99.0' })], /is not a wheel of version/],
  [
    'a local version',
    (l) => [announcedFile(l, { version: `${l.version}+evil` })],
    /is not a wheel of version/,
  ],
  [
    'a platform that it never claimed',
    (l) => [announcedFile(l, { platform: 'linux_armv7l' })],
    /is for linux_armv7l/,
  ],
  [
    'a platform in addition to its own',
    (l) => [announcedFile(l, { platform: 'linux_x86_64.win_amd64' })],
    /is for win_amd64/,
  ],
  [
    'every manylinux',
    (l) => [announcedFile(l, { platform: 'manylinux2014_x86_64' })],
    /is for manylinux2014_x86_64/,
  ],
  ['an ABI that it never claimed', (l) => [announcedFile(l, { py: 'cp312', abi: 'cp312' })], /is for cp312/],
  [
    'an ABI in addition to its own',
    (l) => [announcedFile(l, { py: 'cp311.cp313', abi: 'cp311.cp313' })],
    /is for cp313/,
  ],
  ['a free-threaded ABI', (l) => [announcedFile(l, { py: 'cp311', abi: 'cp311t' })], /is for cp311t/],
  ['PyPy’s ABI', (l) => [announcedFile(l, { py: 'pp39', abi: 'pypy39_pp73' })], /is for pypy39_pp73/],
  ['another Python without an ABI', (l) => [announcedFile(l, { py: 'pp39' })], /is for pp39/],
  [
    'a later Python with its own ABI',
    (l) => [announcedFile(l, { py: 'cp399', abi: 'cp311' })],
    /is for cp399/,
  ],
  [
    'a stable ABI since a later Python',
    (l) => [announcedFile(l, { py: 'cp399', abi: 'abi3' })],
    /is for cp399/,
  ],
  ['Jython', (l) => [announcedFile(l, { py: 'jy39' })], /is for jy39/],
  ['10 GB', (l) => [announcedFile(l, { size: 10 * 1024 ** 3 })], /10737418240 bytes, above the limit/],
  [
    'three files of 1.9 GB',
    (l) =>
      ['1', '2', '3'].map((build) =>
        announcedFile(l, { size: 1.9e9, filename: `${l.package}-${l.version}-${build}-py3-none-any.whl` }),
      ),
    /its files total 5700000000 bytes/,
  ],
  ['one file twice', (l) => [announcedFile(l), announcedFile(l)], /same file twice/],
  [
    'a name that is not a wheel’s',
    (l) => [announcedFile(l, { filename: 'index.html' })],
    /not a wheel's filename/,
  ],
  [
    'a name with a dot before it',
    (l) => [announcedFile(l, { filename: `.${l.package}-${l.version}-py3-none-any.whl` })],
    /not a wheel's filename/,
  ],
  [
    'the metadata of a wheel',
    (l) => [announcedFile(l, { filename: `${l.package}-${l.version}-py3-none-any.whl.metadata` })],
    /not a wheel's filename/,
  ],
  [
    'percent signs for a path',
    (l) => [announcedFile(l, { filename: `..%2f${l.package}-${l.version}-py3-none-any.whl` })],
    /not a wheel's filename/,
  ],
  [
    'a name with a Unicode line separator',
    (l) => [announcedFile(l, { filename: `${l.package}-${l.version}-py3-none-any.whl\u2028` })],
    /not a wheel's filename/,
  ],
  [
    'a name of full-width letters',
    (l) => [announcedFile(l, { filename: `ｄｅｍｏ-${l.version}-py3-none-any.whl` })],
    /not a wheel's filename/,
  ],
  [
    'a name that disagrees with the tags',
    (l) => [announcedFile(l, { filename: `${l.package}-${l.version}-cp311-cp311-linux_x86_64.whl` })],
    /its announced tags differ from those in its filename/,
  ],
];

/** Files that are refused before the lease is checked, because the message is invalid. */
const INVALID_FILES: readonly (readonly [string, (lease: MalloryLease) => readonly unknown[]])[] = [
  ['more than 100 files', (l) => Array.from({ length: 101 }, () => announcedFile(l))],
  ['a name with a path', (l) => [announcedFile(l, { filename: '../../../etc/cron.d/pwned' })]],
  ['an absolute name', (l) => [announcedFile(l, { filename: '/etc/cron.d/pwned' })]],
  ['a name with backslashes', (l) => [announcedFile(l, { filename: '..\\..\\pwned.whl' })]],
  ['a name with NUL', (l) => [announcedFile(l, { filename: 'demo-1.0-py3-none-any.whl\0' })]],
  ['an empty name', (l) => [announcedFile(l, { filename: '' })]],
  ['a name of 300 letters', (l) => [announcedFile(l, { filename: `${'x'.repeat(300)}.whl` })]],
  ['a negative size', (l) => [announcedFile(l, { size: -1 })]],
  ['a size of half a byte', (l) => [announcedFile(l, { size: 0.5 })]],
  ['a size of NaN', (l) => [announcedFile(l, { size: NaN })]],
  [
    'a system package that is a command',
    (l) => [announcedFile(l, { dependencies: { apt: ['x; rm -rf /'] } })],
  ],
  [
    'a system package that is an option',
    (l) => [announcedFile(l, { dependencies: { apt: ['--force-yes'] } })],
  ],
  ['a package manager that is a path', (l) => [announcedFile(l, { dependencies: { '../x': ['a'] } })]],
  [
    'ten thousand system packages',
    (l) => [announcedFile(l, { dependencies: { apt: Array.from({ length: 10_000 }, () => 'a') } })],
  ],
  ['a platform with a path', (l) => [announcedFile(l, { platform: '../x' })]],
  ['a version with a path', (l) => [announcedFile(l, { version: '../1.0' })]],
];

async function leaseOf(farm: HostileFarm, mallory: Mallory): Promise<MalloryLease> {
  const lease = await mallory.lease();
  farm.markLog();
  return lease;
}

const expectLogged = (t: Test, farm: HostileFarm, reason: RegExp, name: string) =>
  until(() => reason.test(farm.newLogs())).catch(() => {
    t.fail(`the log says nothing about ${name}: ${farm.newLogs().slice(-500)}`);
  });

void t.test('the reports of a slave are checked against its leases', async (t) => {
  const farm = await startHostileFarm(t, REFUSED_FILES.length + 30);
  const { mallory, db, addresses } = farm;

  await t.test('files that do not belong to the lease fail the build', async (t) => {
    for (const [name, files, reason] of REFUSED_FILES) {
      const lease = await leaseOf(farm, mallory);
      t.match(await mallory.built(lease, files(lease)), ['DONE'], name);
      await expectLogged(t, farm, reason, name);
    }
    const [row] = await db.query(`select count(*)::int from builds where failure_class = 'wrong-wheel'`);
    t.same(row, { count: REFUSED_FILES.length }, 'each is a failed build');
    t.same(await db.query('select from files'), []);
  });

  await t.test('invalid reports are refused', async (t) => {
    const lease = await leaseOf(farm, mallory);
    for (const [name, files] of INVALID_FILES) {
      farm.markLog();
      t.match(await mallory.built(lease, files(lease)), ['ERROR', 'PIW_MESSAGE_INVALID', /files/], name);
      await expectLogged(t, farm, /files must be/, name);
    }
    t.match(
      await mallory.send(lease.session, 'BUSY', lease.lease, STATS),
      ['CONT'],
      'it still holds the lease',
    );
    await mallory.built(lease, [], false);
  });

  await t.test('leases of other slaves cannot be used', async (t) => {
    const victim = new Mallory(await RawNats.connect(addresses.victim));
    t.teardown(() => {
      victim.raw.close();
    });
    const victimLease = await victim.lease('v');
    const ownLease = await leaseOf(farm, mallory);
    const stolen: MalloryLease = { ...ownLease, lease: victimLease.lease };
    t.match(
      await mallory.send(ownLease.session, 'BUSY', victimLease.lease, STATS),
      ['DONE'],
      'BUSY with a stolen lease',
    );
    t.match(
      await mallory.built(stolen, [announcedFile({ ...victimLease, session: '' })]),
      ['DONE'],
      'BUILT with a stolen lease',
    );
    await expectLogged(
      t,
      farm,
      /result dropped: the slave no longer holds the lease slave=\d+ label=mallory lease=\d+/,
      'a stolen lease',
    );
    t.match(
      await mallory.send(ownLease.session, 'SENT', victimLease.lease, 'x.whl'),
      ['ERROR', 'PIW_UNKNOWN_TRANSFER'],
      'SENT with a stolen lease',
    );
    for (const lease of [1, 999_999_999, Number.MAX_SAFE_INTEGER]) {
      t.match(await mallory.send(ownLease.session, 'BUSY', lease, STATS), ['DONE'], `BUSY with ${lease}`);
      t.match(
        await mallory.built({ ...ownLease, lease }, [announcedFile(ownLease)]),
        ['DONE'],
        `BUILT with ${lease}`,
      );
      t.match(await mallory.send(ownLease.session, 'SENT', lease, 'x.whl'), [
        'ERROR',
        'PIW_UNKNOWN_TRANSFER',
      ]);
    }
    t.match(
      await victim.send('v', 'BUSY', victimLease.lease, STATS),
      ['CONT'],
      'the victim still holds its lease',
    );
    t.match(await victim.built(victimLease, [], false), ['DONE']);
    const [row] = await db.query('select lease from builds order by build_id desc limit 1');
    t.match(row, { lease: String(victimLease.lease) }, 'its result is the one that counts');
  });

  await t.test('a lease cannot be used in another session of the same user', async (t) => {
    const lease = await leaseOf(farm, mallory);
    await mallory.hello('two');
    t.match(
      await mallory.send('two', 'BUSY', lease.lease, STATS),
      ['DONE'],
      'a lease belongs to a session, not to a user',
    );
    t.match(await mallory.built({ ...lease, session: 'two' }, [announcedFile(lease)]), ['DONE']);
    t.match(await mallory.send(lease.session, 'BUSY', lease.lease, STATS), ['CONT']);
    t.match(await mallory.send('never', 'IDLE', STATS), ['ERROR', 'PIW_UNKNOWN_SLAVE'], 'no HELLO');
    t.match(await mallory.send('never', 'SENT', lease.lease, 'x.whl'), ['ERROR', 'PIW_UNKNOWN_SLAVE']);
    await expectLogged(t, farm, /never.*this session has not said HELLO/, 'no HELLO');
    await mallory.built(lease, [], false);
  });

  await t.test('files that were not requested, and replays, change nothing', async (t) => {
    const lease = await leaseOf(farm, mallory);
    const wheelFolder = await mkdtemp(join(tmpdir(), 'piw-replay-'));
    const path = await makeWheel(wheelFolder, { name: lease.package, version: lease.version });
    const contents = await readFile(path);
    const tuple = announcedFile(lease, { size: contents.length }).map((field) =>
      field === HASH ? sha256(contents) : field,
    );
    const filename = String(tuple[0]);
    t.match(
      await mallory.send(lease.session, 'SENT', lease.lease, filename),
      ['ERROR', 'PIW_UNKNOWN_TRANSFER'],
      'before BUILT',
    );
    const answer = await mallory.built(lease, [tuple]);
    t.match(answer, ['SEND', filename]);
    t.match(
      await mallory.send(lease.session, 'SENT', lease.lease, 'demo-9-py3-none-any.whl'),
      ['ERROR', 'PIW_UNKNOWN_TRANSFER'],
      'a file that was not requested',
    );
    await expectLogged(
      t,
      farm,
      /no transfer of demo-9-py3-none-any.whl is in progress/,
      'a file that was not requested',
    );
    t.match(
      await mallory.send(lease.session, 'SENT', lease.lease, filename),
      ['SEND', filename],
      'nothing has arrived',
    );
    await expectLogged(t, farm, /bytes of .* are missing/, 'nothing has arrived');
    await mallory.deliver(lease.session, String(answer[2]), contents);
    t.match(await mallory.send(lease.session, 'SENT', lease.lease, filename), ['DONE']);
    const builds = async () => await db.query('select build_id from builds');
    const files = async () => await db.query('select filename, sha256, requires_python from files');
    const before = [await builds(), await files()];
    t.match(
      before[1]?.at(-1),
      { requires_python: '>=3.8' },
      'the wheel’s own metadata counts, not what the slave said',
    );
    t.match(
      await mallory.send(lease.session, 'SENT', lease.lease, filename),
      ['ERROR', 'PIW_UNKNOWN_TRANSFER'],
      'SENT after DONE',
    );
    t.match(await mallory.built(lease, [tuple]), ['DONE'], 'BUILT after DONE');
    t.match(
      await mallory.built(lease, [announcedFile(lease, { size: 77 })]),
      ['DONE'],
      'another BUILT after DONE',
    );
    t.match(await mallory.built(lease, [], false), ['DONE'], 'a failure after DONE');
    t.match(await mallory.send(lease.session, 'BUSY', lease.lease, STATS), ['DONE'], 'BUSY after DONE');
    t.match(
      await mallory.send(lease.session, 'file.HELLO', String(answer[2])),
      ['ERROR', 'PIW_UNKNOWN_TRANSFER'],
      'the file after DONE',
    );
    t.match(await mallory.send(lease.session, 'file.CHUNK', 0, 10), [/ERROR|NOBODY/], 'a chunk after DONE');
    t.same([await builds(), await files()], before, 'nothing has changed');
  });

  await t.test('false descriptions of itself are refused', async (t) => {
    farm.markLog();
    for (const [name, overrides, reason] of [
      ['another version', { version: '9.9/999' }, /install the same version|with protocol/],
      ['no version', { version: 'x' }, /with slave protocol/],
      ['a version of a million', { version: '0.1.0/1e6' }, /with slave protocol/],
      [
        'a Python of the future',
        { abi_tag: 'cp3999999999', py_version_tag: 'cp3999999999' },
        /there is no Python/,
      ],
      ['an ABI that does not exist', { abi_tag: 'abi3' }, /there is no Python/],
      ['another Python than its ABI', { py_version_tag: 'cp27' }, /there is no Python/],
      ['a platform of 200 letters', { platform_tag: 'x'.repeat(200) }, /there is no Python/],
      ['any platform', { platform_tag: 'linux_x86_64.win32' }, /there is no Python/],
    ] as const) {
      t.match(await mallory.hello(`self-${name.length}`, overrides), ['BYE', reason], name);
    }
    await expectLogged(
      t,
      farm,
      /slave refused user=mallory label=mallory reason="it runs 9.9\/999/,
      'another version',
    );
    await expectLogged(
      t,
      farm,
      /slave refused user=mallory label=mallory reason="there is no Python cp27/,
      'another Python',
    );
    t.match(await mallory.hello('absurd', { build_timeout_s: 1e9, busy_interval_s: 1e9, clock: 8e15 }), [
      'HELLO',
    ]);
    const lease = await mallory.lease('absurd');
    const [row] = await db.query<{ left: number }>(
      'select extract(epoch from leased_until - now())::float8 as left from queue where lease = $1',
      [lease.lease],
    );
    t.ok((row?.left ?? Infinity) <= 3600, 'a lease lasts at most an hour');
    await mallory.built(lease, [], false);
    const targets = await db.query('select abi, platform from targets');
    t.equal(targets.length, 1, 'nothing is built for the targets that it made up');
  });

  await farm.assertUnharmed(t);
});
