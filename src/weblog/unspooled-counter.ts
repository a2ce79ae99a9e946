import { randomUUID } from 'node:crypto';
import { PiwError, rethrowUnexpected } from '../errors.js';
import type { LogCollector } from './counting.js';
import { countBadLine, type HostLookup, type LineReader } from './reader.js';
import type { LineBlock } from './source.js';
import { LogStretchBuilder, addTally, emptyTally, type Tally } from './stretch.js';

interface UnspooledLogCounterOptions {
  /** Throws a PiwError as soon as the farm doesn't answer. `unavailableMs` is 0 while it does. */
  readonly farm: LogCollector & { readonly unavailableMs: number };
  readonly reader: LineReader;
  readonly hostOf: HostLookup;
  /** How long the first line of a stretch waits for others, milliseconds. */
  readonly delayMs: number;
}

/** Maximum number of stretches that wait to be sent to the farm. */
const MAX_WAITING_STRETCHES = 16;

/**
 * Counts lines from a pipe without keeping them: lines that the farm doesn't take are dropped, and the writer of the
 * pipe never waits for a farm that is down. While the farm answers, the writer does wait: lines that arrive faster than
 * they can be counted are not lost.
 */
export class UnspooledLogCounter {
  readonly tally: Tally = emptyTally();
  /** Lines that were dropped. */
  dropped = 0;
  unknown = 0;
  readonly #options: UnspooledLogCounterOptions;
  #stretch: LogStretchBuilder;
  #stretchStartedAt = 0;
  readonly #queue: LogStretchBuilder[] = [];
  #sending: Promise<void> | undefined;
  /** The farm's number for an unbroken run of lines, and how many of them have been counted. */
  #log: { readonly id: number; upto: number } | undefined;
  #onStretchSent: () => void = () => undefined;
  readonly #timer: NodeJS.Timeout;

  constructor(options: UnspooledLogCounterOptions) {
    this.#options = options;
    this.#stretch = new LogStretchBuilder(0, options.hostOf);
    this.#timer = setInterval(() => {
      if (this.#stretch.tally.lines > 0 && performance.now() - this.#stretchStartedAt >= options.delayMs)
        this.#flush();
    }, options.delayMs / 4);
  }

  /** Resolves when further lines may come. */
  async add({ from, bytes, overlongTail }: LineBlock): Promise<void> {
    const text = bytes.toString('latin1');
    if (this.#stretch.tally.lines === 0) this.#stretchStartedAt = performance.now();
    if (overlongTail) {
      this.#stretch.tally.lines += 1;
      countBadLine(text, from, this.#stretch);
      return;
    }
    for (let consumed = 0; consumed < text.length;) {
      consumed += this.#options.reader.read(text, consumed, from, this.#stretch);
      if (!this.#stretch.isFull) continue;
      while (this.#queue.length >= MAX_WAITING_STRETCHES && this.#options.farm.unavailableMs === 0)
        await new Promise<void>((resolve) => (this.#onStretchSent = resolve));
      this.#flush();
    }
  }

  /** Resolves when all lines have been counted or dropped. */
  async end(): Promise<void> {
    clearInterval(this.#timer);
    this.#flush();
    await this.#sending;
  }

  #flush(): void {
    const stretch = this.#stretch;
    this.#stretch = new LogStretchBuilder(0, this.#options.hostOf);
    if (stretch.tally.lines === 0) return;
    if (this.#queue.length >= MAX_WAITING_STRETCHES) this.dropped += stretch.tally.lines;
    else this.#queue.push(stretch);
    this.#sending ??= this.#sendQueued();
  }

  async #sendQueued(): Promise<void> {
    for (let stretch = this.#queue[0]; stretch; stretch = this.#queue[0]) {
      try {
        await this.#submit(stretch);
      } catch (error) {
        rethrowUnexpected(error);
        // It may or may not have been counted, so that what follows must be a new log.
        this.#log = undefined;
        this.dropped += stretch.tally.lines;
      }
      this.#queue.shift();
      this.#onStretchSent();
    }
    this.#sending = undefined;
  }

  /** Sends a stretch; positions in this log are numbers of lines. Throws a PiwError if it was not counted. */
  async #submit(stretch: LogStretchBuilder): Promise<void> {
    const { farm } = this.#options;
    this.#log ??= await this.#startLog();
    const { id, upto } = this.#log;
    const to = upto + stretch.tally.lines;
    const { counted, unknown } = await farm.submit({ ...stretch.build(id, to, String(to)), from: upto });
    if (!counted) throw new PiwError('PIW_REFUSED', 'another logger counts this log');
    this.#log.upto = to;
    this.unknown += unknown;
    addTally(this.tally, stretch.tally);
  }

  async #startLog(): Promise<{ id: number; upto: number }> {
    const [position] = await this.#options.farm.findPositions(`pipe ${randomUUID()}`, true);
    if (!position) throw new PiwError('PIW_REFUSED', 'the farm did not create a log');
    return { id: position[0], upto: 0 };
  }
}
