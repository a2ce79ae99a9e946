import { lstat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PiwError } from '../errors.js';
import { makeFolders, withDiskErrors } from '../files/disk.js';
import { DiskWatch, type DiskTrouble } from '../files/disk-watch.js';

/**
 * Creates the folder in which a slave builds, and returns it: the configured folder, or else one in the system's
 * temporary folder. Since anybody can guess the name of the latter and create it first, throws PIW_NOT_WRITABLE if it
 * belongs to another user or others can write to it. Throws PIW_NOT_WRITABLE or PIW_DISK_FULL if the folder can't be
 * created.
 */
export async function prepareWorkFolder(configured: string | null): Promise<string> {
  const user = process.getuid?.() ?? 0;
  const folder = configured ?? join(tmpdir(), `piw-slave-${user}`);
  withDiskErrors(folder, () => {
    makeFolders(folder, 0o700);
  });
  if (configured !== null) return folder;
  const stats = await lstat(folder);
  if (stats.isDirectory() && stats.uid === user && (stats.mode & 0o022) === 0) return folder;
  throw new PiwError(
    'PIW_NOT_WRITABLE',
    `${folder} is not a folder that only this user can write to; choose another one with --work-dir`,
  );
}

/** Watches the disk of a work folder; calls `onTrouble` when it becomes full or read-only. */
export function watchDisk(workDir: string, onTrouble: (trouble: DiskTrouble) => void): DiskWatch {
  return new DiskWatch(workDir, onTrouble);
}
