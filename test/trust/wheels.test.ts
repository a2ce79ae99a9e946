import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { until } from '../helpers/bus.js';
import { sha256 } from '../helpers/wheel.js';
import { startHostileFarm } from './stage.js';
import { buildZip, type ZipEntry } from './zip.js';

t.setTimeout(280_000);

const TAG = 'py3-none-any';

/** The two entries that a wheel has to have; what is given stands in the place of what would be right. */
function distInfo(
  version: string,
  overrides: { folder?: string; metadata?: string; wheel?: string; name?: string } = {},
): ZipEntry[] {
  const { folder = `demo-${version}.dist-info`, name = 'demo' } = overrides;
  const metadata = overrides.metadata ?? `Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\n`;
  const wheel = overrides.wheel ?? `Wheel-Version: 1.0\nTag: ${TAG}\n`;
  return [
    { name: `${folder}/METADATA`, data: metadata },
    { name: `${folder}/WHEEL`, data: wheel },
  ];
}

const wheelWith = (version: string, ...entries: readonly ZipEntry[]) =>
  buildZip([...entries, ...distInfo(version)]);
const wheelWithFile =
  (name: string | Buffer, overrides: Partial<ZipEntry> = {}) =>
  (version: string) =>
    wheelWith(version, { name, data: 'print("pwned")', ...overrides });
const ZEROS = Buffer.alloc(64 * 1024 * 1024);

