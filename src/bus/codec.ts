import { Decoder, encode as pack } from '@msgpack/msgpack';
import { PiwError, errorMessage } from '../errors.js';

/**
 * MessagePack, with limits on what is read. What is announced is held against what is there before anything
 * is made of it: five hostile bytes can announce an array of four thousand million elements, and a megabyte
 * of another kind holds as many arrays within each other, each of which costs a hundred times its byte.
 */
export interface DecodeLimits {
  /** Values in all, those within others included. */
  readonly maxValues: number;
  /** Lists and maps within each other. */
  readonly maxDepth: number;
}

/** What the farm's own actors say: the name of every package is one message. */
export const TRUSTED_LIMITS: DecodeLimits = { maxValues: 16 * 1024 * 1024, maxDepth: 16 };
/** What a slave says: a hundred files, each with what it needs of the system. */
export const UNTRUSTED_LIMITS: DecodeLimits = { maxValues: 1024 * 1024, maxDepth: 16 };

const decoder = new Decoder();

export function encode(value: unknown): Uint8Array {
  return pack(value);
}

/** Raises PIW_MESSAGE_INVALID for anything that isn't one whole MessagePack value within the limits. */
export function decode(bytes: Uint8Array, limits: DecodeLimits = TRUSTED_LIMITS): unknown {
  try {
    enforceLimits(bytes, limits);
    return decoder.decode(bytes);
  } catch (error) {
    throw new PiwError('PIW_MESSAGE_INVALID', `not MessagePack: ${errorMessage(error)}`, { cause: error });
  }
}

/** Walks over the values without making them. */
function enforceLimits(bytes: Uint8Array, { maxValues, maxDepth }: DecodeLimits): void {
  const walk = new MessagePackWalker(bytes);
  /** How many values are still to come in each list or map that is open. */
  const openContainers = [1];
  for (let valueCount = 0; openContainers.length > 0;) {
    const remaining = openContainers[openContainers.length - 1] ?? 0;
    if (remaining === 0) {
      openContainers.pop();
      continue;
    }
    openContainers[openContainers.length - 1] = remaining - 1;
    if ((valueCount += 1) > maxValues) throw new Error(`it holds more than ${String(maxValues)} values`);
    const childCount = walk.next();
    if (childCount === 0) continue;
    if (openContainers.length > maxDepth)
      throw new Error(`it has more than ${String(maxDepth)} lists within each other`);
    openContainers.push(childCount);
  }
  if (walk.bytesLeft > 0) throw new Error(`${String(walk.bytesLeft)} bytes follow it`);
}

class MessagePackWalker {
  readonly #bytes: Uint8Array;
  #position = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Bytes to come. */
  get bytesLeft(): number {
    return this.#bytes.length - this.#position;
  }

  /** Goes behind the next value, or into it where it is a list or a map; how many values are within it. */
  next(): number {
    const type = this.#readUint(1);
    if (type <= 0x7f || type >= 0xe0) return 0;
    if (type <= 0x8f) return this.#checkedCount(2 * (type & 0x0f));
    if (type <= 0x9f) return this.#checkedCount(type & 0x0f);
    if (type <= 0xbf) return this.#skip(type & 0x1f);
    const width = WIDTHS[type - 0xc0] ?? -1;
    if (type >= 0xdc && type <= 0xdf)
      return this.#checkedCount(this.#readUint(width) * (type >= 0xde ? 2 : 1));
    if ((type >= 0xc4 && type <= 0xc6) || (type >= 0xd9 && type <= 0xdb))
      return this.#skip(this.#readUint(width));
    if (width < 0) throw new Error(`it has a value of type 0x${type.toString(16)}`);
    return this.#skip(width);
  }

  /** A number of so many bytes, which are passed. */
  #readUint(width: number): number {
    this.#skip(width);
    let number = 0;
    for (let i = this.#position - width; i < this.#position; i += 1)
      number = number * 256 + (this.#bytes[i] ?? 0);
    return number;
  }

  #skip(bytes: number): 0 {
    if (bytes > this.bytesLeft) throw new Error('it is cut off');
    this.#position += bytes;
    return 0;
  }

  /** Each of them takes a byte at least. */
  #checkedCount(values: number): number {
    if (values > this.bytesLeft) throw new Error('it announces more than there is');
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
