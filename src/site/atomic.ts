import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
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
import { codeOf, diskError } from '../wheels/disk.js';
import { GZIP_SUFFIX } from './layout.js';

/** Temporary files begin so; no web server shows them. */
const TEMPORARY_PREFIX = '.tmp-';
/** Each has a name of its own, across processes too. */
const OWN_TEMPORARY_PREFIX = `${TEMPORARY_PREFIX}${randomBytes(8).toString('hex')}-`;
let temporaryCount = 0;

/**
 * A file beside `path` with this content, under a name that no web server shows; its folder is made. The caller
 * puts it in its place. Synchronous, as all here, because an actor that does nothing but write is faster so
 * (measured). Throws what diskError() gives, as all here.
 */
export function writeTemporary(path: string, content: string | Uint8Array): string {
  return withDiskErrors(path, () =>
    createTemporary(path, (temporary) => {
      writeFileSync(temporary, content, { mode: 0o644, flag: 'wx' });
    }),
  );
}

/** The same with a writer of one's own. */
export function createTemporary(path: string, write: (temporary: string) => void): string {
  temporaryCount += 1;
  const folder = dirname(path);
  const temporary = join(folder, `${OWN_TEMPORARY_PREFIX}${String(temporaryCount)}`);
  try {
    try {
      write(temporary);
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error;
      mkdirSync(folder, { recursive: true });
      write(temporary);
    }
    return temporary;
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/**
 * Puts a file in its place at once: a reader sees the old or the new one, whole. What was compressed of the old
 * one goes first: where there is such a file, it is the page.
 */
export function moveIntoPlace(temporary: string, path: string): void {
  try {
    const compressed = path + GZIP_SUFFIX;
    if (existsSync(compressed)) unlinkIfExists(compressed);
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/** Replaces a file by one with this content, at once. Raises PIW_DISK_FULL, PIW_NOT_WRITABLE. */
export function replaceFile(path: string, content: string | Uint8Array): void {
  withDiskErrors(path, () => {
    moveIntoPlace(writeTemporary(path, content), path);
  });
}

/**
 * Lets `name` stand for the file `target` in its folder: one file with two names, so that both are replaced at
 * once. Nothing is done where it does already. Raises PIW_DISK_FULL, PIW_NOT_WRITABLE.
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

/** The same as `replace`, but a file that has the content already is left alone, with its age and its compressed form. */
export function writeIfChanged(path: string, content: string | Uint8Array): void {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content;
  if (!withDiskErrors(path, () => hasContent(path, bytes))) replaceFile(path, bytes);
}

/** The file says these bytes behind the first `from` of its own. */
export function hasContent(path: string, bytes: Uint8Array, offset = 0): boolean {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false;
    throw error;
  }
  try {
    return (
      fstatSync(file).size === offset + bytes.length && readFileSync(file).subarray(offset).equals(bytes)
    );
  } finally {
    closeSync(file);
  }
}

/** The first `count` bytes of a file, as Latin-1 text; undefined where there is none. */
export function readHead(path: string, count: number): string | undefined {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const head = Buffer.alloc(count);
    return head.toString('latin1', 0, readSync(file, head, 0, count, 0));
  } finally {
    closeSync(file);
  }
}

/** Takes files away, in this order, with what was compressed of them, and their folder if nothing else is in it. */
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

/** Removes what a process that was killed has left, in this folder only. What is younger may be another's work. */
export function removeStaleTemporaries(folder: string): void {
  const cutoffMs = Date.now() - 3_600_000;
  withDiskErrors(folder, () => {
    // Another process may have just removed the folder.
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
  try {
    unlinkSync(path);
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
  }
}

/** Runs `what`; throws what diskError() makes of a file system's error. For what is asynchronous: onDisk(). */
export function withDiskErrors<T>(path: string, operation: () => T): T {
  try {
    return operation();
  } catch (error) {
    throw diskError(path, error);
  }
}
