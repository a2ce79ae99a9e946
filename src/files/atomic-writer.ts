import { closeSync, rmSync, writeFileSync } from 'node:fs';
import { moveIntoPlace, openTemporary } from './atomic.js';
import { withDiskErrors } from './disk.js';
import { PageBuffer } from './page-buffer.js';

/** Bytes that are collected before they are written to the disk. */
const FLUSH_BYTES = 256 * 1024;

/**
 * Writes a page that is too large to hold in memory: to a temporary file, which is moved into place when it is
 * complete. All methods throw the errors of diskError().
 */
export class AtomicFileWriter {
  readonly #path: string;
  readonly #file: number;
  readonly #buffer = new PageBuffer();
  #temporary: string | undefined;

  /** Creates the temporary file for `path`. */
  constructor(path: string) {
    this.#path = path;
    const { temporary, file } = openTemporary(path);
    this.#temporary = temporary;
    this.#file = file;
  }

  add(text: string): void {
    this.#buffer.add(text);
    if (this.#buffer.length >= FLUSH_BYTES) this.#flush();
  }

  #flush(): void {
    withDiskErrors(this.#path, () => {
      writeFileSync(this.#file, this.#buffer.bytes);
    });
    this.#buffer.clear();
  }

  /** Moves the file into place. */
  commit(): void {
    const temporary = this.#temporary;
    if (temporary === undefined) return;
    this.#flush();
    this.#temporary = undefined;
    moveIntoPlace(temporary, this.#path);
  }

  /** Closes the file, and removes it if it was not committed. Has to be called in any case. */
  close(): void {
    withDiskErrors(this.#path, () => {
      try {
        closeSync(this.#file);
      } finally {
        if (this.#temporary !== undefined) rmSync(this.#temporary, { force: true });
      }
    });
  }
}
