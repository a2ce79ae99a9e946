import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { PiwError } from '../../src/errors.js';
import { undefinedIfMissing, withDiskErrors } from '../../src/files/disk.js';

const folder = mkdtempSync(join(tmpdir(), 'piw-disk-'));
const present = join(folder, 'present');
const missing = join(folder, 'missing');
writeFileSync(present, 'contents');

void t.test('a missing file is undefined, whether it is read at once or as a promise', async (t) => {
  t.equal(
    undefinedIfMissing(() => readFileSync(present, 'utf8')),
    'contents',
  );
  t.equal(await undefinedIfMissing(() => readFile(present, 'utf8')), 'contents');
  t.equal(
    undefinedIfMissing(() => readFileSync(missing)),
    undefined,
  );
  t.equal(await undefinedIfMissing(() => readFile(missing)), undefined);
  t.throws(() => undefinedIfMissing(() => readFileSync(folder)), { code: 'EISDIR' });
  await t.rejects(
    undefinedIfMissing(() => readFile(folder)),
    { code: 'EISDIR' },
  );
});

void t.test('an error of the file system is translated, whether it is thrown or rejected', async (t) => {
  const below = join(present, 'below');
  const expected = { code: 'PIW_NOT_WRITABLE', message: /can't be written: ENOTDIR/ };
  t.throws(() => withDiskErrors(below, () => readFileSync(below)), expected);
  await t.rejects(
    withDiskErrors(below, () => readFile(below)),
    expected,
  );
  const other = new PiwError('PIW_REFUSED', 'no');
  t.throws(
    () =>
      withDiskErrors(below, () => {
        throw other;
      }),
    other,
  );
  await t.rejects(
    withDiskErrors(below, () => Promise.reject(other)),
    other,
  );
});
