import { createHash } from 'node:crypto';

/** Whole lines of a log, with their start and end position in it. An empty block only signals that time has passed. */
export interface LineBlock {
  readonly from: number;
  readonly to: number;
  readonly bytes: Buffer;
  /** Set if the block is one line that is too long to be a server's: then `bytes` is its beginning, and this its end. */
  readonly overlongTail?: Buffer;
}

/**
 * A log that can be read from any position: a plain file, a compressed one, or a segment of the spool. Positions are
 * byte offsets in the uncompressed contents.
 */
export interface LogSource {
  readonly name: string;
  /** Returns the log's identity, a digest of its first line. Undefined while it has no whole line. */
  head(): Promise<string | undefined>;
  /** Returns the bytes before `offset` that markOf needs, fewer at the beginning; undefined if the log is shorter. */
  tailBefore(offset: number): Promise<Buffer | undefined>;
  /** Yields whole lines from the position `from`, to the end of the log or of its last whole line. */
  blocks(from: number): AsyncIterable<LineBlock>;
}

const MARK_BYTES = 4096;

/** Returns the mark that identifies a position of a log: a digest of the last bytes before it. */
export const markOf = (before: Buffer): string =>
  createHash('sha256').update(tailOf(before)).digest('hex').slice(0, 32);

/** Returns the last MARK_BYTES bytes, from which a mark is computed. */
export const tailOf = (bytes: Buffer): Buffer => bytes.subarray(Math.max(0, bytes.length - MARK_BYTES));

/** How much of a log's first line its identity is computed from, bytes. */
const HEAD_BYTES = 64 * 1024;

/** Returns the identity of a log that begins with these bytes; undefined if they are less than its first line. */
export function headOf(bytes: Buffer): string | undefined {
  const newline = bytes.indexOf(0x0a);
  if (newline < 0 && bytes.length < HEAD_BYTES) return undefined;
  const head = bytes.subarray(0, newline < 0 ? HEAD_BYTES : Math.min(newline + 1, HEAD_BYTES));
  return createHash('sha256').update(head).digest('hex');
}

export const HEAD_LIMIT = HEAD_BYTES;

/** Longest line that is buffered, bytes; only the beginning and the end of a longer one are kept. */
const MAX_BUFFERED_LINE_BYTES = 1024 * 1024;
const OVERLONG_START_BYTES = 200;
const NEWLINE = 0x0a;

/** Splits a stream of bytes into blocks of whole lines. */
export class LineSplitter {
  #offset: number;
  /** The beginning of an incomplete line, and its length. */
  #partial: Buffer[] = [];
  #partialBytes = 0;
  /** Beginning and end of an incomplete line that is too long to buffer. */
  #overlongStart: Buffer | undefined;
  #overlongTail: Buffer = Buffer.alloc(0);

  constructor(from: number) {
    this.#offset = from;
  }

  /** Adds bytes, and returns the lines that are now complete. */
  add(bytes: Buffer): readonly LineBlock[] {
    const end = bytes.lastIndexOf(NEWLINE) + 1;
    if (end === 0) {
      this.#buffer(bytes);
      return [];
    }
    const blocks: LineBlock[] = [];
    let start = 0;
    if (this.#overlongStart) {
      start = bytes.indexOf(NEWLINE) + 1;
      this.#buffer(bytes.subarray(0, start));
      blocks.push(this.#overlongBlock(this.#overlongStart));
    }
    const whole = bytes.subarray(start, end);
    if (whole.length > 0)
      blocks.push(this.#block(this.#partial.length === 0 ? whole : Buffer.concat([...this.#partial, whole])));
    if (end < bytes.length) this.#buffer(bytes.subarray(end));
    return blocks;
  }

  /** Returns the last line, if it has no newline. */
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
      const line = Buffer.concat(this.#partial);
      [this.#overlongStart, this.#overlongTail] = [
        Buffer.from(line.subarray(0, OVERLONG_START_BYTES)),
        Buffer.from(tailOf(line)),
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
