import { randomBytes } from 'node:crypto';
import { closeSync, fsync, mkdirSync, openSync, rmSync, statSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { PiwError, errorMessage } from '../errors.js';

/** Runs `action`, at once or as a promise, and translates its file system errors as diskError() does. */
export function withDiskErrors<T>(path: string, action: () => Promise<T>): Promise<T>;
export function withDiskErrors<T>(path: string, action: () => T): T;
export function withDiskErrors(path: string, action: () => unknown): unknown {
  return catching(action, (error) => {
    throw diskError(path, error);
  });
}

/** Runs `action`, at once or as a promise; returns undefined if the file that it uses doesn't exist. */
export function undefinedIfMissing<T>(action: () => Promise<T>): Promise<T | undefined>;
export function undefinedIfMissing<T>(action: () => T): T | undefined;
export function undefinedIfMissing(action: () => unknown): unknown {
  return catching(action, (error) => {
    if (codeOf(error) !== 'ENOENT') throw error;
    return undefined;
  });
}

function catching(action: () => unknown, onError: (error: unknown) => unknown): unknown {
  try {
    const result = action();
    return result instanceof Promise ? result.catch(onError) : result;
  } catch (error) {
    return onError(error);
  }
}

/**
 * Translates a file system error to a PiwError: PIW_DISK_FULL, PIW_DISK_READ_ONLY, PIW_NOT_WRITABLE, and
 * PIW_DISK_ERROR for all others, such as EIO. Returns errors that don't come from a system call unchanged.
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
  return new PiwError(
    'PIW_DISK_ERROR',
    `the disk that holds ${path} is failing: ${errorMessage(error)}`,
    cause,
  );
}

/** Returns whether a system call on a file failed. Processes and sockets fail with the same kind of error. */
function isFileSystemError(error: unknown): boolean {
  if (!(error instanceof Error) || !('errno' in error) || !('syscall' in error)) return false;
  return !/^(spawn|connect|getaddrinfo|bind|listen)/.test(String(error.syscall));
}

/**
 * Creates a folder and its missing parents. Node's own `recursive` loops forever if a file system says that
 * an existing folder doesn't exist, as /proc does (seen with Node 20). Throws PIW_NOT_WRITABLE for that,
 * otherwise what mkdir and stat throw.
 */
export function makeFolders(path: string, mode = 0o777): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return;
  if (dirname(path) !== path) makeFolders(dirname(path), mode);
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    if (codeOf(error) === 'ENOENT')
      throw new PiwError('PIW_NOT_WRITABLE', `${path} can't be created: ${errorMessage(error)}`, {
        cause: error,
      });
    // Another process has just created it.
    if (codeOf(error) !== 'EEXIST' || !statSync(path).isDirectory()) throw error;
  }
}

/**
 * Throws PIW_NOT_WRITABLE or PIW_DISK_FULL unless a file can be created in this folder, which is created if
 * necessary.
 */
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

/** Returns the system's name of an error, e.g. ENOENT; empty if it has none. */
export const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException | undefined)?.code ?? '';

/** Writes all of `data` at `offset`: the kernel may accept less at a time. */
export function writeAll(file: number, data: Uint8Array, offset: number): void {
  for (let written = 0; written < data.length;) {
    written += writeSync(file, data, written, data.length - written, offset + written);
  }
}

const fsyncAsync = promisify(fsync);

/** Syncs an open file to the disk. */
export const syncFile = (file: number): Promise<void> => fsyncAsync(file);

/** The running sync of each folder, and the one that begins after it. */
const folderSyncs = new Map<string, { readonly running: Promise<void>; next: Promise<void> | undefined }>();

/**
 * Syncs a folder to the disk. Callers that come while a sync of the same folder runs share the next one: what they have
 * changed may have come too late for the running one.
 */
export function syncFolder(path: string): Promise<void> {
  const current = folderSyncs.get(path);
  if (current) {
    const startNext = (): Promise<void> => startFolderSync(path);
    current.next ??= current.running.then(startNext, startNext);
    return current.next;
  }
  return startFolderSync(path);
}

function startFolderSync(path: string): Promise<void> {
  const running = syncPath(path).finally(() => {
    if (folderSyncs.get(path)?.running === running && folderSyncs.get(path)?.next === undefined)
      folderSyncs.delete(path);
  });
  folderSyncs.set(path, { running, next: undefined });
  return running;
}

/** Syncs a file or a folder to the disk. */
export async function syncPath(path: string): Promise<void> {
  const file = openSync(path, 'r');
  try {
    await syncFile(file);
  } finally {
    closeSync(file);
  }
}
