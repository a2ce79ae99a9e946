/** The bytes from `start` up to, but not including, `end`. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** Returns the ranges, which must be in ascending order, with those that overlap or touch merged. */
export function* consolidate(ranges: Iterable<ByteRange>): Generator<ByteRange> {
  let last: ByteRange | undefined;
  for (const range of ranges) {
    if (last === undefined) last = range;
    else if (range.start <= last.end) last = { start: last.start, end: Math.max(last.end, range.end) };
    else {
      yield last;
      last = range;
    }
  }
  if (last !== undefined) yield last;
}

/** Returns the ranges, which must be in ascending order and disjoint, without the bytes that `excluded` covers. */
export function* exclude(ranges: Iterable<ByteRange>, excluded: ByteRange): Generator<ByteRange> {
  for (const range of ranges) {
    if (intersect(range, excluded) === undefined) yield range;
    else {
      if (range.start < excluded.start) yield { start: range.start, end: excluded.start };
      if (excluded.end < range.end) yield { start: excluded.end, end: range.end };
    }
  }
}

/** Returns the intersection of two ranges; undefined if it is empty. */
export function intersect(a: ByteRange, b: ByteRange): ByteRange | undefined {
  const start = Math.max(a.start, b.start);
  const end = Math.min(a.end, b.end);
  return start < end ? { start, end } : undefined;
}

/** Returns the ranges, with the one that contains `at` split there; unchanged if none contains it. */
export function* split(ranges: Iterable<ByteRange>, at: number): Generator<ByteRange> {
  for (const range of ranges) {
    if (range.start < at && at < range.end) {
      yield { start: range.start, end: at };
      yield { start: at, end: range.end };
    } else yield range;
  }
}
