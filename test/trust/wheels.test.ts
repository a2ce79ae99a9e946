import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { until } from '../helpers/bus.js';
import { sha256 } from '../helpers/wheel.js';
import { startHostileFarm } from './stage.js';
import { buildZip, type ZipEntry } from './zip.js';

t.setTimeout(280_000);

const TAG = 'py3-none-any';

/** Returns the two entries that a wheel must have, correct except for `overrides`. */
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

/** Bad archives: a name, the archive for the version of the lease, and why it is refused. */
const REFUSED_WHEELS: readonly (readonly [string, (version: string) => Buffer, RegExp])[] = [
  ['an entry above its folder', wheelWithFile('../pwned'), /points outside|invalid relative path/],
  [
    'an entry far above its folder',
    wheelWithFile('demo/../../../../../../tmp/pwned'),
    /points outside|invalid relative path/,
  ],
  ['an entry that ends above its folder', wheelWithFile('demo/..'), /points outside|invalid relative path/],
  ['an absolute entry', wheelWithFile('/tmp/pwned'), /points outside|absolute path/],
  ['an entry on another drive', wheelWithFile('C:/pwned'), /points outside|absolute path/],
  ['an entry with backslashes', wheelWithFile('demo\\..\\..\\pwned'), /points outside|invalid characters/],
  ['an entry with NUL', wheelWithFile('demo/x.py\0.txt'), /points outside/],
  ['an entry with a newline', wheelWithFile('demo/x\n.py'), /points outside/],
  ['an entry with two names', wheelWithFile('demo/x.py', { otherName: 'demo/y.py' }), /has a second name/],
  [
    'an entry with a harmless second name',
    wheelWithFile('../pwned', { otherName: 'demo/y.py' }),
    /points outside|a second name/,
  ],
  ['a link', wheelWithFile('demo/x', { mode: 0o120777, data: '/etc/passwd' }), /is a link/],
  ['a link above its folder', wheelWithFile('demo/x', { mode: 0o120777, data: '../../../etc' }), /is a link/],
  ['a device', wheelWithFile('demo/x', { mode: 0o060666 }), /is not a regular file/],
  ['a named pipe', wheelWithFile('demo/x', { mode: 0o010666 }), /is not a regular file/],
  ['an encrypted entry', wheelWithFile('demo/x', { flags: 1, method: 8 }), /encrypted/],
  ['an entry with an unknown compression', wheelWithFile('demo/x', { method: 14 }), /unknown compression/],
  [
    'two entries of one name',
    (v) => wheelWith(v, { name: 'demo/x.py', data: 'a' }, { name: 'demo/x.py', data: 'b' }),
    /two entries named "demo\/x.py"/,
  ],
  ['two METADATA files', (v) => buildZip([...distInfo(v), ...distInfo(v)]), /two entries/],
  [
    'two dist-info folders',
    (v) => buildZip([...distInfo(v), ...distInfo(v, { folder: 'evil-1.0.dist-info' })]),
    /more than one dist-info/,
  ],
  [
    'a zip bomb',
    (v) => wheelWith(v, ...Array.from({ length: 10 }, (_, i) => ({ name: `x${i}`, data: ZEROS, method: 8 }))),
    /too large/,
  ],
  [
    'a zip bomb that declares a small size',
    (v) =>
      buildZip([
        { name: `demo-${v}.dist-info/METADATA`, data: ZEROS, method: 8, size: 100 },
        ...distInfo(v).slice(1),
      ]),
    /too many bytes|more bytes|size/i,
  ],
  [
    'overlapping entries',
    (v) =>
      wheelWith(
        v,
        { name: 'a', data: Buffer.alloc(100_000, 'x') },
        ...Array.from({ length: 50 }, (_, i) => ({
          name: `b${i}`,
          data: Buffer.alloc(100_000, 'x'),
          sameAs: 0,
        })),
      ),
    /its entries overlap/,
  ],
  [
    'METADATA of a billion bytes',
    (v) =>
      buildZip([
        { name: `demo-${v}.dist-info/METADATA`, data: 'x', size: 1_000_000_000, method: 8 },
        ...distInfo(v).slice(1),
      ]),
    /METADATA is too large|too large/,
  ],
  [
    'METADATA of another package',
    (v) => buildZip(distInfo(v, { name: 'other' })),
    /METADATA names the project "other"/,
  ],
  [
    'METADATA of another version',
    (v) => buildZip(distInfo(v, { metadata: 'Name: demo\nVersion: 9.9\n' })),
    /METADATA says version "9.9"/,
  ],
  [
    'METADATA without a name',
    (v) => buildZip(distInfo(v, { metadata: `Version: ${v}\n` })),
    /METADATA names the project ""/,
  ],
  [
    'METADATA that is not text',
    (v) => buildZip(distInfo(v, { metadata: '\x00\x01\x02' })),
    /METADATA names the project ""/,
  ],
  [
    'a dist-info folder of another package',
    (v) => buildZip(distInfo(v, { folder: `other-${v}.dist-info` })),
    /dist-info folder has a different name/,
  ],
  ['no METADATA', (v) => buildZip(distInfo(v).slice(1)), /no METADATA or no WHEEL/],
  ['no WHEEL', (v) => buildZip(distInfo(v).slice(0, 1)), /no METADATA or no WHEEL/],
  [
    'WHEEL of another tag',
    (v) => buildZip(distInfo(v, { wheel: 'Tag: cp312-cp312-linux_x86_64\n' })),
    /tags in its WHEEL differ from its filename: cp312/,
  ],
  [
    'WHEEL with a line that expands to more tags than fit in memory',
    (v) =>
      buildZip(
        distInfo(v, { wheel: `Tag: ${Array(3).fill(Array(100_000).fill('a').join('.')).join('-')}\n` }),
      ),
    /more than 10000 tags/,
  ],
  ['an empty archive', () => buildZip([]), /no METADATA|dist-info/],
  [
    'a file that is not an archive',
    () => Buffer.from('#!/bin/sh\nrm -rf /\n'),
    /end of central directory|signature/i,
  ],
  [
    'a truncated archive',
    (v) => wheelWith(v, { name: 'x', data: Buffer.alloc(1000) }).subarray(0, -40),
    /end of central directory|signature/i,
  ],
  [
    'an archive without its beginning',
    (v) => wheelWith(v, { name: 'x', data: Buffer.alloc(1000) }).subarray(200),
    /.+/,
  ],
  [
    'an archive that declares 65,000 entries and has two',
    (v) => buildZip(distInfo(v), { entryCount: 65_000 }),
    /signature|EOF|invalid/i,
  ],
  ['a single byte', () => Buffer.from('P'), /end of central directory|signature/i],
];

void t.test('a wheel that is not what it claims is never published', async (t) => {
  const farm = await startHostileFarm(t, REFUSED_WHEELS.length + 2);
  const { mallory, db, output } = farm;
  const published = () =>
    existsSync(join(output, 'simple/demo'))
      ? readdirSync(join(output, 'simple/demo')).filter((name) => name.endsWith('.whl'))
      : [];
  for (const [name, makeArchive, reason] of REFUSED_WHEELS) {
    await t.test(`${name} is refused`, async (t) => {
      const lease = await mallory.lease();
      if (lease.package !== 'demo') {
        await mallory.built(lease, [], false);
        Object.assign(lease, await mallory.lease());
      }
      const { session, version } = lease;
      const contents = makeArchive(version);
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
      t.match(answer, ['SEND', filename], 'its announcement is accepted');
      t.match(await mallory.deliver(session, String(answer[2]), contents), ['DONE'], 'it has arrived');
      t.match(await mallory.send(session, 'SENT', lease.lease, filename), ['DONE']);
      await until(() => farm.newLogs().includes('file refused'));
      t.match(farm.newLogs().replaceAll('\\"', '"'), reason, 'the log says why');
      t.same(published(), [], 'it is not published');
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
