import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { PiwError, reason } from '../errors.js';

/** Temporary files begin so; no web server shows them. */
const TEMPORARY = '.tmp-';

/**
 * Replaces a file by one with this content, at once: a reader sees the old or the new one, whole. One
 * that has the content already is left alone. Synchronous, because an actor that does nothing but
 * write is faster so (measured). Raises PIW_DISK_FULL, PIW_NOT_WRITABLE.
 */
export function writeAtomic(path: string, content: string | Buffer): void {
  guarded(path, () => {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content;
    if (existsSync(path) && readFileSync(path).equals(bytes)) return;
    const temporary = join(dirname(path), `${TEMPORARY}${randomBytes(8).toString('hex')}`);
    mkdirSync(dirname(path), { recursive: true });
    try {
      writeFileSync(temporary, bytes, { mode: 0o644 });
      renameSync(temporary, path);
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    }
  });
}

/** Takes files away, in this order, and their folder if nothing else is in it. */
export function removeFiles(folder: string, names: readonly string[]): void {
  guarded(folder, () => {
    for (const name of names) rmSync(join(folder, name), { force: true });
    try {
      rmdirSync(folder);
    } catch (error) {
      if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? ''))
        throw error;
    }
  });
}

/** Removes what a process that was killed has left, in this folder only. */
export function removeTemporary(folder: string): void {
  guarded(folder, () => {
    for (const name of readdirSync(folder))
      if (name.startsWith(TEMPORARY)) rmSync(join(folder, name), { force: true });
  });
}

export function guarded<T>(path: string, what: () => T): T {
  try {
    return what();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (code === 'ENOSPC' || code === 'EDQUOT')
      throw new PiwError('PIW_DISK_FULL', `the disk that holds ${path} is full`, { cause: error });
    if (['EACCES', 'EPERM', 'EROFS', 'ENOTDIR'].includes(code)) {
      throw new PiwError('PIW_NOT_WRITABLE', `${path} can't be written: ${reason(error)}`, { cause: error });
    }
    throw error;
  }
}
