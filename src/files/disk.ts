import { randomBytes } from 'node:crypto';
import { closeSync, fsync, mkdirSync, openSync, renameSync, rmSync, statSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { PiwError, errorMessage } from '../errors.js';

/** Runs `what`; throws what diskError() makes of a file system's error. */
export async function withDiskErrors<T>(path: string, action: () => Promise<T> | T): Promise<T> {
  try {
    return await action();
  } catch (error) {
    throw diskError(path, error);
  }
}

/**
 * Returns the PiwError that a file system's error stands for: PIW_DISK_FULL, PIW_DISK_READ_ONLY, PIW_NOT_WRITABLE, and
 * PIW_DISK_ERROR for all others, such as EIO. Returns anything that no system call has failed with unchanged.
 */
export function diskError(path: string, error: unknown): unknown {
  const cause = { cause: error };
  switch (codeOf(error)) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new PiwError('PIW_DISK_FULL', `the disk that holds ${path} is full`, cause);
    case 'EROFS':
      return new PiwError('PIW_DISK_READ_ONLY', `the file system that holds ${path} is read-only`, cause);
    case 'EACCES':
    case 'EPERM':
    case 'ENOTDIR':
      return new PiwError('PIW_NOT_WRITABLE', `${path} can't be written: ${errorMessage(error)}`, cause);
  }
  if (!isFileSystemError(error)) return error;
  return new PiwError('PIW_DISK_ERROR', `the disk that holds ${path} fails: ${errorMessage(error)}`, cause);
}

/** Whether a system call on a file failed. Processes and sockets fail with the same kind of error. */
function isFileSystemError(error: unknown): boolean {
  if (!(error instanceof Error) || !('errno' in error) || !('syscall' in error)) return false;
  return !/^(spawn|connect|getaddrinfo|bind|listen)/.test(String(error.syscall));
}

/**
 * Makes a folder, and those above it, where they are missing. Node's own `recursive` tries for ever where a file system
 * says that a folder which is there isn't, as /proc does (seen with Node 20). Throws PIW_NOT_WRITABLE for that, else
 * what mkdir and stat throw.
 */
export function makeFolders(path: string, mode = 0o777): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return;
  if (dirname(path) !== path) makeFolders(dirname(path), mode);
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    if (codeOf(error) === 'ENOENT')
      throw new PiwError('PIW_NOT_WRITABLE', `${path} can't be made: ${errorMessage(error)}`, {
        cause: error,
      });
    // Another process has made it just now.
    if (codeOf(error) !== 'EEXIST' || !statSync(path).isDirectory()) throw error;
  }
}

/** Throws PIW_NOT_WRITABLE, or PIW_DISK_FULL, unless a file can be made in this folder, which is made if need be. */
export function checkWritable(folder: string): void {
  const file = join(folder, `.tmp-${randomBytes(6).toString('hex')}`);
  try {
    makeFolders(folder);
    closeSync(openSync(file, 'wx'));
    rmSync(file);
  } catch (error) {
    const translated = diskError(folder, error);
    if (translated instanceof PiwError) throw translated;
    throw new PiwError('PIW_NOT_WRITABLE', `${folder} can't be written: ${errorMessage(error)}`, {
      cause: error,
    });
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
 * A file beside `path`, with these bytes on the disk (not yet if not `synced`); the caller renames or removes it. But for the sync, the calls
 * are synchronous, here and below: for a few KB, handing each call to a thread costs more than the call.
 */
export async function writeTemporary(path: string, body: Uint8Array, synced = true): Promise<string> {
  const temporary = join(
    dirname(path),
    `.tmp-${basename(path).slice(0, 100)}-${randomBytes(6).toString('hex')}`,
  );
  try {
    const file = openSync(temporary, 'wx', 0o644);
    try {
      writeAll(file, body, 0);
      if (synced) await sync(file);
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
export function moveIntoPlace(temporary: string, path: string): void {
  try {
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/** What was written to a file, or put into a folder, is on the disk. */
export async function syncPath(path: string): Promise<void> {
  const file = openSync(path, 'r');
  try {
    await sync(file);
  } finally {
    closeSync(file);
  }
}
