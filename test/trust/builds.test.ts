import t, { type Test } from 'tap';
import { until } from '../helpers/bus.js';
import { RawNats } from '../helpers/raw-nats.js';
import { makeWheel, sha256 } from '../helpers/wheel.js';
import { Mallory, STATS, stage, type Lease, type Stage } from './stage.js';
import { mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

t.setTimeout(280_000);

const HASH = 'f'.repeat(64);

interface Announced {
  readonly filename?: string;
  readonly size?: number;
  readonly name?: string;
  readonly version?: string;
  readonly py?: string;
  readonly abi?: string;
  readonly platform?: string;
  readonly dependencies?: unknown;
}

/** A file's state as BUILT announces it: right for the lease, unless something else is given. */
function announced(lease: Lease, its: Announced = {}): readonly unknown[] {
  const { name = lease.package, version = lease.version, py = 'py3', abi = 'none', platform = 'any' } = its;
  const {
    filename = `${name}-${version}-${py}-${abi}-${platform}.whl`,
    size = 1000,
    dependencies = {},
  } = its;
  return [filename, size, HASH, name, version, py, abi, platform, null, dependencies, false];
}

/** What BUILT announces, and why it is refused: of the slave's own word, or for what it is not. */
const FILES: readonly (readonly [string, (lease: Lease) => readonly (readonly unknown[])[], RegExp])[] = [
  ['another package’s wheel', (l) => [announced(l, { name: 'pip' })], /is not of (?:demo|other)/],
  ['a package’s name that begins alike', (l) => [announced(l, { name: `${l.package}_evil` })], /is not of/],
  ['another version', (l) => [announced(l, { version: '99.0' })], /is not of version/],
  ['a local version', (l) => [announced(l, { version: `${l.version}+evil` })], /is not of version/],
  [
    'a platform that it never said',
    (l) => [announced(l, { platform: 'linux_armv7l' })],
    /is for linux_armv7l/,
  ],
  [
    'a platform beside its own',
    (l) => [announced(l, { platform: 'linux_x86_64.win_amd64' })],
    /is for win_amd64/,
  ],
  [
    'every manylinux',
    (l) => [announced(l, { platform: 'manylinux2014_x86_64' })],
    /is for manylinux2014_x86_64/,
  ],
  ['an ABI that it never said', (l) => [announced(l, { py: 'cp312', abi: 'cp312' })], /is for cp312/],
  ['an ABI beside its own', (l) => [announced(l, { py: 'cp311.cp313', abi: 'cp311.cp313' })], /is for cp313/],
  ['a free-threaded ABI', (l) => [announced(l, { py: 'cp311', abi: 'cp311t' })], /is for cp311t/],
  ['PyPy’s ABI', (l) => [announced(l, { py: 'pp39', abi: 'pypy39_pp73' })], /is for pypy39_pp73/],
  ['another Python without an ABI', (l) => [announced(l, { py: 'pp39' })], /is for pp39/],
  ['a later Python with its own ABI', (l) => [announced(l, { py: 'cp399', abi: 'cp311' })], /is for cp399/],
  [
    'a stable ABI from a later Python on',
    (l) => [announced(l, { py: 'cp399', abi: 'abi3' })],
    /is for cp399/,
  ],
  ['Jython', (l) => [announced(l, { py: 'jy39' })], /is for jy39/],
  ['10 GB', (l) => [announced(l, { size: 10 * 1024 ** 3 })], /10737418240 bytes, more than/],
  [
    'three files of 1.9 GB',
    (l) =>
      ['1', '2', '3'].map((build) =>
        announced(l, { size: 1.9e9, filename: `${l.package}-${l.version}-${build}-py3-none-any.whl` }),
      ),
    /its files have 5700000000 bytes/,
  ],
  ['one file twice', (l) => [announced(l), announced(l)], /one file twice/],
  ['no wheel’s name', (l) => [announced(l, { filename: 'index.html' })], /no wheel's filename/],
  [
    'a name with a dot before it',
    (l) => [announced(l, { filename: `.${l.package}-${l.version}-py3-none-any.whl` })],
    /no wheel's filename/,
  ],
  [
    'the metadata of a wheel',
    (l) => [announced(l, { filename: `${l.package}-${l.version}-py3-none-any.whl.metadata` })],
    /no wheel's filename/,
  ],
  [
    'percent signs for a path',
    (l) => [announced(l, { filename: `..%2f${l.package}-${l.version}-py3-none-any.whl` })],
    /no wheel's filename/,
  ],
  [
    'a name with a line’s end… of Unicode',
    (l) => [announced(l, { filename: `${l.package}-${l.version}-py3-none-any.whl\u2028` })],
    /no wheel's filename/,
  ],
  [
    'a name of full-width letters',
    (l) => [announced(l, { filename: `ｄｅｍｏ-${l.version}-py3-none-any.whl` })],
    /no wheel's filename/,
  ],
  [
    'a name that is not the tags’',
    (l) => [announced(l, { filename: `${l.package}-${l.version}-cp311-cp311-linux_x86_64.whl` })],
    /its tags are not those of its name/,
  ],
];

/** What doesn't even reach the lease: the message is no message. */
const UNSPOKEN: readonly (readonly [string, (lease: Lease) => readonly unknown[]])[] = [
  ['more than 100 files', (l) => Array.from({ length: 101 }, () => announced(l))],
  ['a name with a path', (l) => [announced(l, { filename: '../../../etc/cron.d/pwned' })]],
  ['an absolute name', (l) => [announced(l, { filename: '/etc/cron.d/pwned' })]],
  ['a name with backslashes', (l) => [announced(l, { filename: '..\\..\\pwned.whl' })]],
  ['a name with NUL', (l) => [announced(l, { filename: 'demo-1.0-py3-none-any.whl\0' })]],
  ['an empty name', (l) => [announced(l, { filename: '' })]],
  ['a name of 300 letters', (l) => [announced(l, { filename: `${'x'.repeat(300)}.whl` })]],
  ['a size of less than nothing', (l) => [announced(l, { size: -1 })]],
  ['a size of half a byte', (l) => [announced(l, { size: 0.5 })]],
  ['a size of NaN', (l) => [announced(l, { size: NaN })]],
  ['a system’s package that is an order', (l) => [announced(l, { dependencies: { apt: ['x; rm -rf /'] } })]],
  ['a system’s package that is an option', (l) => [announced(l, { dependencies: { apt: ['--force-yes'] } })]],
  ['a package manager that is a path', (l) => [announced(l, { dependencies: { '../x': ['a'] } })]],
  [
    'ten thousand of the system’s packages',
    (l) => [announced(l, { dependencies: { apt: Array.from({ length: 10_000 }, () => 'a') } })],
  ],
  ['a platform with a path', (l) => [announced(l, { platform: '../x' })]],
  ['a version with a path', (l) => [announced(l, { version: '../1.0' })]],
];

async function leaseOf(its: Stage, mallory: Mallory): Promise<Lease> {
  const lease = await mallory.lease();
  its.mark();
  return lease;
}

const noted = (t: Test, its: Stage, why: RegExp, name: string) =>
  until(() => why.test(its.said())).catch(() => {
    t.fail(`nothing in the log of ${name}: ${its.said().slice(-500)}`);
  });

void t.test('what a slave reports is held against what it was asked for', async (t) => {
  const its = await stage(t, FILES.length + 30);
  const { mallory, db, addresses } = its;

  await t.test('files that are not the lease’s', async (t) => {
    for (const [name, files, why] of FILES) {
      const lease = await leaseOf(its, mallory);
      t.match(await mallory.built(lease, files(lease)), ['DONE'], name);
      await noted(t, its, why, name);
    }
    const [row] = await db.query(`select count(*)::int from builds where failure_class = 'wrong-wheel'`);
    t.same(row, { count: FILES.length }, 'each is a build that failed');
    t.same(await db.query('select from files'), []);
  });

  await t.test('reports that are none', async (t) => {
    const lease = await leaseOf(its, mallory);
    for (const [name, files] of UNSPOKEN) {
      its.mark();
      t.match(await mallory.built(lease, files(lease)), ['ERROR', 'PIW_MESSAGE_INVALID', /files/], name);
      await noted(t, its, /files: it must be/, name);
    }
    t.match(
      await mallory.tell(lease.session, 'BUSY', lease.lease, STATS),
      ['CONT'],
      'the build is still its own',
    );
    await mallory.built(lease, [], false);
  });

  await t.test('leases that are not its own', async (t) => {
    const victim = new Mallory(await RawNats.connect(addresses.victim));
    t.teardown(() => {
      victim.raw.close();
    });
    const precious = await victim.lease('v');
    const own = await leaseOf(its, mallory);
    const stolen: Lease = { ...own, lease: precious.lease };
    t.match(
      await mallory.tell(own.session, 'BUSY', precious.lease, STATS),
      ['DONE'],
      'BUSY with a stolen lease',
    );
    t.match(
      await mallory.built(stolen, [announced({ ...precious, session: '' })]),
      ['DONE'],
      'BUILT with one',
    );
    await noted(t, its, /result of lease \d+ is not wanted/, 'a stolen lease');
    t.match(
      await mallory.tell(own.session, 'SENT', precious.lease, 'x.whl'),
      ['ERROR', 'PIW_UNKNOWN_TRANSFER'],
      'SENT with one',
    );
    for (const lease of [1, 999_999_999, Number.MAX_SAFE_INTEGER]) {
      t.match(await mallory.tell(own.session, 'BUSY', lease, STATS), ['DONE'], `BUSY with ${String(lease)}`);
      t.match(
        await mallory.built({ ...own, lease }, [announced(own)]),
        ['DONE'],
        `BUILT with ${String(lease)}`,
      );
      t.match(await mallory.tell(own.session, 'SENT', lease, 'x.whl'), ['ERROR', 'PIW_UNKNOWN_TRANSFER']);
    }
    t.match(await victim.tell('v', 'BUSY', precious.lease, STATS), ['CONT'], 'the victim’s is still its own');
    t.match(await victim.built(precious, [], false), ['DONE']);
    const [row] = await db.query('select lease from builds order by build_id desc limit 1');
    t.match(row, { lease: String(precious.lease) }, 'and its result is the one that counts');
  });

  await t.test('another session of its own user', async (t) => {
    const one = await leaseOf(its, mallory);
    await mallory.hello('two');
    t.match(
      await mallory.tell('two', 'BUSY', one.lease, STATS),
      ['DONE'],
      'a lease is a session’s, and not a user’s',
    );
    t.match(await mallory.built({ ...one, session: 'two' }, [announced(one)]), ['DONE']);
    t.match(await mallory.tell(one.session, 'BUSY', one.lease, STATS), ['CONT']);
    t.match(await mallory.tell('never', 'IDLE', STATS), ['ERROR', 'PIW_UNKNOWN_SLAVE'], 'no HELLO');
    t.match(await mallory.tell('never', 'SENT', one.lease, 'x.whl'), ['ERROR', 'PIW_UNKNOWN_SLAVE']);
    await noted(t, its, /never.*this session has not said HELLO/, 'no HELLO');
    await mallory.built(one, [], false);
  });

  await t.test('files that were not asked for, and replays', async (t) => {
    const lease = await leaseOf(its, mallory);
    const folder = await mkdtemp(join(tmpdir(), 'piw-replay-'));
    const path = await makeWheel(folder, { name: lease.package, version: lease.version });
    const contents = await readFile(path);
    const tuple = announced(lease, { size: contents.length }).map((field) =>
      field === HASH ? sha256(contents) : field,
    );
    const filename = String(tuple[0]);
    t.match(
      await mallory.tell(lease.session, 'SENT', lease.lease, filename),
      ['ERROR', 'PIW_UNKNOWN_TRANSFER'],
      'before BUILT',
    );
    const told = await mallory.built(lease, [tuple]);
    t.match(told, ['SEND', filename]);
    t.match(
      await mallory.tell(lease.session, 'SENT', lease.lease, 'demo-9-py3-none-any.whl'),
      ['ERROR', 'PIW_UNKNOWN_TRANSFER'],
      'a file that was not asked for',
    );
    await noted(t, its, /no file demo-9-py3-none-any.whl under way/, 'a file that was not asked for');
    t.match(
      await mallory.tell(lease.session, 'SENT', lease.lease, filename),
      ['SEND', filename],
      'nothing has come',
    );
    await noted(t, its, /bytes of .* are missing/, 'nothing has come');
    await mallory.deliver(lease.session, String(told[2]), contents);
    t.match(await mallory.tell(lease.session, 'SENT', lease.lease, filename), ['DONE']);
    const builds = async () => await db.query('select build_id from builds');
    const files = async () => await db.query('select filename, sha256, requires_python from files');
    const before = [await builds(), await files()];
    t.match(
      before[1]?.at(-1),
      { requires_python: '>=3.8' },
      'what the wheel says counts, and not what the slave said',
    );
    t.match(
      await mallory.tell(lease.session, 'SENT', lease.lease, filename),
      ['ERROR', 'PIW_UNKNOWN_TRANSFER'],
      'SENT after DONE',
    );
    t.match(await mallory.built(lease, [tuple]), ['DONE'], 'BUILT after DONE');
    t.match(
      await mallory.built(lease, [announced(lease, { size: 77 })]),
      ['DONE'],
      'another BUILT after DONE',
    );
    t.match(await mallory.built(lease, [], false), ['DONE'], 'a failure after DONE');
    t.match(await mallory.tell(lease.session, 'BUSY', lease.lease, STATS), ['DONE'], 'BUSY after DONE');
    t.match(
      await mallory.tell(lease.session, 'file.HELLO', String(told[2])),
      ['ERROR', 'PIW_UNKNOWN_TRANSFER'],
      'the file after DONE',
    );
    t.match(await mallory.tell(lease.session, 'file.CHUNK', 0, 10), [/ERROR|NOBODY/], 'a chunk after DONE');
    t.same([await builds(), await files()], before, 'none of it has changed anything');
  });

  await t.test('what it says of itself', async (t) => {
    its.mark();
    for (const [name, over, why] of [
      ['another version', { version: '9.9/999' }, /install the same version|with protocol/],
      ['no version', { version: 'x' }, /with protocol/],
      ['a version of a million', { version: '0.1.0/1e6' }, /with protocol/],
      [
        'a Python of the future',
        { abi_tag: 'cp3999999999', py_version_tag: 'cp3999999999' },
        /there is no Python/,
      ],
      ['an ABI that is none', { abi_tag: 'abi3' }, /there is no Python/],
      ['another Python than its ABI', { py_version_tag: 'cp27' }, /there is no Python/],
      ['a platform of 200 letters', { platform_tag: 'x'.repeat(200) }, /there is no Python/],
      ['any platform', { platform_tag: 'linux_x86_64.win32' }, /there is no Python/],
    ] as const) {
      t.match(await mallory.hello(`self-${String(name.length)}`, over), ['BYE', why], name);
    }
    await noted(t, its, /a slave of version 9.9\/999 was refused/, 'another version');
    await noted(t, its, /a slave of mallory was refused: there is no Python cp27/, 'another Python');
    t.match(await mallory.hello('absurd', { build_timeout_s: 1e9, busy_interval_s: 1e9, clock: 8e15 }), [
      'HELLO',
    ]);
    const lease = await mallory.lease('absurd');
    const [row] = await db.query<{ left: number }>(
      'select extract(epoch from leased_until - now())::float8 as left from queue where lease = $1',
      [lease.lease],
    );
    t.ok((row?.left ?? Infinity) <= 3600, 'a lease is no longer than an hour');
    await mallory.built(lease, [], false);
    const targets = await db.query('select abi, platform from targets');
    t.equal(targets.length, 1, 'and nothing is built for what it made up');
  });

  await its.survived(t);
});
