import { PiwError, errorMessage } from '../errors.js';
import type { LogPosition, LogStretch } from '../protocols/weblog.js';
import { countBadLine, type HostLookup, type LineReader } from './reader.js';
import { tailOf, markOf, type LogSource } from './source.js';
import { LogStretchBuilder, addTally, emptyTally, type Tally } from './stretch.js';

/** What the farm is asked: see src/protocols/weblog.ts. Both go on until they are answered, or raise a PiwError. */
export interface LogCollector {
  findPositions(head: string, fresh: boolean): Promise<readonly LogPosition[]>;
  submit(stretch: LogStretch): Promise<{
    readonly upto: number;
    readonly mark: string;
    readonly counted: boolean;
    readonly unknown: number;
  }>;
}

/** What was counted of a log, this time. */
export interface LogCountResult {
  readonly tally: Tally;
  /** Bytes that had been counted before. */
  before: number;
  /** And that are counted now. */
  upto: number;
  /** Downloads of files that aren't here. */
  unknown: number;
  /** Lines of stretches that the farm refuses, and why. */
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
  /** Called each time that a stretch was counted. */
  readonly onProgress: (outcome: LogCountResult) => void;
}

/** A log is looked for again so often, when others are at it as well. */
const MAX_ATTEMPTS = 20;
/** Of lines that say nothing as many bytes are passed over at once. */
const MAX_STRETCH_SPAN_BYTES = 16 * 1024 * 1024;

/**
 * Counts what hasn't been counted of a log, from where the farm says that it has been. The farm alone knows how far
 * that is (src/database/logs.ts): the log is known again by its first line and by the bytes before that place, so
 * that it may be renamed, compressed or copied. Somebody else may be counting it at the same time: what the farm
 * doesn't take because it has it already is left out, and the rest is read anew from there.
 */
export class LogCounter {
  readonly result: LogCountResult = {
    ...{ tally: emptyTally(), before: 0, upto: 0, unknown: 0, refused: 0, refusal: undefined },
  };
  readonly #source: LogSource;
  readonly #options: LogCounterOptions;

  constructor(source: LogSource, options: LogCounterOptions) {
    this.#source = source;
    this.#options = options;
  }

  /** To its end, or until the signal is aborted. */
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

  /** The log that this is, and how far it has been counted. */
  async #findPosition(head: string): Promise<LogPosition> {
    for (let tries = 0; tries < MAX_ATTEMPTS; tries += 1) {
      for (const position of await this.#options.farm.findPositions(head, tries > 0)) {
        const [, upto, mark] = position;
        const before = upto === 0 ? Buffer.alloc(0) : await this.#source.tailBefore(upto);
        if (upto === 0 || (before !== undefined && markOf(before) === mark)) return position;
      }
    }
    throw new PiwError('PIW_REFUSED', `${this.#source.name}: others are counting logs that begin the same`);
  }

  /** True when it has come to the end; false when the log stands elsewhere than was thought. */
  async #countFrom([log, upto]: LogPosition): Promise<boolean> {
    const { reader, hostOf, signal, delayMs } = this.#options;
    let tail = tailOf((await this.#source.tailBefore(upto)) ?? Buffer.alloc(0));
    let stretch = new LogStretchBuilder(upto, hostOf);
    let at = upto;
    let stretchStartedAt = 0;
    // The last two that are on their way: while the one is written, the next is brought there.
    let inFlight: readonly [Promise<boolean>, Promise<boolean>] = [RESOLVED_TRUE, RESOLVED_TRUE];
    const marks = new Map<number, string>();
    const send = async (): Promise<boolean> => {
      const [first, second] = inFlight;
      if (!(await first)) return false;
      const [finishedStretch, to] = [stretch, at];
      const message = finishedStretch.build(log, to, markOf(tail));
      marks.set(to, message.mark);
      const sent = this.#submit(finishedStretch, message, second, marks);
      // Whoever awaits it gets the error; until then nobody has to.
      sent.catch(() => undefined);
      inFlight = [second, sent];
      stretch = new LogStretchBuilder(at, hostOf);
      for (const place of marks.keys()) if (place <= this.result.upto) marks.delete(place);
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
   * The farm takes it only after the one before it, whose outcome is `before`. `marks` are those of all that may be
   * on their way, by their ends.
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
      // A question that was repeated was counted the first time, and so may the one after it be.
      const isCounted = () => answer.counted || (answer.upto >= to && marks.get(answer.upto) === answer.mark);
      // It may have come there before the other.
      if (!isCounted()) answer = await farm.submit(message);
      if (!isCounted()) return false;
      result.unknown += answer.unknown;
      addTally(result.tally, stretch.tally);
    } catch (error) {
      if (!(error instanceof PiwError) || error.code !== 'PIW_REFUSED') throw error;
      if (!(await previous)) return false;
      // It would be refused again for ever, with all that comes after it.
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
