import { access, constants, lstat, realpath, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

/** What builds must not come by: files to read, and files and folders to write. */
export interface ProtectedPaths {
  /** With the slave's key in them. */
  readonly secrets: readonly string[];
  /** What the slave runs, and its home. */
  readonly readOnlyPaths: readonly string[];
}

/**
 * Of these, a sentence for each that a build could read or write which runs under this process's user,
 * without a sandbox: what this user can do, so can it. What is kept can be written, too, where its owner may allow
 * that, and where a folder above it can be written, for then it can be replaced. What isn't there is not exposed.
 */
export async function findExposures({ secrets, readOnlyPaths }: ProtectedPaths): Promise<readonly string[]> {
  const exposures: string[] = [];
  for (const path of new Set(secrets)) {
    const isFile = await lstat(path).then(
      (its) => !its.isDirectory(),
      () => false,
    );
    if (isFile && (await hasAccess(path, constants.R_OK))) exposures.push(`it could read ${path}`);
  }
  for (const path of new Set(readOnlyPaths)) {
    const writable = await findWritablePath(path);
    if (writable !== undefined) exposures.push(`it could write ${writable}`);
  }
  return [...new Set(exposures)];
}

/** The path itself, or the nearest folder above it in which it could be replaced. */
async function findWritablePath(path: string): Promise<string | undefined> {
  let current = await realpath(path).catch(() => undefined);
  if (current === undefined) return undefined;
  if (await isWritable(current)) return current;
  while (current !== dirname(current)) {
    current = dirname(current);
    // In a folder with the sticky bit, as /tmp is, nobody replaces what is another's.
    const { mode } = await stat(current);
    if ((mode & 0o1000) === 0 && (await isWritable(current))) return current;
  }
  return undefined;
}

const isWritable = async (path: string): Promise<boolean> =>
  (await stat(path)).uid === process.getuid?.() || (await hasAccess(path, constants.W_OK));

async function hasAccess(path: string, mode: number): Promise<boolean> {
  return await access(path, mode).then(
    () => true,
    () => false,
  );
}
