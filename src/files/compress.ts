import { existsSync, fstatSync, readFileSync, rmSync, statSync, utimesSync, type Stats } from 'node:fs';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { GZIP_SUFFIX, moveIntoPlace, withOpenFile, writeTemporary } from './atomic.js';
import { withDiskErrors } from './disk.js';

const gzipAsync = promisify(gzip);
/** Smaller files fit into one packet uncompressed. */
const MIN_COMPRESSIBLE_BYTES = 1400;

/**
 * Writes the compressed form of a file, unless it has one or is small. A file that is replaced in the meantime gets
 * none. Throws the errors of diskError().
 */
export async function compressFile(path: string): Promise<void> {
  const original = withOpenFile(path, (file) => ({ bytes: readFileSync(file), stats: fstatSync(file) }));
  if (!original || original.bytes.length < MIN_COMPRESSIBLE_BYTES || existsSync(path + GZIP_SUFFIX)) return;
  const { bytes, stats } = original;
  const temporary = writeTemporary(path, await gzipAsync(bytes, { level: 6 }));
  withDiskErrors(path, () => {
    try {
      utimesSync(temporary, stats.mtimeMs / 1000, stats.mtimeMs / 1000);
      // If the file was replaced in the meantime, this form would stay next to a file that it doesn't match.
      if (isUnchanged(path, stats)) moveIntoPlace(temporary, path + GZIP_SUFFIX);
    } finally {
      rmSync(temporary, { force: true });
    }
    if (!isUnchanged(path, stats)) rmSync(path + GZIP_SUFFIX, { force: true });
  });
}

function isUnchanged(path: string, { ino, mtimeMs }: Stats): boolean {
  const current = statSync(path, { throwIfNoEntry: false });
  return current?.ino === ino && current.mtimeMs === mtimeMs;
}
