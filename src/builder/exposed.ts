import { access, constants, lstat, realpath, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

/** What builds must not come by: files to read, and files and folders to write. */
export interface Guarded {
  /** With the slave's key in them. */
  readonly secrets: readonly string[];
  /** What the slave runs, and its home. */
  readonly kept: readonly string[];
}

/**
 * Of these, a sentence for each that a build could read or write which runs under this process's user,
 * without a sandbox: what this user can do, so can it. What is kept can be written, too, where its owner may allow
 * that, and where a folder above it can be written, for then it can be replaced. What isn't there is not exposed.
 */
export async function exposed({ secrets, kept }: Guarded): Promise<readonly string[]> {
  const found: string[] = [];
  for (const path of new Set(secrets)) {
    const isFile = await lstat(path).then(
      (its) => !its.isDirectory(),
      () => false,
    );
    if (isFile && (await can(path, constants.R_OK))) found.push(`it could read ${path}`);
  }
  for (const path of new Set(kept)) {
    const writable = await writableAt(path);
    if (writable !== undefined) found.push(`it could write ${writable}`);
  }
  return [...new Set(found)];
}

/** The path itself, or the nearest folder above it in which it could be replaced. */
async function writableAt(path: string): Promise<string | undefined> {
  let at = await realpath(path).catch(() => undefined);
  if (at === undefined) return undefined;
  if (await changeable(at)) return at;
  while (at !== dirname(at)) {
    at = dirname(at);
    // In a folder with the sticky bit, as /tmp is, nobody replaces what is another's.
    const { mode } = await stat(at);
    if ((mode & 0o1000) === 0 && (await changeable(at))) return at;
  }
  return undefined;
}

const changeable = async (path: string): Promise<boolean> =>
  (await stat(path)).uid === process.getuid?.() || (await can(path, constants.W_OK));

async function can(path: string, mode: number): Promise<boolean> {
  return await access(path, mode).then(
    () => true,
    () => false,
  );
}
