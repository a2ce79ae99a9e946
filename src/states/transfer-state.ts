import { consolidate, exclude, type ByteRange } from './ranges.js';

/**
 * A file of at most so many bytes is small: one chunk is all of it, it is kept in memory until it is published, and
 * after a break all of it is sent again.
 */
export const MAX_SMALL_FILE_BYTES = 128 * 1024;
/** Chunks come in windows of a few dozen; after a break there are as many gaps at most. */
const MAX_RANGES = 1000;

/**
 * Which bytes of a file have arrived. Chunks may come in any order, twice, or overlapping; what is
 * asked for next is the first range that is missing, whole.
 */
export class TransferState {
  /** Bytes of the whole file. */
  readonly size: number;
  #receivedRanges: readonly ByteRange[] = [];

  constructor(size: number, have: Iterable<ByteRange> = []) {
    this.size = size;
    for (const range of have) this.chunk(range.start, range.end - range.start);
  }

  /**
   * Whether these bytes are worth keeping: a part of the file, not there yet, and no further piece apart from
   * the others where there are MAX_PIECES. For who sends single bytes here and there, all that is noted of
   * them would be looked through for each further one.
   */
  isWorthKeeping(offset: number, length: number): boolean {
    const end = offset + length;
    if (!Number.isSafeInteger(offset) || offset < 0 || length <= 0 || end > this.size) return false;
    if (this.has(offset, length)) return false;
    return (
      this.#receivedRanges.length < MAX_RANGES ||
      this.#receivedRanges.some((have) => have.start <= end && have.end >= offset)
    );
  }

  /** Bytes have arrived. False, and nothing is noted, if they are no part of this file. */
  chunk(offset: number, length: number): boolean {
    const end = offset + length;
    if (!Number.isSafeInteger(offset) || offset < 0 || length <= 0 || end > this.size) return false;
    const ranges = [...this.#receivedRanges, { start: offset, end }].sort((a, b) => a.start - b.start);
    this.#receivedRanges = [...consolidate(ranges)];
    return true;
  }

  /** The first range that is missing; undefined when nothing is. */
  fetch(): ByteRange | undefined {
    let missing: Iterable<ByteRange> = this.size === 0 ? [] : [{ start: 0, end: this.size }];
    for (const range of this.#receivedRanges) missing = exclude(missing, range);
    const [first] = missing;
    return first;
  }

  /** What of `offset` and the `length` bytes from there is a part of this file and has not arrived. */
  missing(offset: number, length: number): readonly ByteRange[] {
    const end = offset + length;
    if (!Number.isSafeInteger(offset) || offset < 0 || length <= 0 || end > this.size) return [];
    let missing: Iterable<ByteRange> = [{ start: offset, end }];
    for (const range of this.#receivedRanges) missing = exclude(missing, range);
    return [...missing];
  }

  /** True when every byte of `offset` and the `length` bytes from there has arrived. */
  has(offset: number, length: number): boolean {
    return (
      length === 0 || this.#receivedRanges.some(({ start, end }) => start <= offset && end >= offset + length)
    );
  }

  get done(): boolean {
    return this.has(0, this.size);
  }

  /** Bytes that have arrived. */
  get received(): number {
    return this.#receivedRanges.reduce((sum, { start, end }) => sum + end - start, 0);
  }
}
