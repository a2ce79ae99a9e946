import { appendFileSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { withDiskErrors } from './atomic.js';

/** So much is in memory at most; of it the larger parts go to the disk, so that few files are opened for small pieces. */
const MAX_BUFFERED_CHARS = 6_000_000;
const ABANDONED_MS = 3_600_000;
/** No web server shows what begins with a dot. */
const FOLDER_PREFIX = '.tmp-spill-';

interface PartBuffer {
  readonly lines: string[];
  chars: number;
}

/**
 * Lines, put aside on the disk by what they are sorted by first, so that no more than one part of them is in memory
 * at a time. Lines hold no line feed; parts are named with letters and digits.
 */
export class Spill {
  readonly #folder: string;
  readonly #buffers = new Map<string, PartBuffer>();
  #chars = 0;

  /** Below a folder that is there; removes what processes that were killed have left in it. */
  constructor(folder: string) {
    this.#folder = withDiskErrors(folder, () => {
      for (const name of readdirSync(folder)) {
        if (!name.startsWith(FOLDER_PREFIX)) continue;
        // Another process may have just removed its own.
        const stats = statSync(join(folder, name), { throwIfNoEntry: false });
        if (stats && Date.now() - stats.mtimeMs > ABANDONED_MS)
          rmSync(join(folder, name), { recursive: true, force: true });
      }
      return mkdtempSync(join(folder, FOLDER_PREFIX));
    });
  }

  add(part: string, line: string): void {
    let buffered = this.#buffers.get(part);
    if (!buffered) this.#buffers.set(part, (buffered = { lines: [], chars: 0 }));
    buffered.lines.push(line);
    buffered.chars += line.length;
    this.#chars += line.length;
    if (this.#chars > MAX_BUFFERED_CHARS) this.#flush(this.#chars / this.#buffers.size);
  }

  /** Puts aside the parts of which at least so much is in memory. */
  #flush(minChars: number): void {
    withDiskErrors(this.#folder, () => {
      for (const [part, { lines, chars }] of this.#buffers) {
        if (chars < minChars) continue;
        appendFileSync(join(this.#folder, part), `${lines.join('\n')}\n`);
        this.#buffers.delete(part);
        this.#chars -= chars;
      }
    });
  }

  /** The names of all parts, sorted; nothing can be added from then on. */
  parts(): readonly string[] {
    this.#flush(0);
    return withDiskErrors(this.#folder, () => readdirSync(this.#folder)).sort();
  }

  lines(part: string): readonly string[] {
    const text = withDiskErrors(this.#folder, () => readFileSync(join(this.#folder, part), 'utf8'));
    return text.split('\n').slice(0, -1);
  }

  remove(): void {
    withDiskErrors(this.#folder, () => {
      rmSync(this.#folder, { recursive: true, force: true });
    });
  }
}
