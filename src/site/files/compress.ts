import {
  closeSync,
  existsSync,
  fstatSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  type Stats,
} from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { codeOf } from '../../files/disk.js';
import { withDiskErrors, removeStaleTemporaries, writeTemporary } from './atomic.js';
import { removeStalePypi } from '../simple/pypi-files.js';
import { GZIP_SUFFIX, projectPath, simplePath } from '../layout.js';

const gzipAsync = promisify(gzip);
/** Smaller pages fit into one packet uncompressed. */
const MIN_COMPRESSIBLE_BYTES = 1400;

/**
 * Writes the compressed forms of a package's pages, or of the root's pages if `name` is null, for servers that send
 * precompressed files. index.v1_html gets none: hardly any client requests it. A page that is replaced in the meantime
 * gets none, and a page that has one is not compressed again. Also removes the package's old pages of PyPI's JSON API.
 */
export async function compressPages(outputPath: string, name: string | null): Promise<void> {
  const index = join(outputPath, simplePath(name ?? undefined));
  const folders: [folder: string, files: string[]][] = [[index, ['index.html', 'index.v1_json']]];
  if (name !== null) {
    const project = join(outputPath, projectPath(name));
    folders.push([project, ['index.html']], [join(project, 'json'), ['index.json']]);
  }
  if (name !== null) removeStalePypi(outputPath, name);
  for (const [folder, files] of folders) {
    if (!existsSync(folder)) continue;
    for (const file of files) await compressPage(join(folder, file));
    removeStaleTemporaries(folder);
  }
}

async function compressPage(path: string): Promise<void> {
  const page = withDiskErrors(path, () => readPage(path));
  if (!page || page.bytes.length < MIN_COMPRESSIBLE_BYTES || existsSync(path + GZIP_SUFFIX)) return;
  const temporary = writeTemporary(path, await gzipAsync(page.bytes, { level: 6 }));
  withDiskErrors(path, () => {
    try {
      const { mtimeMs } = page.stats;
      utimesSync(temporary, mtimeMs / 1000, mtimeMs / 1000);
      // If the page was replaced in the meantime, this form would stay next to a page that it doesn't match.
      if (isUnchanged(path, page.stats)) renameSync(temporary, path + GZIP_SUFFIX);
    } finally {
      rmSync(temporary, { force: true });
    }
    if (!isUnchanged(path, page.stats)) rmSync(path + GZIP_SUFFIX, { force: true });
  });
}

function isUnchanged(path: string, { ino, mtimeMs }: Stats): boolean {
  const current = statSync(path, { throwIfNoEntry: false });
  return current?.ino === ino && current.mtimeMs === mtimeMs;
}

function readPage(path: string): { bytes: Buffer; stats: Stats } | undefined {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  try {
    return { bytes: readFileSync(file), stats: fstatSync(file) };
  } finally {
    closeSync(file);
  }
}
