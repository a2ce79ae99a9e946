import { Decoder, Encoder } from '@msgpack/msgpack';
import { PiwError, errorMessage } from '../errors.js';
import { formatQuantity } from '../units.js';

/**
 * Limits for decoding MessagePack. The lengths that a message announces are compared with its size before anything is
 * allocated: five hostile bytes can announce an array of four billion elements, and a hostile megabyte can hold a
 * million nested arrays, each of which takes a hundred times as much memory as its byte.
 */
interface DecodeLimits {
  /** The number of values, nested ones included. */
  readonly maxValues: number;
  /** How deep lists and maps may be nested. */
  readonly maxDepth: number;
}

/** For messages of the farm's own actors: one message holds the names of all packages. */
export const TRUSTED_LIMITS: DecodeLimits = { maxValues: 16 * 1024 * 1024, maxDepth: 16 };
/** For messages of slaves: a hundred files, each with the system libraries that it requires. */
export const UNTRUSTED_LIMITS: DecodeLimits = { maxValues: 1024 * 1024, maxDepth: 16 };

const decoder = new Decoder();
let encoder = new Encoder();
/** An encoder whose buffer has grown to more than this, bytes, is replaced. */
const MAX_KEPT_BUFFER_BYTES = 256 * 1024;

export function encode(value: unknown): Uint8Array {
  // The instance is reused: a new one allocates and clears a buffer for each message.
  const shared = encoder.encodeSharedRef(value);
  if (shared.length <= MAX_KEPT_BUFFER_BYTES) return shared.slice();
  encoder = new Encoder();
  return shared;
}

/**
 * Decodes a message. Throws PIW_MESSAGE_INVALID for anything that is not exactly one complete MessagePack value within
 * the limits.
 */
export function decode(bytes: Uint8Array, limits: DecodeLimits = TRUSTED_LIMITS): unknown {
  try {
    enforceLimits(bytes, limits);
    return decoder.decode(bytes);
  } catch (error) {
    throw new PiwError('PIW_MESSAGE_INVALID', `not MessagePack: ${errorMessage(error)}`, { cause: error });
  }
}

/** Walks over the values without decoding them; throws if they exceed a limit. */
function enforceLimits(bytes: Uint8Array, { maxValues, maxDepth }: DecodeLimits): void {
  const walk = new MessagePackWalker(bytes);
  /** How many values are still to come in each open list or map. */
  const openContainers = [1];
  for (let valueCount = 0; openContainers.length > 0;) {
    const remaining = openContainers[openContainers.length - 1] ?? 0;
    if (remaining === 0) {
      openContainers.pop();
      continue;
    }
    openContainers[openContainers.length - 1] = remaining - 1;
    if ((valueCount += 1) > maxValues) throw new Error(`it holds more than ${maxValues} values`);
    const childCount = walk.next();
    if (childCount === 0) continue;
    if (openContainers.length > maxDepth) throw new Error(`it is nested more than ${maxDepth} levels deep`);
    openContainers.push(childCount);
  }
  if (walk.bytesLeft > 0)
    throw new Error(`${formatQuantity(walk.bytesLeft, 'byte follows', 'bytes follow')} the value`);
}

class MessagePackWalker {
  readonly #bytes: Uint8Array;
  #position = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** The number of bytes after the current position. */
  get bytesLeft(): number {
    return this.#bytes.length - this.#position;
  }

  /**
   * Moves past the next value, or, if it is a list or a map, to its first element; returns the number of values in it,
   * 0 for any other value.
   */
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

  /** Reads a big-endian number of `width` bytes, and moves past it. */
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

  /** Returns `values` if they can exist: each of them takes at least one byte. */
  #checkedCount(values: number): number {
    if (values > this.bytesLeft) throw new Error('it announces more values than it can hold');
    return values;
  }
}

/**
 * For each type byte from 0xc0: how many bytes follow it, or, for strings, binaries, lists and maps, the width of the
 * length that follows. -1 marks what no message of ours contains: the unused type and extensions.
 */
const WIDTHS: readonly number[] = [
  ...[0, -1, 0, 0, 1, 2, 4, -1, -1, -1, 4, 8, 1, 2, 4, 8],
  ...[1, 2, 4, 8, -1, -1, -1, -1, -1, 1, 2, 4, 2, 4, 2, 4],
];
