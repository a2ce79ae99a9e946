import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { withDiskErrors, createTemporary, moveIntoPlace } from './atomic.js';
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
    let file = -1;
    this.#temporary = withDiskErrors(path, () =>
      createTemporary(path, (temporary) => {
        file = openSync(temporary, 'wx', 0o644);
      }),
    );
    this.#file = file;
  }

  add(text: string): void {
    this.#buffer.add(text);
    if (this.#buffer.length >= FLUSH_BYTES) this.#flush();
  }

  #flush(): void {
    const { bytes } = this.#buffer;
    withDiskErrors(this.#path, () => {
      for (let written = 0; written < bytes.length;) written += writeSync(this.#file, bytes, written);
    });
    this.#buffer.clear();
  }

  /** Moves the file into place. */
  commit(): void {
    const temporary = this.#temporary;
    if (temporary === undefined) return;
    this.#flush();
    this.#temporary = undefined;
    withDiskErrors(this.#path, () => {
      moveIntoPlace(temporary, this.#path);
    });
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
