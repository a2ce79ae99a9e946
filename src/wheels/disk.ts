import { randomBytes } from 'node:crypto';
import { closeSync, fsync, mkdirSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { PiwError, reason } from '../errors.js';

/** Turns what a file system refuses for its own reasons into an error that says so. */
export async function onDisk<T>(path: string, what: () => Promise<T> | T): Promise<T> {
  try {
    return await what();
  } catch (error) {
    throw diskError(path, error);
  }
}

/** PIW_DISK_FULL or PIW_NOT_WRITABLE for what they stand for; anything else as it is. */
export function diskError(path: string, error: unknown): unknown {
  const code = codeOf(error);
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new PiwError('PIW_DISK_FULL', `the disk that holds ${path} is full`, { cause: error });
  }
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS' || code === 'ENOTDIR') {
    return new PiwError('PIW_NOT_WRITABLE', `${path} can't be written: ${reason(error)}`, { cause: error });
  }
  return error;
}

/** Throws PIW_NOT_WRITABLE, or PIW_DISK_FULL, unless a file can be made in this folder, which is made if need be. */
export function checkWritable(folder: string): void {
  const file = join(folder, `.tmp-${randomBytes(6).toString('hex')}`);
  try {
    mkdirSync(folder, { recursive: true });
    closeSync(openSync(file, 'wx'));
    rmSync(file);
  } catch (error) {
    const known = diskError(folder, error);
    if (known instanceof PiwError) throw known;
    throw new PiwError('PIW_NOT_WRITABLE', `${folder} can't be written: ${reason(error)}`, { cause: error });
  }
}

/** The system's own name of an error, as ENOENT; empty for what has none. */
export const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException | undefined)?.code ?? '';

/** Writes all of `data` at `offset`: the kernel may take less of it at a time. */
export function writeAll(file: number, data: Uint8Array, offset: number): void {
  for (let written = 0; written < data.length;) {
    written += writeSync(file, data, written, data.length - written, offset + written);
  }
}

const sync = promisify(fsync);

/**
 * A file beside `path`, with these bytes on the disk; the caller renames or removes it. But for the sync, the calls
 * are synchronous, here and below: for a few KB, handing each call to a thread costs more than the call.
 */
export async function writeBeside(path: string, body: Uint8Array): Promise<string> {
  const temporary = join(
    dirname(path),
    `.tmp-${basename(path).slice(0, 100)}-${randomBytes(6).toString('hex')}`,
  );
  try {
    const file = openSync(temporary, 'wx', 0o644);
    try {
      writeAll(file, body, 0);
      await sync(file);
    } finally {
      closeSync(file);
    }
    return temporary;
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/** Puts a file that writeBeside has made in its place. */
export function putInPlace(temporary: string, path: string): void {
  try {
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/** What was written to a file, or put into a folder, is on the disk. */
export async function flush(path: string): Promise<void> {
  const file = openSync(path, 'r');
  try {
    await sync(file);
  } finally {
    closeSync(file);
  }
}
