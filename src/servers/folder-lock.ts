import { closeSync, linkSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { PiwError } from '../errors.js';
import { undefinedIfMissing } from '../files/disk.js';
import { findRunningPid, startTime } from './process.js';

/**
 * Locks a folder with the file `lock`: the id and the start time of this process. It is written under another name and
 * then linked into place, so that nobody sees it incomplete; the lock of a dead process is replaced. Returns a function
 * that unlocks the folder. Throws PIW_IN_USE if another process has it; `names` says what is locked, and by whom.
 */
export function acquireLock(
  lock: string,
  names: { readonly folder: string; readonly holder: string },
): () => void {
  const ownLock = `${lock}.${process.pid}`;
  const handle = openSync(ownLock, 'w', 0o600);
  writeSync(handle, `${process.pid} ${startTime(process.pid)}\n`);
  closeSync(handle);
  try {
    for (let attempt = 0; attempt < 3; attempt += 1) {
      try {
        linkSync(ownLock, lock);
        return () => {
          rmSync(lock, { force: true });
        };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      const holder = findRunningPid(undefinedIfMissing(() => readFileSync(lock, 'utf8')) ?? '');
      if (holder !== undefined)
        throw new PiwError('PIW_IN_USE', `${names.folder} is in use by ${names.holder} (process ${holder})`);
      rmSync(lock, { force: true });
    }
    throw new PiwError('PIW_IN_USE', `${names.holder} is just locking ${names.folder}`);
  } finally {
    rmSync(ownLock, { force: true });
  }
}
