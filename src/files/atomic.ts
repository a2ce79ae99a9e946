import { HOUR_MS } from '../units.js';
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fstatSync,
  openSync,
  readSync,
  readlinkSync,
  readdirSync,
  renameSync,
  rmSync,
  rmdirSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { codeOf, makeFolders, syncFile, undefinedIfMissing, withDiskErrors } from './disk.js';

/**
 * The suffix of a file's compressed form, for clients that accept gzip. It is removed before the file is replaced, and
 * written again when the file has not changed for a while, so it always matches the file.
 */
export const GZIP_SUFFIX = '.gz';
/** Prefix of every temporary file's name. No web server serves a name that begins with a dot. */
const TEMPORARY_PREFIX = '.tmp-';
/** Prefix of this process's temporary files: no two processes ever choose the same name. */
const OWN_TEMPORARY_PREFIX = `${TEMPORARY_PREFIX}${randomBytes(8).toString('hex')}-`;
let temporaryCount = 0;

/**
 * Writes `content` to a temporary file in the folder of `path`, which is created if it is missing, and returns the
 * temporary file's path. The caller moves it into place. Apart from syncs, everything in this file is synchronous: for
 * a few KB, handing a call to a thread costs more than the call (measured). Throws the errors of diskError().
 */
export function writeTemporary(path: string, content: string | Uint8Array): string {
  return withDiskErrors(path, () =>
    createTemporary(path, (temporary) => {
      writeFileSync(temporary, content, { mode: 0o644, flag: 'wx' });
    }),
  );
}

/** Like writeTemporary(), but syncs the file to the disk. Its folder has to exist: a new one would not be synced. */
export async function writeTemporarySynced(path: string, content: Uint8Array): Promise<string> {
  const { temporary, file } = openTemporary(path, false);
  try {
    await withDiskErrors(path, async () => {
      writeFileSync(file, content);
      await syncFile(file);
    });
    return temporary;
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  } finally {
    closeSync(file);
  }
}

/** Creates a temporary file as writeTemporary() does, and returns it open. */
export function openTemporary(path: string, makesFolder = true): { temporary: string; file: number } {
  let file = -1;
  const create = (name: string): void => {
    file = openSync(name, 'wx', 0o644);
  };
  const temporary = withDiskErrors(path, () => createTemporary(path, create, makesFolder));
  return { temporary, file };
}

/** Has `create` make a temporary file, link or the like. Throws file system errors as they are. */
function createTemporary(path: string, create: (temporary: string) => void, makesFolder = true): string {
  temporaryCount += 1;
  const folder = dirname(path);
  const temporary = join(folder, `${OWN_TEMPORARY_PREFIX}${temporaryCount}`);
  try {
    try {
      create(temporary);
    } catch (error) {
      if (!makesFolder || codeOf(error) !== 'ENOENT') throw error;
      makeFolders(folder);
      create(temporary);
    }
    return temporary;
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/**
 * Moves a temporary file to `path` atomically: a reader sees the whole old file or the whole new one. The compressed
 * form of the old file is removed first, because a compressed form always has to match its file. Throws the errors of
 * diskError().
 */
export function moveIntoPlace(temporary: string, path: string): void {
  withDiskErrors(path, () => {
    try {
      const compressed = path + GZIP_SUFFIX;
      if (existsSync(compressed)) unlinkIfExists(compressed);
      renameSync(temporary, path);
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    }
  });
}

/** Replaces a file atomically. Throws as diskError() does. */
export function replaceFile(path: string, content: string | Uint8Array): void {
  moveIntoPlace(writeTemporary(path, content), path);
}

/**
 * Makes `name` a symbolic link to the file `target` in the same folder, so that replacing `target` replaces both at
 * once. Does nothing if the link is already there. Throws as diskError() does.
 */
export function ensureSymlink(folder: string, name: string, target: string): void {
  const path = join(folder, name);
  withDiskErrors(path, () => {
    try {
      if (readlinkSync(path) === target) return;
    } catch (error) {
      if (!['ENOENT', 'EINVAL'].includes(codeOf(error))) throw error;
    }
    const temporary = createTemporary(path, (linkPath) => {
      symlinkSync(target, linkPath);
    });
    moveIntoPlace(temporary, path);
  });
}

/** Like replaceFile(), but a file that already has this content keeps its modification time and its compressed form. */
export function writeIfChanged(path: string, content: string | Uint8Array): void {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content;
  if (!hasContent(path, bytes)) replaceFile(path, bytes);
}

/** What hasContent() compares at a time. */
const comparedChunk = Buffer.allocUnsafeSlow(64 * 1024);

/**
 * Returns true if the file consists of `offset` bytes, whatever they are, and then exactly `bytes`. It reads no further
 * than to the first difference, which in most pages is near the beginning.
 */
export function hasContent(path: string, bytes: Uint8Array, offset = 0): boolean {
  const isEqual = withOpenFile(path, (file) => {
    if (fstatSync(file).size !== offset + bytes.length) return false;
    for (let at = 0; at < bytes.length;) {
      const limit = Math.min(comparedChunk.length, bytes.length - at);
      const count = readSync(file, comparedChunk, 0, limit, offset + at);
      if (count === 0 || comparedChunk.compare(bytes, at, at + count, 0, count) !== 0) return false;
      at += count;
    }
    return true;
  });
  return isEqual ?? false;
}

/** Returns the first `count` bytes of a file as Latin-1 text; undefined if there is no such file. */
export function readHead(path: string, count: number): string | undefined {
  return withOpenFile(path, (file) => {
    const head = Buffer.alloc(count);
    return head.toString('latin1', 0, readSync(file, head, 0, count, 0));
  });
}

/** Opens a file for `read`; returns undefined if there is none. Throws the errors of diskError(). */
export function withOpenFile<T>(path: string, read: (file: number) => T): T | undefined {
  return withDiskErrors(path, () => {
    const file = undefinedIfMissing(() => openSync(path, 'r'));
    if (file === undefined) return undefined;
    try {
      return read(file);
    } finally {
      closeSync(file);
    }
  });
}

/** Removes files in this order, each after its compressed form, and then the folder if it is empty. */
export function removeFiles(folder: string, names: readonly string[]): void {
  withDiskErrors(folder, () => {
    for (const name of names) {
      unlinkIfExists(join(folder, `${name}${GZIP_SUFFIX}`));
      unlinkIfExists(join(folder, name));
    }
    try {
      rmdirSync(folder);
    } catch (error) {
      if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes(codeOf(error))) throw error;
    }
  });
}

/**
 * Removes the temporary files that a killed process left in this folder, but not those in folders below it. Files that
 * are younger than an hour stay: another process may be writing them.
 */
export function removeStaleTemporaries(folder: string): void {
  const cutoffMs = Date.now() - HOUR_MS;
  withDiskErrors(folder, () => {
    // Another process may just have removed the folder.
    const names = existsSync(folder) ? readdirSync(folder) : [];
    for (const name of names) {
      if (!name.startsWith(TEMPORARY_PREFIX)) continue;
      const path = join(folder, name);
      if ((statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Infinity) < cutoffMs)
        rmSync(path, { force: true });
    }
  });
}

function unlinkIfExists(path: string): void {
  undefinedIfMissing(() => {
    unlinkSync(path);
  });
}
