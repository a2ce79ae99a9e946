import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { removeStaleTemporaries } from '../files/atomic.js';
import { compressFile } from '../files/compress.js';
import { projectPath, simplePath } from './layout.js';
import { removeStalePypi } from './simple/pypi-files.js';

/**
 * Writes the compressed forms of a package's pages, or of the root's pages if `name` is null, for servers that send
 * precompressed files. index.v1_html gets none: hardly any client requests it. Also removes the package's old pages of
 * PyPI's JSON API.
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
    for (const file of files) await compressFile(join(folder, file));
    removeStaleTemporaries(folder);
  }
}
