import t from 'tap';
import { readWheel } from '../../src/wheels/wheel.js';
import { buildZip, type ZipEntry } from '../trust/zip.js';

const NAME = 'demo-1.0-py3-none-any.whl';
const METADATA = 'Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n';

/** Returns the archive of a wheel with these tags, and these additional entries. */
const wheelOf = (tags: readonly string[], extra: readonly ZipEntry[] = [], metadata = METADATA): Buffer =>
  buildZip([
    { name: 'demo-1.0.dist-info/METADATA', data: metadata },
    { name: 'demo-1.0.dist-info/WHEEL', data: tags.map((tag) => `Tag: ${tag}\n`).join('') },
    ...extra,
  ]);

const repeated = (word: string, times: number): string => Array.from({ length: times }, () => word).join('.');

t.test('single tags and compressed tag sets are equivalent', async (t) => {
  const filename = 'demo-1.0-py2.py3-none-any.whl';
  for (const tags of [['py2.py3-none-any'], ['py2-none-any', 'py3-none-any'], []])
    t.equal((await readWheel(wheelOf(tags), { filename })).py, 'py2.py3', String(tags));
  await t.rejects(readWheel(wheelOf(['py3-none-any']), { filename }), { code: 'PIW_BAD_WHEEL' });
});

t.test('a line that expands to more tags than fit in memory is refused', async (t) => {
  const set = repeated('a', 100_000);
  for (const tags of [
    [`${set}-${set}-${set}`],
    Array.from({ length: 200 }, () => `${repeated('a', 2000)}-b-c`),
  ])
    await t.rejects(readWheel(wheelOf(tags), { filename: NAME }), {
      code: 'PIW_BAD_WHEEL',
      message: /more than 10000 tags/,
    });
  const filename = `demo-1.0-${repeated('a', 35)}-${repeated('b', 35)}-${repeated('c', 35)}.whl`;
  await t.rejects(readWheel(wheelOf([]), { filename }), { message: /more than 10000 tags/ });
});

t.test('names of entries that are too long for a path are refused', async (t) => {
  const entry = (length: number): ZipEntry => ({ name: 'x'.repeat(length) });
  await t.resolves(readWheel(wheelOf([], [entry(4096)]), { filename: NAME }));
  await t.rejects(readWheel(wheelOf([], [entry(4097)]), { filename: NAME }), { message: /too long/ });
  const many = Array.from({ length: 9000 }, (_, i) => ({ name: String(i).padStart(4000, '0') }));
  await t.rejects(readWheel(wheelOf([], many), { filename: NAME }), { message: /too long/ });
});

t.test('a version of the length of METADATA is refused', async (t) => {
  const metadata = `Metadata-Version: 2.1\nName: demo\nVersion: 1.0${'.0'.repeat(100_000)}\n`;
  await t.rejects(readWheel(wheelOf([], [], metadata), { filename: NAME }), {
    message: /says version "1\.0/,
  });
});

t.test('METADATA that installers refuse is refused, with the reason', async (t) => {
  for (const [metadata, message] of [
    ['Metadata-Version: 9.0\nName: demo\nVersion: 1.0\n', /its METADATA has the unknown version "9\.0"/],
    ['Metadata-Version: 2.1\nName: UNKNOWN\nVersion: 0.0.0\n', /no project name/],
  ] as const)
    await t.rejects(readWheel(wheelOf([], [], metadata), { filename: NAME }), {
      code: 'PIW_BAD_WHEEL',
      message,
    });
  const latin1 = buildZip([
    { name: 'demo-1.0.dist-info/METADATA', data: Buffer.from(`${METADATA}Summary: caf\u00e9\n`, 'latin1') },
    { name: 'demo-1.0.dist-info/WHEEL', data: '' },
  ]);
  await t.rejects(readWheel(latin1, { filename: NAME }), { message: /its METADATA is not UTF-8/ });
});

t.test('a Requires-Python that installers cannot parse is not passed on', async (t) => {
  const read = async (specifier: string) =>
    (await readWheel(wheelOf([], [], `${METADATA}Requires-Python: ${specifier}\n`), { filename: NAME }))
      .requiresPython;
  for (const valid of ['>=3.8', '>=2.7, !=3.0.*, !=3.1.*, <4', '~=3.9', '==3.11.*', '>=3.8.0rc1', '===3.11'])
    t.equal(await read(valid), valid);
  for (const invalid of ['>=3.', '3.8', '>=3.x', '>=3.8 <4', '>3.*', 'python', '>=3.8; sys_platform'])
    t.equal(await read(invalid), null, invalid);
});
