import { failureClass } from '../states/failure.js';
import { findCause, ownError } from '../states/failure-cause.js';
import { withoutSequences } from '../states/sequences.js';

/** Lines of a log, by number from 1, both ends included. */
export interface Part {
  readonly first: number;
  readonly lines: readonly string[];
}

/** More than a browser shows at ease: of a longer log its parts that matter are shown. */
const MOST_LINES = 12_000;
const MOST_CHARS = 1_500_000;
/** Of such a log: so many lines at the beginning, on either side of the one that says why, and at the end. */
const KEPT = { head: 1000, around: 1500, tail: 3000 };
/** Longer lines are cut: nobody reads them, and each would be laid out whole. */
const MOST_OF_LINE = 4000;
/** Signs are looked for in so much of the log's end, where builds say why they end. */
const LOOKED_AT = 4_000_000;

/** What the builder says itself in the last line of a log that it gives up. */
const LAST_WORD = /^piw: \S+ \S+ was not built: (.+)$/;
const TROUBLE =
  /\b(?:fatal )?error\b[:!]|\bError: |^Traceback |\bundefined reference\b|^E {2,}|\bFAILED\b|^make.*\*\*\*|^(?:\w+\.)*\w*(?:Error|Exception): /i;
const WARNING = /\bwarning\b|\bDeprecat/i;

export interface Log {
  readonly parts: readonly Part[];
  readonly count: number;
  /** The line that tells why the build failed; undefined for one that succeeded. */
  readonly failing: number | undefined;
  /** What the builder said last: why it failed, in a sentence. */
  readonly lastWord: string | undefined;
}

/** What of a log is to be shown, and which of its lines tells why it failed. */
export function readLog(output: string, failed: boolean, its: string | null): Log {
  const ends = lineEnds(output);
  const count = ends.length;
  const line = (number: number): string =>
    output.slice(number === 1 ? 0 : (ends[number - 2] ?? 0) + 1, ends[number - 1]);
  const lastWord = failed ? LAST_WORD.exec(line(count))?.[1] : undefined;
  const failing = failed && count > 0 ? failingLine(output, ends, its, line) : undefined;
  const part = (first: number, last: number): Part => ({
    first,
    lines: Array.from({ length: last - first + 1 }, (_, i) => shortened(line(first + i))),
  });
  if (count <= MOST_LINES && output.length <= MOST_CHARS)
    return { parts: count === 0 ? [] : [part(1, count)], count, failing, lastWord };
  const parts = ranges(count, failing).map(([first, last]) => part(first, last));
  return { parts: withinLimit(parts, failing), count, failing, lastWord };
}

/** Where each line ends; one without an end is a line, too. */
function lineEnds(output: string): number[] {
  const ends: number[] = [];
  for (let at = output.indexOf('\n'); at >= 0; at = output.indexOf('\n', at + 1)) ends.push(at);
  if (output.length > 0 && !output.endsWith('\n')) ends.push(output.length);
  return ends;
}

const shortened = (line: string): string =>
  line.length <= MOST_OF_LINE
    ? line
    : `${line.slice(0, MOST_OF_LINE)} … ${String(line.length - MOST_OF_LINE)} more characters`;

/** The beginning, what is around the failing line, and the end, put together where they meet. */
function ranges(count: number, failing: number | undefined): readonly (readonly [number, number])[] {
  const wanted: (readonly [number, number])[] = [
    [1, KEPT.head],
    ...(failing === undefined ? [] : [[failing - KEPT.around, failing + KEPT.around] as const]),
    [count - KEPT.tail, count],
  ];
  const merged: [number, number][] = [];
  for (const [from, to] of [...wanted].sort(([a], [b]) => a - b)) {
    const [first, last] = [Math.max(1, from), Math.min(count, to)];
    const before = merged.at(-1);
    if (before && first <= before[1] + 1) before[1] = Math.max(before[1], last);
    else if (first <= last) merged.push([first, last]);
  }
  return merged;
}

