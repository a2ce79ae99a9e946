import { lstat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PiwError } from '../errors.js';
import { makeFolders, withDiskErrors } from '../wheels/disk.js';
import { DiskWatch, type DiskTrouble } from '../wheels/disk-watch.js';

/**
 * The folder in which a slave makes its builds: the one that was named, or else one in the system's temporary
 * folder, where anybody can guess what it is called, and make it first. Raises PIW_NOT_WRITABLE where that is
 * another's, or others can change it, and where no folder is to be had; PIW_DISK_FULL.
 */
export async function prepareWorkFolder(configured: string | null): Promise<string> {
  const user = process.getuid?.() ?? 0;
  const folder = configured ?? join(tmpdir(), `piw-slave-${String(user)}`);
  await withDiskErrors(folder, () => {
    makeFolders(folder, 0o700);
  });
  if (configured !== null) return folder;
  const stats = await lstat(folder);
  if (stats.isDirectory() && stats.uid === user && (stats.mode & 0o022) === 0) return folder;
  throw new PiwError('PIW_NOT_WRITABLE', `${folder} is not this user's alone; name another with --work-dir`);
}

/** Watches the disk of a work folder; `began` is called when it is full or read-only. */
export function watchDisk(workDir: string, onTrouble: (trouble: DiskTrouble) => void): DiskWatch {
  return new DiskWatch(workDir, onTrouble);
}
