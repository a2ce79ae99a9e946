import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { guarded, inFolder, putInPlace } from './atomic.js';

/** A page that is too large to be held: it grows in a temporary file, and is put in its place when it is whole. */
export class Growing {
  readonly #path: string;
  readonly #file: number;
  #temporary: string | undefined;

  /** Begins a file that will stand at this path. Raises PIW_DISK_FULL, PIW_NOT_WRITABLE, as all here. */
  constructor(path: string) {
    this.#path = path;
    let file = -1;
    this.#temporary = guarded(path, () =>
      inFolder(path, (temporary) => {
        file = openSync(temporary, 'wx', 0o644);
      }),
    );
    this.#file = file;
  }

  add(text: string): void {
    const bytes = Buffer.from(text);
    guarded(this.#path, () => {
      for (let written = 0; written < bytes.length;) written += writeSync(this.#file, bytes, written);
    });
  }

  /** Puts it in its place. */
  place(): void {
    const temporary = this.#temporary;
    if (temporary === undefined) return;
    this.#temporary = undefined;
    guarded(this.#path, () => {
      putInPlace(temporary, this.#path);
    });
  }

  /** To be called at the end, whatever has happened. */
  drop(): void {
    closeSync(this.#file);
    if (this.#temporary !== undefined) rmSync(this.#temporary, { force: true });
  }
}
