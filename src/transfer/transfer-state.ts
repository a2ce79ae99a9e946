import { consolidate, exclude, type ByteRange } from './byte-ranges.js';

/** Chunks arrive in windows of a few dozen, so an honest sender leaves at most that many gaps. */
const MAX_RANGES = 1000;

/**
 * Tracks which bytes of a file have arrived. Chunks may arrive in any order, repeatedly, or overlapping; the next
 * range to request is the first missing one, in full.
 */
export class TransferState {
  /** The size of the file, bytes. */
  readonly size: number;
  #receivedRanges: readonly ByteRange[] = [];

  constructor(size: number, have: Iterable<ByteRange> = []) {
    this.size = size;
    for (const range of have) this.markReceived(range.start, range.end - range.start);
  }

  /**
   * Returns whether these bytes are worth keeping: they are a part of the file, have not all arrived, and do not add
   * a range when there are already MAX_RANGES. A sender of scattered single bytes would otherwise make every further
   * chunk search an ever longer list.
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

  /** Records that bytes have arrived. Returns false, and records nothing, if they are not a part of this file. */
  markReceived(offset: number, length: number): boolean {
    const end = offset + length;
    if (!Number.isSafeInteger(offset) || offset < 0 || length <= 0 || end > this.size) return false;
    const ranges = [...this.#receivedRanges, { start: offset, end }].sort((a, b) => a.start - b.start);
    this.#receivedRanges = [...consolidate(ranges)];
    return true;
  }

  /** Returns the first missing range; undefined if nothing is missing. */
  firstMissingRange(): ByteRange | undefined {
    let missing: Iterable<ByteRange> = this.size === 0 ? [] : [{ start: 0, end: this.size }];
    for (const range of this.#receivedRanges) missing = exclude(missing, range);
    const [first] = missing;
    return first;
  }

  /** Returns the missing ranges within the `length` bytes from `offset`; none if these are not a part of this file. */
  missing(offset: number, length: number): readonly ByteRange[] {
    const end = offset + length;
    if (!Number.isSafeInteger(offset) || offset < 0 || length <= 0 || end > this.size) return [];
    let missing: Iterable<ByteRange> = [{ start: offset, end }];
    for (const range of this.#receivedRanges) missing = exclude(missing, range);
    return [...missing];
  }

  /** Returns whether all of the `length` bytes from `offset` have arrived. */
  has(offset: number, length: number): boolean {
    return (
      length === 0 || this.#receivedRanges.some(({ start, end }) => start <= offset && end >= offset + length)
    );
  }

  get done(): boolean {
    return this.has(0, this.size);
  }

  /** How many bytes have arrived. */
  get received(): number {
    return this.#receivedRanges.reduce((sum, { start, end }) => sum + end - start, 0);
  }
}
