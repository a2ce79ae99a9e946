import { PiwError, reason } from '../errors.js';
import type { LogPosition, LogStretch } from '../protocols/weblog.js';
import { bad, type HostOf, type LineReader } from './reader.js';
import { lastOf, markOf, type Source } from './source.js';
import { Stretch, addTally, noLines, type Tally } from './stretch.js';

/** What the farm is asked: see src/protocols/weblog.ts. Both go on until they are answered, or raise a PiwError. */
export interface Farm {
  logs(head: string, fresh: boolean): Promise<readonly LogPosition[]>;
  count(stretch: LogStretch): Promise<{
    readonly upto: number;
    readonly mark: string;
    readonly counted: boolean;
    readonly unknown: number;
  }>;
}

/** What was counted of a log, this time. */
export interface Outcome {
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

export interface CountingOptions {
  readonly farm: Farm;
  readonly reader: LineReader;
  readonly hostOf: HostOf;
  /** How long the first line of a stretch waits for others, milliseconds. */
  readonly delayMs: number;
  readonly signal: AbortSignal;
  /** Called each time that a stretch was counted. */
  readonly onProgress: (outcome: Outcome) => void;
}

/** A log is looked for again so often, when others are at it as well. */
const TRIES = 20;
/** Of lines that say nothing as many bytes are passed over at once. */
const STRETCH_BYTES = 16 * 1024 * 1024;

/**
 * Counts what hasn't been counted of a log, from where the farm says that it has been. The farm alone knows how far
 * that is (src/database/logs.ts): the log is known again by its first line and by the bytes before that place, so
 * that it may be renamed, compressed or copied. Somebody else may be counting it at the same time: what the farm
 * doesn't take because it has it already is left out, and the rest is read anew from there.
 */
export class Counting {
  readonly outcome: Outcome = {
    ...{ tally: noLines(), before: 0, upto: 0, unknown: 0, refused: 0, refusal: undefined },
  };
  readonly #source: Source;
  readonly #options: CountingOptions;

  constructor(source: Source, options: CountingOptions) {
    this.#source = source;
    this.#options = options;
  }

  /** To its end, or until the signal is aborted. */
  async run(): Promise<Outcome> {
    const head = await this.#source.head();
    if (head === undefined) return this.outcome;
    for (let first = true; ; first = false) {
      const position = await this.#find(head);
      if (first) this.outcome.before = position[1];
      this.outcome.upto = position[1];
      if (await this.#from(position)) return this.outcome;
    }
  }

  /** The log that this is, and how far it has been counted. */
  async #find(head: string): Promise<LogPosition> {
    for (let tries = 0; tries < TRIES; tries += 1) {
      for (const position of await this.#options.farm.logs(head, tries > 0)) {
        const [, upto, mark] = position;
        const before = upto === 0 ? Buffer.alloc(0) : await this.#source.before(upto);
        if (upto === 0 || (before !== undefined && markOf(before) === mark)) return position;
      }
    }
    throw new PiwError('PIW_REFUSED', `${this.#source.name}: others are counting logs that begin the same`);
  }

  /** True when it has come to the end; false when the log stands elsewhere than was thought. */
  async #from([log, upto]: LogPosition): Promise<boolean> {
    const { reader, hostOf, signal, delayMs } = this.#options;
    let last = lastOf((await this.#source.before(upto)) ?? Buffer.alloc(0));
    let stretch = new Stretch(upto, hostOf);
    let at = upto;
    let began = 0;
    // The last two that are on their way: while the one is written, the next is brought there.
    let sending: readonly [Promise<boolean>, Promise<boolean>] = [YES, YES];
    const marks = new Map<number, string>();
    const send = async (): Promise<boolean> => {
      const [first, second] = sending;
      if (!(await first)) return false;
      const [its, to] = [stretch, at];
      const message = its.finish(log, to, markOf(last));
      marks.set(to, message.mark);
      const sent = this.#send(its, message, second, marks);
      // Whoever awaits it gets the error; until then nobody has to.
      sent.catch(() => undefined);
      sending = [second, sent];
      stretch = new Stretch(at, hostOf);
      for (const place of marks.keys()) if (place <= this.outcome.upto) marks.delete(place);
      return true;
    };
    for await (const { from, to, bytes, tooLong } of this.#source.blocks(upto)) {
      if (signal.aborted) break;
      if (at === stretch.from) began = performance.now();
      const text = bytes.toString('latin1');
      const before = last;
      if (tooLong) {
        stretch.tally.lines += 1;
        bad(text, from, stretch);
        [at, last] = [to, tooLong];
      }
      for (let read = 0; read < text.length && !tooLong;) {
        read += reader.read(text, read, from, stretch);
        at = from + read;
        last = lastOf(Buffer.concat([before, lastOf(bytes.subarray(0, read))]));
        if ((stretch.full || at - stretch.from >= STRETCH_BYTES) && !(await send())) return false;
        if (at === stretch.from) began = performance.now();
      }
      if (at > stretch.from && performance.now() - began >= delayMs && !(await send())) return false;
    }
    if (at > stretch.from && !(await send())) return false;
    return (await sending[0]) && (await sending[1]);
  }

  /**
   * The farm takes it only after the one before it, whose outcome is `before`. `marks` are those of all that may be
   * on their way, by their ends.
   */
  async #send(
    stretch: Stretch,
    message: LogStretch,
    before: Promise<boolean>,
    marks: ReadonlyMap<number, string>,
  ): Promise<boolean> {
    const { farm, onProgress } = this.#options;
    const { outcome } = this;
    const { to, mark } = message;
    try {
      let answer = await farm.count(message);
      if (!(await before)) return false;
      // A question that was repeated was counted the first time, and so may the one after it be.
      const isCounted = () => answer.counted || (answer.upto >= to && marks.get(answer.upto) === answer.mark);
      // It may have come there before the other.
      if (!isCounted()) answer = await farm.count(message);
      if (!isCounted()) return false;
      outcome.unknown += answer.unknown;
      addTally(outcome.tally, stretch.tally);
    } catch (error) {
      if (!(error instanceof PiwError) || error.code !== 'PIW_REFUSED') throw error;
      if (!(await before)) return false;
      // It would be refused again for ever, with all that comes after it.
      const { counted } = await farm.count(stretch.finishEmpty(message.log, to, mark));
      if (!counted) return false;
      outcome.refused += stretch.tally.lines;
      outcome.refusal ??= reason(error);
    }
    outcome.upto = to;
    onProgress(outcome);
    return true;
  }
}

const YES = Promise.resolve(true);
