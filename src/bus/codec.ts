import { Decoder, encode as pack } from '@msgpack/msgpack';
import { PiwError, reason } from '../errors.js';

/**
 * MessagePack, with limits on what is read: a few hostile bytes can announce a string of 4 GB or an
 * array of as many elements.
 */
const MAX_ITEMS = 16 * 1024 * 1024;
const MAX_BYTES = 256 * 1024 * 1024;
const decoder = new Decoder({
  maxStrLength: MAX_BYTES,
  maxBinLength: MAX_BYTES,
  maxArrayLength: MAX_ITEMS,
  maxMapLength: MAX_ITEMS,
  maxExtLength: 16,
});

export function encode(value: unknown): Uint8Array {
  return pack(value);
}

/** Raises PIW_MESSAGE_INVALID for anything that isn't one whole MessagePack value. */
export function decode(bytes: Uint8Array): unknown {
  try {
    return decoder.decode(bytes);
  } catch (error) {
    throw new PiwError('PIW_MESSAGE_INVALID', `not MessagePack: ${reason(error)}`, { cause: error });
  }
}
