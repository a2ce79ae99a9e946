import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { until } from '../helpers/bus.js';
import { sha256 } from '../helpers/wheel.js';
import { stage } from './stage.js';
import { zip, type ZipEntry } from './zip.js';

t.setTimeout(280_000);

const TAG = 'py3-none-any';

/** The two entries that a wheel has to have; what is given stands in the place of what would be right. */
function info(
  version: string,
  its: { folder?: string; metadata?: string; wheel?: string; name?: string } = {},
): ZipEntry[] {
  const { folder = `demo-${version}.dist-info`, name = 'demo' } = its;
  const metadata = its.metadata ?? `Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\n`;
  const wheel = its.wheel ?? `Wheel-Version: 1.0\nTag: ${TAG}\n`;
  return [
    { name: `${folder}/METADATA`, data: metadata },
    { name: `${folder}/WHEEL`, data: wheel },
  ];
}

const inside = (version: string, ...entries: readonly ZipEntry[]) => zip([...entries, ...info(version)]);
const file =
  (name: string | Buffer, more: Partial<ZipEntry> = {}) =>
  (version: string) =>
    inside(version, { name, data: 'print("pwned")', ...more });
const ZEROS = Buffer.alloc(64 * 1024 * 1024);

/** Each archive by its name, made for the version of the lease, and why it is refused. */
const WHEELS: readonly (readonly [string, (version: string) => Buffer, RegExp])[] = [
  ['an entry above its folder', file('../pwned'), /leads out|invalid relative path/],
  [
    'an entry far above its folder',
    file('demo/../../../../../../tmp/pwned'),
    /leads out|invalid relative path/,
  ],
  ['an entry above by its end', file('demo/..'), /leads out|invalid relative path/],
  ['an absolute entry', file('/tmp/pwned'), /leads out|absolute path/],
  ['an entry on another drive', file('C:/pwned'), /leads out|absolute path/],
  ['an entry with backslashes', file('demo\\..\\..\\pwned'), /leads out|invalid characters/],
  ['an entry with NUL', file('demo/x.py\0.txt'), /leads out/],
  ['an entry with a line’s end', file('demo/x\n.py'), /leads out/],
  ['an entry with two names', file('demo/x.py', { otherName: 'demo/y.py' }), /another name as well/],
  ['an entry with a better name', file('../pwned', { otherName: 'demo/y.py' }), /leads out|another name/],
  ['a link', file('demo/x', { mode: 0o120777, data: '/etc/passwd' }), /is a link/],
  ['a link above its folder', file('demo/x', { mode: 0o120777, data: '../../../etc' }), /is a link/],
  ['a device', file('demo/x', { mode: 0o060666 }), /is no file/],
  ['a named pipe', file('demo/x', { mode: 0o010666 }), /is no file/],
  ['an encrypted entry', file('demo/x', { flags: 1, method: 8 }), /encrypted/],
  ['an entry packed in a way of its own', file('demo/x', { method: 14 }), /unknown way/],
  [
    'two entries of one name',
    (v) => inside(v, { name: 'demo/x.py', data: 'a' }, { name: 'demo/x.py', data: 'b' }),
    /two entries "demo\/x.py"/,
  ],
  ['two of METADATA', (v) => zip([...info(v), ...info(v)]), /two entries/],
  [
    'two dist-info folders',
    (v) => zip([...info(v), ...info(v, { folder: 'evil-1.0.dist-info' })]),
    /more than one dist-info/,
  ],
  [
    'a bomb',
    (v) =>
      inside(v, ...Array.from({ length: 10 }, (_, i) => ({ name: `x${String(i)}`, data: ZEROS, method: 8 }))),
    /too large/,
  ],
  [
    'a bomb that says that it is none',
    (v) =>
      zip([{ name: `demo-${v}.dist-info/METADATA`, data: ZEROS, method: 8, size: 100 }, ...info(v).slice(1)]),
    /too many bytes|more bytes|size/i,
  ],
  [
    'entries upon each other',
    (v) =>
      inside(
        v,
        { name: 'a', data: Buffer.alloc(100_000, 'x') },
        ...Array.from({ length: 50 }, (_, i) => ({
          name: `b${String(i)}`,
          data: Buffer.alloc(100_000, 'x'),
          sameAs: 0,
        })),
      ),
    /upon each other/,
  ],
  [
    'METADATA of a thousand million bytes',
    (v) =>
      zip([
        { name: `demo-${v}.dist-info/METADATA`, data: 'x', size: 1_000_000_000, method: 8 },
        ...info(v).slice(1),
      ]),
    /METADATA is too large|too large/,
  ],
  ['METADATA of another package', (v) => zip(info(v, { name: 'other' })), /METADATA is of "other"/],
  [
    'METADATA of another version',
    (v) => zip(info(v, { metadata: 'Name: demo\nVersion: 9.9\n' })),
    /METADATA says version "9.9"/,
  ],
  ['METADATA without a name', (v) => zip(info(v, { metadata: `Version: ${v}\n` })), /METADATA is of ""/],
  ['METADATA that is no text', (v) => zip(info(v, { metadata: '\x00\x01\x02' })), /METADATA is of ""/],
  [
    'a dist-info folder of another package',
    (v) => zip(info(v, { folder: `other-${v}.dist-info` })),
    /dist-info folder is of another/,
  ],
  ['no METADATA', (v) => zip(info(v).slice(1)), /no METADATA or no WHEEL/],
  ['no WHEEL', (v) => zip(info(v).slice(0, 1)), /no METADATA or no WHEEL/],
  [
    'WHEEL of another tag',
    (v) => zip(info(v, { wheel: 'Tag: cp312-cp312-linux_x86_64\n' })),
    /its WHEEL says cp312/,
  ],
  [
    'WHEEL with a line that stands for more tags than there is memory',
    (v) => zip(info(v, { wheel: `Tag: ${Array(3).fill(Array(100_000).fill('a').join('.')).join('-')}\n` })),
    /more than 10000 tags/,
  ],
  ['nothing at all within', () => zip([]), /no METADATA|dist-info/],
  ['no archive', () => Buffer.from('#!/bin/sh\nrm -rf /\n'), /end of central directory|signature/i],
  [
    'an archive that was cut off',
    (v) => inside(v, { name: 'x', data: Buffer.alloc(1000) }).subarray(0, -40),
    /end of central directory|signature/i,
  ],
  [
    'an archive without its beginning',
    (v) => inside(v, { name: 'x', data: Buffer.alloc(1000) }).subarray(200),
    /.+/,
  ],
  [
    'an archive of 65,000 entries that has two',
    (v) => zip(info(v), { entryCount: 65_000 }),
    /signature|EOF|invalid/i,
  ],
  ['a single byte', () => Buffer.from('P'), /end of central directory|signature/i],
];

