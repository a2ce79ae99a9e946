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
import { codeOf } from '../wheels/disk.js';
import { guarded, removeTemporary, writeTemporary } from './atomic.js';
import { tidyPypi } from './pypi-files.js';
import { PACKED, projectPath, simplePath } from './layout.js';

const compress = promisify(gzip);
/** What is smaller fits into one packet as it is, bytes. */
const WORTH_IT = 1400;

/**
 * Makes the compressed forms of a package's pages, or (null) of the root's, for servers that send them as they
 * stand; not of index.v1_html, which hardly any client asks for. What is replaced meanwhile gets none. What is as it
 * was isn't compressed again. What a package's PyPI JSON was before is removed.
 */
export async function pack(outputPath: string, name: string | null): Promise<void> {
  const index = join(outputPath, simplePath(name ?? undefined));
  const folders: [folder: string, files: string[]][] = [[index, ['index.html', 'index.v1_json']]];
  if (name !== null) {
    const project = join(outputPath, projectPath(name));
    folders.push([project, ['index.html']], [join(project, 'json'), ['index.json']]);
  }
  if (name !== null) tidyPypi(outputPath, name);
  for (const [folder, files] of folders) {
    if (!existsSync(folder)) continue;
    for (const file of files) await packFile(join(folder, file));
    removeTemporary(folder);
  }
}

async function packFile(path: string): Promise<void> {
  const page = guarded(path, () => read(path));
  if (!page || page.bytes.length < WORTH_IT || existsSync(path + PACKED)) return;
  const temporary = writeTemporary(path, await compress(page.bytes, { level: 6 }));
  guarded(path, () => {
    try {
      const { mtimeMs } = page.stats;
      utimesSync(temporary, mtimeMs / 1000, mtimeMs / 1000);
      // If this took too long, another has the page by now: what is compressed here would be in its place for good.
      if (isStill(path, page.stats)) renameSync(temporary, path + PACKED);
    } finally {
      rmSync(temporary, { force: true });
    }
    if (!isStill(path, page.stats)) rmSync(path + PACKED, { force: true });
  });
}

function isStill(path: string, { ino, mtimeMs }: Stats): boolean {
  const now = statSync(path, { throwIfNoEntry: false });
  return now?.ino === ino && now.mtimeMs === mtimeMs;
}

function read(path: string): { bytes: Buffer; stats: Stats } | undefined {
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
