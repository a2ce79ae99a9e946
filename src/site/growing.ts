import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { withDiskErrors, createTemporary, moveIntoPlace } from './atomic.js';
import { PageBuffer } from './page-buffer.js';

/** How much of it goes to the disk at once, bytes. */
const FLUSH_BYTES = 256 * 1024;

/** A page that is too large to be held: it grows in a temporary file, and is put in its place when it is whole. */
export class AtomicFileWriter {
  readonly #path: string;
  readonly #file: number;
  readonly #buffer = new PageBuffer();
  #temporary: string | undefined;

  /** Begins a file that will stand at this path. Throws what diskError() gives, as all here. */
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

  /** Puts it in its place. */
  commit(): void {
    const temporary = this.#temporary;
    if (temporary === undefined) return;
    this.#flush();
    this.#temporary = undefined;
    withDiskErrors(this.#path, () => {
      moveIntoPlace(temporary, this.#path);
    });
  }

  /** To be called at the end, whatever has happened. */
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
