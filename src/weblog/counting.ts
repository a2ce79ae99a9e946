import { PiwError, errorMessage, hasCode } from '../errors.js';
import type { LogPosition, LogStretch } from '../protocols/weblog.js';
import { countBadLine, type HostLookup, type LineReader } from './reader.js';
import { tailOf, markOf, type LogSource } from './source.js';
import { LogStretchBuilder, addTally, emptyTally, type Tally } from './stretch.js';

/** Requests to the farm: see src/protocols/weblog.ts. Both resolve when they are answered, or throw a PiwError. */
export interface LogCollector {
  findPositions(head: string, fresh: boolean): Promise<readonly LogPosition[]>;
  submit(stretch: LogStretch): Promise<{
    readonly upto: number;
    readonly mark: string;
    readonly counted: boolean;
    readonly unknown: number;
  }>;
}

/** What one run has counted of a log. */
export interface LogCountResult {
  readonly tally: Tally;
  /** Bytes that had been counted before this run. */
  before: number;
  /** Bytes that have been counted now. */
  upto: number;
  /** Downloads of files that the farm does not have. */
  unknown: number;
  /** Lines of stretches that the farm refused, and why. */
  refused: number;
  refusal: string | undefined;
}

export interface LogCounterOptions {
  readonly farm: LogCollector;
  readonly reader: LineReader;
  readonly hostOf: HostLookup;
  /** How long the first line of a stretch waits for others, milliseconds. */
  readonly delayMs: number;
  readonly signal: AbortSignal;
  /** Called whenever a stretch has been counted. */
  readonly onProgress: (result: LogCountResult) => void;
}

/** How often the position of a log is looked up, because other loggers may be changing it. */
const MAX_ATTEMPTS = 20;
/** Maximum size of a stretch in the log, bytes: a stretch of lines without entries would never be full. */
const MAX_STRETCH_SPAN_BYTES = 16 * 1024 * 1024;

/**
 * Counts the part of a log that hasn't been counted yet. Only the farm knows how far that is (src/database/logs.ts). It
 * identifies the log by its first line and by the bytes before that position, so that the log may be renamed,
 * compressed or copied. Another logger may be counting it at the same time: the farm rejects a stretch that it has
 * already, and the rest is read again from the farm's position.
 */
export class LogCounter {
  readonly result: LogCountResult = {
    tally: emptyTally(),
    before: 0,
    upto: 0,
    unknown: 0,
    refused: 0,
    refusal: undefined,
  };
  readonly #source: LogSource;
  readonly #options: LogCounterOptions;

  constructor(source: LogSource, options: LogCounterOptions) {
    this.#source = source;
    this.#options = options;
  }

  /** Counts to the end of the log, or until the signal is aborted. */
  async run(): Promise<LogCountResult> {
    const head = await this.#source.head();
    if (head === undefined) return this.result;
    for (let first = true; ; first = false) {
      const position = await this.#findPosition(head);
      if (first) this.result.before = position[1];
      this.result.upto = position[1];
      if (await this.#countFrom(position)) return this.result;
    }
  }

  /** Returns the farm's number for this log, and how far it has been counted. Throws PIW_REFUSED. */
  async #findPosition(head: string): Promise<LogPosition> {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
      for (const position of await this.#options.farm.findPositions(head, attempt > 0)) {
        const [, upto, mark] = position;
        const before = upto === 0 ? Buffer.alloc(0) : await this.#source.tailBefore(upto);
        if (upto === 0 || (before !== undefined && markOf(before) === mark)) return position;
      }
    }
    throw new PiwError(
      'PIW_REFUSED',
      `${this.#source.name}: other loggers are counting logs with the same first line`,
    );
  }

  /** Counts from `upto`. Returns true at the end of the log, and false if the farm's position turned out to be another. */
  async #countFrom([log, upto]: LogPosition): Promise<boolean> {
    const { reader, hostOf, signal, delayMs } = this.#options;
    let tail = tailOf((await this.#source.tailBefore(upto)) ?? Buffer.alloc(0));
    let stretch = new LogStretchBuilder(upto, hostOf);
    let at = upto;
    let stretchStartedAt = 0;
    // The last two stretches in flight: while the farm writes one, the next is on its way.
    let inFlight: readonly [Promise<boolean>, Promise<boolean>] = [RESOLVED_TRUE, RESOLVED_TRUE];
    const marks = new Map<number, string>();
    const send = async (): Promise<boolean> => {
      const [first, second] = inFlight;
      if (!(await first)) return false;
      const [finishedStretch, to] = [stretch, at];
      const message = finishedStretch.build(log, to, markOf(tail));
      marks.set(to, message.mark);
      const sent = this.#submit(finishedStretch, message, second, marks);
      // A later await gets the error; until then it must not count as unhandled.
      sent.catch(() => undefined);
      inFlight = [second, sent];
      stretch = new LogStretchBuilder(at, hostOf);
      for (const end of marks.keys()) if (end <= this.result.upto) marks.delete(end);
      return true;
    };
    for await (const { from, to, bytes, overlongTail } of this.#source.blocks(upto)) {
      if (signal.aborted) break;
      if (at === stretch.from) stretchStartedAt = performance.now();
      const text = bytes.toString('latin1');
      const tailBefore = tail;
      if (overlongTail) {
        stretch.tally.lines += 1;
        countBadLine(text, from, stretch);
        [at, tail] = [to, overlongTail];
      }
      for (let consumed = 0; consumed < text.length && !overlongTail;) {
        consumed += reader.read(text, consumed, from, stretch);
        at = from + consumed;
        tail = tailOf(Buffer.concat([tailBefore, tailOf(bytes.subarray(0, consumed))]));
        if ((stretch.isFull || at - stretch.from >= MAX_STRETCH_SPAN_BYTES) && !(await send())) return false;
        if (at === stretch.from) stretchStartedAt = performance.now();
      }
      if (at > stretch.from && performance.now() - stretchStartedAt >= delayMs && !(await send()))
        return false;
    }
    if (at > stretch.from && !(await send())) return false;
    return (await inFlight[0]) && (await inFlight[1]);
  }

  /**
   * Sends a stretch, and returns whether it was counted. The farm takes it only after the previous one, whose result is
   * `previous`. `marks` are the marks of all stretches that may be in flight, by their end positions.
   */
  async #submit(
    stretch: LogStretchBuilder,
    message: LogStretch,
    previous: Promise<boolean>,
    marks: ReadonlyMap<number, string>,
  ): Promise<boolean> {
    const { farm, onProgress } = this.#options;
    const { result } = this;
    const { to, mark } = message;
    try {
      let answer = await farm.submit(message);
      if (!(await previous)) return false;
      // A retried request may have been counted the first time, and so may the one after it.
      const isCounted = () => answer.counted || (answer.upto >= to && marks.get(answer.upto) === answer.mark);
      // It may have arrived before the previous stretch.
      if (!isCounted()) answer = await farm.submit(message);
      if (!isCounted()) return false;
      result.unknown += answer.unknown;
      addTally(result.tally, stretch.tally);
    } catch (error) {
      if (!hasCode(error, 'PIW_REFUSED')) throw error;
      if (!(await previous)) return false;
      // A retry would be refused for ever, and block all that follows: skip its entries.
      const { counted } = await farm.submit(stretch.buildEmpty(message.log, to, mark));
      if (!counted) return false;
      result.refused += stretch.tally.lines;
      result.refusal ??= errorMessage(error);
    }
    result.upto = to;
    onProgress(result);
    return true;
  }
}

const RESOLVED_TRUE = Promise.resolve(true);
