import { randomUUID } from 'node:crypto';
import { PiwError } from '../errors.js';
import type { Farm } from './counting.js';
import { bad, type HostOf, type LineReader } from './reader.js';
import type { Block } from './source.js';
import { Stretch, addTally, noLines, type Tally } from './stretch.js';

export interface LiveOptions {
  /** It raises a PiwError as soon as it doesn't answer. `awayMs` is 0 while it does. */
  readonly farm: Farm & { readonly awayMs: number };
  readonly reader: LineReader;
  readonly hostOf: HostOf;
  /** How long the first line of a stretch waits for others, milliseconds. */
  readonly delayMs: number;
}

/** So many stretches wait for the farm to take the one before them. */
const WAITING = 16;

/**
 * Passes on lines that come by a pipe, and keeps none of them: those that the farm doesn't take are let go, and
 * whoever writes them never waits for a farm that is away. While it answers it is waited for, though: what comes
 * faster than it can be counted is counted all the same.
 */
export class LiveLog {
  readonly tally: Tally = noLines();
  /** Lines that were let go. */
  dropped = 0;
  unknown = 0;
  readonly #options: LiveOptions;
  #stretch: Stretch;
  #began = 0;
  readonly #waiting: Stretch[] = [];
  #sending: Promise<void> | undefined;
  /** The farm's number for what comes in one piece, and how much of it has been counted. */
  #log: { readonly id: number; upto: number } | undefined;
  #moved: () => void = () => undefined;
  readonly #timer: NodeJS.Timeout;

  constructor(options: LiveOptions) {
    this.#options = options;
    this.#stretch = new Stretch(0, options.hostOf);
    this.#timer = setInterval(() => {
      if (this.#stretch.tally.lines > 0 && performance.now() - this.#began >= options.delayMs) this.#cut();
    }, options.delayMs / 4);
  }

  /** Resolves when further lines may come. */
  async add({ from, bytes, tooLong }: Block): Promise<void> {
    const text = bytes.toString('latin1');
    if (this.#stretch.tally.lines === 0) this.#began = performance.now();
    if (tooLong) {
      this.#stretch.tally.lines += 1;
      bad(text, from, this.#stretch);
      return;
    }
    for (let read = 0; read < text.length;) {
      read += this.#options.reader.read(text, read, from, this.#stretch);
      if (!this.#stretch.full) continue;
      while (this.#waiting.length >= WAITING && this.#options.farm.awayMs === 0)
        await new Promise<void>((resolve) => (this.#moved = resolve));
      this.#cut();
    }
  }

  /** Everything was passed on, or let go. */
  async end(): Promise<void> {
    clearInterval(this.#timer);
    this.#cut();
    await this.#sending;
  }

  #cut(): void {
    const stretch = this.#stretch;
    this.#stretch = new Stretch(0, this.#options.hostOf);
    if (stretch.tally.lines === 0) return;
    if (this.#waiting.length >= WAITING) this.dropped += stretch.tally.lines;
    else this.#waiting.push(stretch);
    this.#sending ??= this.#send();
  }

  async #send(): Promise<void> {
    for (let stretch = this.#waiting[0]; stretch; stretch = this.#waiting[0]) {
      try {
        await this.#count(stretch);
      } catch (error) {
        if (!(error instanceof PiwError)) throw error;
        // Whether it was counted isn't known: what comes after it is another log.
        this.#log = undefined;
        this.dropped += stretch.tally.lines;
      }
      this.#waiting.shift();
      this.#moved();
    }
    this.#sending = undefined;
  }

  /** A place in it is a number of lines. */
  async #count(stretch: Stretch): Promise<void> {
    const { farm } = this.#options;
    this.#log ??= await this.#begin();
    const { id, upto } = this.#log;
    const to = upto + stretch.tally.lines;
    const { counted, unknown } = await farm.count({ ...stretch.finish(id, to, String(to)), from: upto });
    if (!counted) throw new PiwError('PIW_REFUSED', 'somebody else counts this log');
    this.#log.upto = to;
    this.unknown += unknown;
    addTally(this.tally, stretch.tally);
  }

  async #begin(): Promise<{ id: number; upto: number }> {
    const [position] = await this.#options.farm.logs(`pipe ${randomUUID()}`, true);
    if (!position) throw new PiwError('PIW_REFUSED', 'the farm makes no log');
    return { id: position[0], upto: 0 };
  }
}
