import { access, constants, lstat, realpath, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

/** The paths that builds must not reach. */
interface ProtectedPaths {
  /** Files that contain the slave's key: builds must not read them. */
  readonly secrets: readonly string[];
  /** The slave's code and its home: builds must not write to them. */
  readonly readOnlyPaths: readonly string[];
}

/**
 * Returns what a build without a sandbox, which runs as this process's user, could do to these paths: `read PATH` or
 * `write PATH` for each exposed one. A path counts as writable also if this user owns it and so can make it writable,
 * and if a folder above it is writable, because then it can be replaced. Paths that do not exist are not exposed.
 */
export async function findExposures({ secrets, readOnlyPaths }: ProtectedPaths): Promise<readonly string[]> {
  const exposures: string[] = [];
  for (const path of new Set(secrets)) {
    const isFile = await lstat(path).then(
      (stats) => !stats.isDirectory(),
      () => false,
    );
    if (isFile && (await hasAccess(path, constants.R_OK))) exposures.push(`read ${path}`);
  }
  for (const path of new Set(readOnlyPaths)) {
    const writable = await findWritablePath(path);
    if (writable !== undefined) exposures.push(`write ${writable}`);
  }
  return [...new Set(exposures)];
}

/** Returns the path itself if it is writable, else the nearest folder above it in which it could be replaced. */
async function findWritablePath(path: string): Promise<string | undefined> {
  let current = await realpath(path).catch(() => undefined);
  if (current === undefined) return undefined;
  if (await isWritable(current)) return current;
  while (current !== dirname(current)) {
    current = dirname(current);
    // In a folder with the sticky bit, such as /tmp, nobody can replace files of other users.
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
