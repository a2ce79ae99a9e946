import { Decoder, encode as pack } from '@msgpack/msgpack';
import { PiwError, reason } from '../errors.js';

/**
 * MessagePack, with limits on what is read. What is announced is held against what is there before anything
 * is made of it: five hostile bytes can announce an array of four thousand million elements, and a megabyte
 * of another kind holds as many arrays within each other, each of which costs a hundred times its byte.
 */
export interface Limits {
  /** Values in all, those within others included. */
  readonly values: number;
  /** Lists and maps within each other. */
  readonly depth: number;
}

/** What the farm's own actors say: the name of every package is one message. */
export const OURS: Limits = { values: 16 * 1024 * 1024, depth: 16 };
/** What a slave says: a hundred files, each with what it needs of the system. */
export const STRANGERS: Limits = { values: 1024 * 1024, depth: 16 };

const decoder = new Decoder();

export function encode(value: unknown): Uint8Array {
  return pack(value);
}

/** Raises PIW_MESSAGE_INVALID for anything that isn't one whole MessagePack value within the limits. */
export function decode(bytes: Uint8Array, limits: Limits = OURS): unknown {
  try {
    measure(bytes, limits);
    return decoder.decode(bytes);
  } catch (error) {
    throw new PiwError('PIW_MESSAGE_INVALID', `not MessagePack: ${reason(error)}`, { cause: error });
  }
}

/** Walks over the values without making them. */
function measure(bytes: Uint8Array, { values, depth }: Limits): void {
  const walk = new Walk(bytes);
  /** How many values are still to come in each list or map that is open. */
  const open = [1];
  for (let seen = 0; open.length > 0;) {
    const left = open[open.length - 1] ?? 0;
    if (left === 0) {
      open.pop();
      continue;
    }
    open[open.length - 1] = left - 1;
    if ((seen += 1) > values) throw new Error(`it holds more than ${String(values)} values`);
    const inside = walk.next();
    if (inside === 0) continue;
    if (open.length > depth) throw new Error(`it has more than ${String(depth)} lists within each other`);
    open.push(inside);
  }
  if (walk.left > 0) throw new Error(`${String(walk.left)} bytes follow it`);
}

class Walk {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Bytes to come. */
  get left(): number {
    return this.#bytes.length - this.#at;
  }

  /** Goes behind the next value, or into it where it is a list or a map; how many values are within it. */
  next(): number {
    const type = this.#number(1);
    if (type <= 0x7f || type >= 0xe0) return 0;
    if (type <= 0x8f) return this.#into(2 * (type & 0x0f));
    if (type <= 0x9f) return this.#into(type & 0x0f);
    if (type <= 0xbf) return this.#over(type & 0x1f);
    const width = WIDTHS[type - 0xc0] ?? -1;
    if (type >= 0xdc && type <= 0xdf) return this.#into(this.#number(width) * (type >= 0xde ? 2 : 1));
    if ((type >= 0xc4 && type <= 0xc6) || (type >= 0xd9 && type <= 0xdb))
      return this.#over(this.#number(width));
    if (width < 0) throw new Error(`it has a value of type 0x${type.toString(16)}`);
    return this.#over(width);
  }

  /** A number of so many bytes, which are passed. */
  #number(width: number): number {
    this.#over(width);
    let number = 0;
    for (let i = this.#at - width; i < this.#at; i += 1) number = number * 256 + (this.#bytes[i] ?? 0);
    return number;
  }

  #over(bytes: number): 0 {
    if (bytes > this.left) throw new Error('it is cut off');
    this.#at += bytes;
    return 0;
  }

  /** Each of them takes a byte at least. */
  #into(values: number): number {
    if (values > this.left) throw new Error('it announces more than there is');
    return values;
  }
}

/**
 * From 0xc0: how many bytes follow, or, of texts, bytes, lists and maps, how many those of their length are.
 * Of what has -1 no message holds any: types that are nobody's, and extensions.
 */
const WIDTHS: readonly number[] = [
  ...[0, -1, 0, 0, 1, 2, 4, -1, -1, -1, 4, 8, 1, 2, 4, 8],
  ...[1, 2, 4, 8, -1, -1, -1, -1, -1, 1, 2, 4, 2, 4, 2, 4],
];
