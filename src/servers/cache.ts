import { homedir } from 'node:os';
import { join } from 'node:path';
import { makeFolders } from '../files/disk.js';

/** Returns a folder in the user's cache, and creates it if it is missing. Root's cache is one that others can read. */
export function cacheFolder(...names: readonly string[]): string {
  const root =
    process.getuid?.() === 0
      ? '/var/cache/piw'
      : join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'piw');
  const path = join(root, ...names);
  makeFolders(path, 0o755);
  return path;
}
