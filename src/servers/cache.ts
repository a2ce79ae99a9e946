import { homedir } from 'node:os';
import { join } from 'node:path';
import { makeFolders } from '../files/disk.js';

/** Where things are kept that can be had again: the user's cache; root's is one that others can read. */
export function cacheFolder(...names: readonly string[]): string {
  const root =
    process.getuid?.() === 0
      ? '/var/cache/piw'
      : join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'piw');
  const path = join(root, ...names);
  makeFolders(path, 0o755);
  return path;
}