/** Where lines are so long that even these are too much, each part keeps what is next to what matters in it. */
function withinLimit(parts: readonly Part[], failing: number | undefined): readonly Part[] {
  const each = MOST_CHARS / Math.max(1, parts.length);
  return parts.map((part, i) => {
    const size = part.lines.reduce((sum, line) => sum + line.length, 0);
    if (size <= each) return part;
    const middle =
      failing !== undefined && failing >= part.first && failing < part.first + part.lines.length
        ? failing - part.first
        : i === 0
          ? 0
          : part.lines.length - 1;
    let [from, to, room] = [middle, middle + 1, each - (part.lines[middle]?.length ?? 0)];
    for (let grown = true; grown && room > 0;) {
      grown = false;
      if (from > 0) [from, room, grown] = [from - 1, room - (part.lines[from - 1]?.length ?? 0), true];
      if (to < part.lines.length) [to, room, grown] = [to + 1, room - (part.lines[to]?.length ?? 0), true];
    }
    return { first: part.first + from, lines: part.lines.slice(from, to) };
  });
}

/**
 * The line by which the builder knew that failure: that of its sign, else the build's own last error, else the last
 * one.
 */
function failingLine(
  output: string,
  ends: readonly number[],
  its: string | null,
  line: (number: number) => string,
): number {
  const found = failureClass(its);
  // From the beginning of a line on, so that lines can be counted.
  const from = output.length <= LOOKED_AT ? 0 : output.indexOf('\n', output.length - LOOKED_AT) + 1;
  // The builder's own last line quotes the one that is looked for.
  const to = LAST_WORD.test(line(ends.length)) ? (ends.at(-2) ?? 0) : undefined;
  const looked = withoutSequences(output.slice(from, to));
  const lineOf = (at: number): number =>
    (from === 0 ? 0 : numberAt(ends, from - 1)) + linesBefore(looked, at) + 1;
  const cause = findCause(looked, (sign) => sign.failureClass === found);
  if (cause) return lineOf(cause.match.index);
  const last = ends.length;
  const own = LAST_WORD.test(line(last)) ? last - 1 : last;
  // Of these it is known that the end of the log shows what it was at.
  if (['timeout', 'silent', 'killed', 'log-limit'].includes(found)) return Math.max(1, own);
  const error = ownError(looked);
  return error ? lineOf(error.at) : Math.max(1, own);
}

function linesBefore(text: string, place: number): number {
  let lines = 0;
  for (let at = text.indexOf('\n'); at >= 0 && at < place; at = text.indexOf('\n', at + 1)) lines += 1;
  return lines;
}

/** The number of the line that a place is in. */
function numberAt(ends: readonly number[], at: number): number {
  let [low, high] = [0, ends.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((ends[middle] ?? 0) < at) low = middle + 1;
    else high = middle;
  }
  return low + 1;
}

/** What a line looks like: an error, a warning, a step of pip's, or anything else. */
export function lineKind(line: string): 'error' | 'warning' | 'step' | undefined {
  const start = withoutSequences(line.slice(0, 500));
  if (TROUBLE.test(start)) return 'error';
  if (WARNING.test(start)) return 'warning';
  return /^(?:\S|piw: )/.test(start) &&
    /^(?:Collecting|Building|Created|Looking in|Preparing|Getting|Installing|Downloading|Successfully|Saved|piw:|\$ )/.test(
      start,
    )
    ? 'step'
    : undefined;
}

/** What pip says of itself and not of the build: how far a download is, how old it is, what it will do one day. */
const NOISE =
  /^\s*[\u2500-\u259f]{8,}|^\s*\[notice\]|^DEPRECATION: |^WARNING: (?:Running pip as|You are using pip|There was an error checking the latest version|The directory '.*' or its parent directory)/;

/** Returns true for a line that only keeps readers from the log of the build. */
export const isNoise = (line: string): boolean =>
  NOISE.test(withoutSequences(line.slice(line.lastIndexOf('\r', line.length - 2) + 1).slice(0, 500)));
