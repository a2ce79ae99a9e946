import { createHash } from 'node:crypto';

/** Whole lines of a log, and where they begin and end in it; without any: time has passed. */
export interface LineBlock {
  readonly from: number;
  readonly to: number;
  readonly bytes: Buffer;
  /** It is one line, too long to be one of a server; `bytes` are its beginning, and these its end. */
  readonly overlongTail?: Buffer;
}

/**
 * A log that can be read again from any place: a file, a compressed one, a piece of the spool. Places are in bytes
 * of what it holds, uncompressed.
 */
export interface LogSource {
  readonly name: string;
  /** What it is known by: it begins so. Undefined while it has no whole line. */
  head(): Promise<string | undefined>;
  /** The last bytes before a place, as many as markOf takes, or as there are; undefined: it isn't that long. */
  tailBefore(offset: number): Promise<Buffer | undefined>;
  /** Its whole lines from there on. It ends where the log does, or what is whole of it. */
  blocks(from: number): AsyncIterable<LineBlock>;
}

const MARK_BYTES = 4096;

/** By what the place of a log is known again: the digest of the last bytes before it. */
export const markOf = (before: Buffer): string =>
  createHash('sha256').update(tailOf(before)).digest('hex').slice(0, 32);

/** As much of its end as a mark is made of. */
export const tailOf = (bytes: Buffer): Buffer => bytes.subarray(Math.max(0, bytes.length - MARK_BYTES));

/** The first line of a log, or as much of it. */
const HEAD_BYTES = 64 * 1024;

/** What a log is known by whose first bytes these are; undefined: they are too few to say. */
export function headOf(bytes: Buffer): string | undefined {
  const newline = bytes.indexOf(0x0a);
  if (newline < 0 && bytes.length < HEAD_BYTES) return undefined;
  const head = bytes.subarray(0, newline < 0 ? HEAD_BYTES : Math.min(newline + 1, HEAD_BYTES));
  return createHash('sha256').update(head).digest('hex');
}

export const HEAD_LIMIT = HEAD_BYTES;

/** Of a line that is longer than that, only its beginning and its end are kept; bytes. */
const MAX_BUFFERED_LINE_BYTES = 1024 * 1024;
const OVERLONG_START_BYTES = 200;
const NEWLINE = 0x0a;

/** Takes bytes as they come, and gives whole lines. */
export class LineSplitter {
  #offset: number;
  /** What came of a line whose end hasn't come, and how much that is. */
  #partial: Buffer[] = [];
  #partialBytes = 0;
  /** Of one that is too long. */
  #overlongStart: Buffer | undefined;
  #overlongTail: Buffer = Buffer.alloc(0);

  constructor(from: number) {
    this.#offset = from;
  }

  /** The whole lines that are there now. */
  add(bytes: Buffer): readonly LineBlock[] {
    const end = bytes.lastIndexOf(NEWLINE) + 1;
    if (end === 0) {
      this.#buffer(bytes);
      return [];
    }
    const blocks: LineBlock[] = [];
    let begin = 0;
    if (this.#overlongStart) {
      begin = bytes.indexOf(NEWLINE) + 1;
      this.#buffer(bytes.subarray(0, begin));
      blocks.push(this.#overlongBlock(this.#overlongStart));
    }
    const whole = bytes.subarray(begin, end);
    if (whole.length > 0)
      blocks.push(this.#block(this.#partial.length === 0 ? whole : Buffer.concat([...this.#partial, whole])));
    if (end < bytes.length) this.#buffer(bytes.subarray(end));
    return blocks;
  }

  /** What is left, a line without its end. */
  flush(): readonly LineBlock[] {
    if (this.#partialBytes === 0) return [];
    return [
      this.#overlongStart
        ? this.#overlongBlock(this.#overlongStart)
        : this.#block(Buffer.concat(this.#partial)),
    ];
  }

  #buffer(bytes: Buffer): void {
    this.#partialBytes += bytes.length;
    if (!this.#overlongStart) {
      this.#partial.push(bytes);
      if (this.#partialBytes <= MAX_BUFFERED_LINE_BYTES) return;
      const all = Buffer.concat(this.#partial);
      [this.#overlongStart, this.#overlongTail] = [
        Buffer.from(all.subarray(0, OVERLONG_START_BYTES)),
        Buffer.from(tailOf(all)),
      ];
      this.#partial = [];
    } else this.#overlongTail = Buffer.from(tailOf(Buffer.concat([this.#overlongTail, bytes])));
  }

  #block(bytes: Buffer): LineBlock {
    return { ...this.#advance(bytes.length), bytes };
  }

  #overlongBlock(bytes: Buffer): LineBlock {
    return { ...this.#advance(this.#partialBytes), bytes, overlongTail: this.#overlongTail };
  }

  #advance(length: number): Pick<LineBlock, 'from' | 'to'> {
    const from = this.#offset;
    this.#offset += length;
    [this.#partial, this.#partialBytes, this.#overlongStart] = [[], 0, undefined];
    return { from, to: this.#offset };
  }
}
