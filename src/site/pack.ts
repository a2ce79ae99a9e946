import { existsSync, openSync, closeSync, fstatSync, readFileSync, renameSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { guarded, removeTemporary, writeTemporary } from './atomic.js';
import { PACKED, projectPath, simplePath } from './layout.js';

const compress = promisify(gzip);
/** What is smaller fits into one packet as it is, bytes. */
const WORTH_IT = 1400;

/**
 * Makes the compressed forms of a package's pages, or (null) of the root's, for servers that send them as they
 * stand; not of index.v1_html, which hardly any client asks for. Nobody else may write these pages meanwhile. What is as it was isn't compressed again.
 */
export async function pack(outputPath: string, name: string | null): Promise<void> {
  const index = join(outputPath, simplePath(name ?? undefined));
  const folders: [folder: string, files: string[]][] = [[index, ['index.html', 'index.v1_json']]];
  if (name !== null) {
    const project = join(outputPath, projectPath(name));
    folders.push([project, ['index.html']], [join(project, 'json'), ['index.json']]);
  }
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
    utimesSync(temporary, page.mtimeS, page.mtimeS);
    renameSync(temporary, path + PACKED);
  });
}

function read(path: string): { bytes: Buffer; mtimeS: number } | undefined {
  if (!existsSync(path)) return undefined;
  const file = openSync(path, 'r');
  try {
    return { bytes: readFileSync(file), mtimeS: fstatSync(file).mtimeMs / 1000 };
  } finally {
    closeSync(file);
  }
}