/** Each archive by its name, made for the version of the lease, and why it is refused. */
const REFUSED_WHEELS: readonly (readonly [string, (version: string) => Buffer, RegExp])[] = [
  ['an entry above its folder', wheelWithFile('../pwned'), /leads out|invalid relative path/],
  [
    'an entry far above its folder',
    wheelWithFile('demo/../../../../../../tmp/pwned'),
    /leads out|invalid relative path/,
  ],
  ['an entry above by its end', wheelWithFile('demo/..'), /leads out|invalid relative path/],
  ['an absolute entry', wheelWithFile('/tmp/pwned'), /leads out|absolute path/],
  ['an entry on another drive', wheelWithFile('C:/pwned'), /leads out|absolute path/],
  ['an entry with backslashes', wheelWithFile('demo\\..\\..\\pwned'), /leads out|invalid characters/],
  ['an entry with NUL', wheelWithFile('demo/x.py\0.txt'), /leads out/],
  ['an entry with a line’s end', wheelWithFile('demo/x\n.py'), /leads out/],
  ['an entry with two names', wheelWithFile('demo/x.py', { otherName: 'demo/y.py' }), /another name as well/],
  [
    'an entry with a better name',
    wheelWithFile('../pwned', { otherName: 'demo/y.py' }),
    /leads out|another name/,
  ],
  ['a link', wheelWithFile('demo/x', { mode: 0o120777, data: '/etc/passwd' }), /is a link/],
  ['a link above its folder', wheelWithFile('demo/x', { mode: 0o120777, data: '../../../etc' }), /is a link/],
  ['a device', wheelWithFile('demo/x', { mode: 0o060666 }), /is no file/],
  ['a named pipe', wheelWithFile('demo/x', { mode: 0o010666 }), /is no file/],
  ['an encrypted entry', wheelWithFile('demo/x', { flags: 1, method: 8 }), /encrypted/],
  ['an entry packed in a way of its own', wheelWithFile('demo/x', { method: 14 }), /unknown way/],
  [
    'two entries of one name',
    (v) => wheelWith(v, { name: 'demo/x.py', data: 'a' }, { name: 'demo/x.py', data: 'b' }),
    /two entries "demo\/x.py"/,
  ],
  ['two of METADATA', (v) => buildZip([...distInfo(v), ...distInfo(v)]), /two entries/],
  [
    'two dist-info folders',
    (v) => buildZip([...distInfo(v), ...distInfo(v, { folder: 'evil-1.0.dist-info' })]),
    /more than one dist-info/,
  ],
  [
    'a bomb',
    (v) =>
      wheelWith(
        v,
        ...Array.from({ length: 10 }, (_, i) => ({ name: `x${String(i)}`, data: ZEROS, method: 8 })),
      ),
    /too large/,
  ],
  [
    'a bomb that says that it is none',
    (v) =>
      buildZip([
        { name: `demo-${v}.dist-info/METADATA`, data: ZEROS, method: 8, size: 100 },
        ...distInfo(v).slice(1),
      ]),
    /too many bytes|more bytes|size/i,
  ],
  [
    'entries upon each other',
    (v) =>
      wheelWith(
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
      buildZip([
        { name: `demo-${v}.dist-info/METADATA`, data: 'x', size: 1_000_000_000, method: 8 },
        ...distInfo(v).slice(1),
      ]),
    /METADATA is too large|too large/,
  ],
  ['METADATA of another package', (v) => buildZip(distInfo(v, { name: 'other' })), /METADATA is of "other"/],
  [
    'METADATA of another version',
    (v) => buildZip(distInfo(v, { metadata: 'Name: demo\nVersion: 9.9\n' })),
    /METADATA says version "9.9"/,
  ],
  [
    'METADATA without a name',
    (v) => buildZip(distInfo(v, { metadata: `Version: ${v}\n` })),
    /METADATA is of ""/,
  ],
  [
    'METADATA that is no text',
    (v) => buildZip(distInfo(v, { metadata: '\x00\x01\x02' })),
    /METADATA is of ""/,
  ],
  [
    'a dist-info folder of another package',
    (v) => buildZip(distInfo(v, { folder: `other-${v}.dist-info` })),
    /dist-info folder is of another/,
  ],
  ['no METADATA', (v) => buildZip(distInfo(v).slice(1)), /no METADATA or no WHEEL/],
  ['no WHEEL', (v) => buildZip(distInfo(v).slice(0, 1)), /no METADATA or no WHEEL/],
  [
    'WHEEL of another tag',
    (v) => buildZip(distInfo(v, { wheel: 'Tag: cp312-cp312-linux_x86_64\n' })),
    /its WHEEL says cp312/,
  ],
  [
    'WHEEL with a line that stands for more tags than there is memory',
    (v) =>
      buildZip(
        distInfo(v, { wheel: `Tag: ${Array(3).fill(Array(100_000).fill('a').join('.')).join('-')}\n` }),
      ),
    /more than 10000 tags/,
  ],
  ['nothing at all within', () => buildZip([]), /no METADATA|dist-info/],
  ['no archive', () => Buffer.from('#!/bin/sh\nrm -rf /\n'), /end of central directory|signature/i],
  [
    'an archive that was cut off',
    (v) => wheelWith(v, { name: 'x', data: Buffer.alloc(1000) }).subarray(0, -40),
    /end of central directory|signature/i,
  ],
  [
    'an archive without its beginning',
    (v) => wheelWith(v, { name: 'x', data: Buffer.alloc(1000) }).subarray(200),
    /.+/,
  ],
  [
    'an archive of 65,000 entries that has two',
    (v) => buildZip(distInfo(v), { entryCount: 65_000 }),
    /signature|EOF|invalid/i,
  ],
  ['a single byte', () => Buffer.from('P'), /end of central directory|signature/i],
];

void t.test('a wheel that is not what it says is never published', async (t) => {
  const farm = await startHostileFarm(t, REFUSED_WHEELS.length + 2);
  const { mallory, db, output } = farm;
  const published = () =>
    existsSync(join(output, 'simple/demo'))
      ? readdirSync(join(output, 'simple/demo')).filter((name) => name.endsWith('.whl'))
      : [];
  for (const [name, make, why] of REFUSED_WHEELS) {
    await t.test(name, async (t) => {
      const lease = await mallory.lease();
      if (lease.package !== 'demo') {
        await mallory.built(lease, [], false);
        Object.assign(lease, await mallory.lease());
      }
      const { session, version } = lease;
      const contents = make(version);
      const filename = `demo-${version}-${TAG}.whl`;
      farm.markLog();
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
      const answer = await mallory.built(lease, [tuple]);
      t.match(answer, ['SEND', filename], 'it looks as it ought to');
      t.match(await mallory.deliver(session, String(answer[2]), contents), ['DONE'], 'it has arrived');
      t.match(await mallory.send(session, 'SENT', lease.lease, filename), ['DONE']);
      await until(() => farm.newLogs().includes('a file was refused'));
      t.match(farm.newLogs(), why, 'the log says why');
      t.same(published(), [], 'and it is nowhere');
    });
  }
  const results = await db.query<{ status: boolean; failure_class: string; output: string }>(
    `select status, failure_class, output from builds where failure_class <> 'other'`,
  );
  t.equal(results.length, REFUSED_WHEELS.length);
  t.ok(results.every(({ status, failure_class }) => !status && failure_class === 'wrong-wheel'));
  t.ok(results.every(({ output: text }) => text.includes('piw: the master refused the result')));
  await farm.assertUnharmed(t);
});
