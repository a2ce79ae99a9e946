import { createHash } from 'node:crypto';

/** Whole lines of a log, and where they begin and end in it; without any: time has passed. */
export interface Block {
  readonly from: number;
  readonly to: number;
  readonly bytes: Buffer;
  /** It is one line, too long to be one of a server; `bytes` are its beginning, and these its end. */
  readonly tooLong?: Buffer;
}

/**
 * A log that can be read again from any place: a file, a compressed one, a piece of the spool. Places are in bytes
 * of what it holds, uncompressed.
 */
export interface Source {
  readonly name: string;
  /** What it is known by: it begins so. Undefined while it has no whole line. */
  head(): Promise<string | undefined>;
  /** The last bytes before a place, as many as markOf takes, or as there are; undefined: it isn't that long. */
  before(place: number): Promise<Buffer | undefined>;
  /** Its whole lines from there on. It ends where the log does, or what is whole of it. */
  blocks(from: number): AsyncIterable<Block>;
}

const MARK_BYTES = 4096;

/** By what the place of a log is known again: the digest of the last bytes before it. */
export const markOf = (before: Buffer): string =>
  createHash('sha256').update(lastOf(before)).digest('hex').slice(0, 32);

/** As much of its end as a mark is made of. */
export const lastOf = (bytes: Buffer): Buffer => bytes.subarray(Math.max(0, bytes.length - MARK_BYTES));

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
const LONGEST = 1024 * 1024;
const BEGINNING = 200;
const NEWLINE = 0x0a;

/** Takes bytes as they come, and gives whole lines. */
export class Lines {
  #from: number;
  /** What came of a line whose end hasn't come, and how much that is. */
  #rest: Buffer[] = [];
  #length = 0;
  /** Of one that is too long. */
  #beginning: Buffer | undefined;
  #end: Buffer = Buffer.alloc(0);

  constructor(from: number) {
    this.#from = from;
  }

  /** The whole lines that are there now. */
  add(bytes: Buffer): readonly Block[] {
    const end = bytes.lastIndexOf(NEWLINE) + 1;
    if (end === 0) {
      this.#keep(bytes);
      return [];
    }
    const blocks: Block[] = [];
    let begin = 0;
    if (this.#beginning) {
      begin = bytes.indexOf(NEWLINE) + 1;
      this.#keep(bytes.subarray(0, begin));
      blocks.push(this.#tooLong(this.#beginning));
    }
    const whole = bytes.subarray(begin, end);
    if (whole.length > 0)
      blocks.push(this.#block(this.#rest.length === 0 ? whole : Buffer.concat([...this.#rest, whole])));
    if (end < bytes.length) this.#keep(bytes.subarray(end));
    return blocks;
  }

  /** What is left, a line without its end. */
  rest(): readonly Block[] {
    if (this.#length === 0) return [];
    return [this.#beginning ? this.#tooLong(this.#beginning) : this.#block(Buffer.concat(this.#rest))];
  }

  #keep(bytes: Buffer): void {
    this.#length += bytes.length;
    if (!this.#beginning) {
      this.#rest.push(bytes);
      if (this.#length <= LONGEST) return;
      const all = Buffer.concat(this.#rest);
      [this.#beginning, this.#end] = [Buffer.from(all.subarray(0, BEGINNING)), Buffer.from(lastOf(all))];
      this.#rest = [];
    } else this.#end = Buffer.from(lastOf(Buffer.concat([this.#end, bytes])));
  }

  #block(bytes: Buffer): Block {
    return { ...this.#pass(bytes.length), bytes };
  }

  #tooLong(bytes: Buffer): Block {
    return { ...this.#pass(this.#length), bytes, tooLong: this.#end };
  }

  #pass(length: number): Pick<Block, 'from' | 'to'> {
    const from = this.#from;
    this.#from += length;
    [this.#rest, this.#length, this.#beginning] = [[], 0, undefined];
    return { from, to: this.#from };
  }
}