void t.test('a wheel that is not what it says is never published', async (t) => {
  const its = await stage(t, WHEELS.length + 2);
  const { mallory, db, output } = its;
  const published = () =>
    existsSync(join(output, 'simple/demo'))
      ? readdirSync(join(output, 'simple/demo')).filter((name) => name.endsWith('.whl'))
      : [];
  for (const [name, make, why] of WHEELS) {
    await t.test(name, async (t) => {
      const lease = await mallory.lease();
      if (lease.package !== 'demo') {
        await mallory.built(lease, [], false);
        Object.assign(lease, await mallory.lease());
      }
      const { session, version } = lease;
      const contents = make(version);
      const filename = `demo-${version}-${TAG}.whl`;
      its.mark();
      const tuple = [
        filename,
        contents.length,
        sha256(contents),
        'demo',
        version,
        'py3',
        'none',
        'any',
        null,
        {},
        false,
      ];
      const told = await mallory.built(lease, [tuple]);
      t.match(told, ['SEND', filename], 'it looks as it ought to');
      t.match(await mallory.deliver(session, String(told[2]), contents), ['DONE'], 'it has arrived');
      t.match(await mallory.tell(session, 'SENT', lease.lease, filename), ['DONE']);
      await until(() => its.said().includes('a file was refused'));
      t.match(its.said(), why, 'the log says why');
      t.same(published(), [], 'and it is nowhere');
    });
  }
  const results = await db.query<{ status: boolean; failure_class: string; output: string }>(
    `select status, failure_class, output from builds where failure_class <> 'other'`,
  );
  t.equal(results.length, WHEELS.length);
  t.ok(results.every(({ status, failure_class }) => !status && failure_class === 'wrong-wheel'));
  t.ok(results.every(({ output: text }) => text.includes('piw: the master refused the result')));
  await its.survived(t);
});
