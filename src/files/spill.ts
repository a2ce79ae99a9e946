import { HOUR_MS } from '../units.js';
import { appendFileSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { withDiskErrors } from './disk.js';

/**
 * The limit of what is held in memory. When it is reached, only the parts of at least average size are written to the
 * disk, so that no file is opened for a few lines.
 */
const MAX_BUFFERED_CHARS = 6_000_000;
/** A folder that was last changed longer ago than this was left by a killed process. */
const ABANDONED_MS = HOUR_MS;
/** Begins with a dot, because the folder is below the output path, and no web server serves such a name. */
const FOLDER_PREFIX = '.tmp-spill-';

interface PartBuffer {
  readonly lines: string[];
  chars: number;
}

/**
 * Stores lines on the disk, partitioned by the beginning of their sort key, so that a reader holds only one part in
 * memory at a time. Lines contain no line feeds; the names of parts consist of letters and digits.
 */
export class Spill {
  readonly #folder: string;
  readonly #buffers = new Map<string, PartBuffer>();
  #chars = 0;

  /** Works in a new folder below an existing `folder`, from which it removes what killed processes left. */
  constructor(folder: string) {
    this.#folder = withDiskErrors(folder, () => {
      for (const name of readdirSync(folder)) {
        if (!name.startsWith(FOLDER_PREFIX)) continue;
        // Another process may just have removed its folder.
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

  /** Writes the parts that have at least `minChars` in memory to the disk. */
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

  /** Flushes everything and returns the sorted names of all parts. Nothing may be added afterwards. */
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
