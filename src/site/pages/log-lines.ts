import { failureClass } from '../../failures/classes.js';
import { findCause, findBuildError } from '../../failures/cause.js';
import { stripTerminalSequences } from '../../failures/terminal-sequences.js';
import { formatQuantity } from '../../units.js';

/** Consecutive lines of a log. */
export interface LogPart {
  /** The number of the first line; a log begins with line 1. */
  readonly first: number;
  readonly lines: readonly string[];
}

/** Browsers struggle with longer logs, so only the parts that matter are shown of them. */
const MAX_LINES = 12_000;
const MAX_CHARS = 1_500_000;
/** The lines kept of a longer log: at the beginning, on either side of the failing line, and at the end. */
const KEPT_LINES = { head: 1000, around: 1500, tail: 3000 };
/** Longer lines are cut: nobody reads them, and a browser would lay out every character. */
const MAX_LINE_CHARS = 4000;
/** The part of the log's end in which causes are searched for. Builds say at the end why they fail. */
const SEARCHED_CHARS = 4_000_000;

/** The builder's own last line in the log of a failed build. */
const BUILDER_REASON = /^piw: \S+ \S+ was not built: (.+)$/;
const ERROR_LINE =
  /\b(?:fatal )?error\b[:!]|\bError: |^Traceback |\bundefined reference\b|^E {2,}|\bFAILED\b|^make.*\*\*\*|^(?:\w+\.)*\w*(?:Error|Exception): /i;
const WARNING_LINE = /\bwarning\b|\bDeprecat/i;

export interface ParsedLog {
  readonly parts: readonly LogPart[];
  readonly count: number;
  /** The number of the line that says why the build failed; undefined for a successful build. */
  readonly failing: number | undefined;
  /** The reason for the failure, in a sentence, from the builder's last line. */
  readonly builderReason: string | undefined;
}

/** Returns the parts of a log to show, and the line that says why the build failed. */
export function parseLog(output: string, failed: boolean, failureName: string | null): ParsedLog {
  const ends = lineEnds(output);
  const count = ends.length;
  const line = (number: number): string =>
    output.slice(number === 1 ? 0 : (ends[number - 2] ?? 0) + 1, ends[number - 1]);
  const builderReason = failed ? BUILDER_REASON.exec(line(count))?.[1] : undefined;
  const failing = failed && count > 0 ? findFailingLine(output, ends, failureName, line) : undefined;
  const part = (first: number, last: number): LogPart => ({
    first,
    lines: Array.from({ length: last - first + 1 }, (_, i) => shortenLine(line(first + i))),
  });
  if (count <= MAX_LINES && output.length <= MAX_CHARS)
    return { parts: count === 0 ? [] : [part(1, count)], count, failing, builderReason };
  const parts = visibleRanges(count, failing).map(([first, last]) => part(first, last));
  return { parts: withinLimit(parts, failing), count, failing, builderReason };
}

/** Returns the offset of each line's end. Text after the last line feed counts as a line. */
function lineEnds(output: string): number[] {
  const ends: number[] = [];
  for (let at = output.indexOf('\n'); at >= 0; at = output.indexOf('\n', at + 1)) ends.push(at);
  if (output.length > 0 && !output.endsWith('\n')) ends.push(output.length);
  return ends;
}

const shortenLine = (line: string): string =>
  line.length <= MAX_LINE_CHARS
    ? line
    : `${line.slice(0, MAX_LINE_CHARS)} … ${formatQuantity(line.length - MAX_LINE_CHARS, 'more character')}`;

/** Returns the line ranges to show: the head, the lines around the failing one, and the tail, merged if they meet. */
function visibleRanges(count: number, failing: number | undefined): readonly (readonly [number, number])[] {
  const wantedRanges: (readonly [number, number])[] = [
    [1, KEPT_LINES.head],
    ...(failing === undefined ? [] : [[failing - KEPT_LINES.around, failing + KEPT_LINES.around] as const]),
    [count - KEPT_LINES.tail, count],
  ];
  const merged: [number, number][] = [];
  for (const [from, to] of [...wantedRanges].sort(([a], [b]) => a - b)) {
    const [first, last] = [Math.max(1, from), Math.min(count, to)];
    const previous = merged.at(-1);
    if (previous && first <= previous[1] + 1) previous[1] = Math.max(previous[1], last);
    else if (first <= last) merged.push([first, last]);
  }
  return merged;
}

/**
 * Cuts parts whose lines are too long to show in full. A part keeps the lines next to the failing line; without one,
 * the first part keeps its beginning and other parts keep their end.
 */
function withinLimit(parts: readonly LogPart[], failing: number | undefined): readonly LogPart[] {
  const charsPerPart = MAX_CHARS / Math.max(1, parts.length);
  return parts.map((part, i) => {
    const size = part.lines.reduce((sum, line) => sum + line.length, 0);
    if (size <= charsPerPart) return part;
    const middle =
      failing !== undefined && failing >= part.first && failing < part.first + part.lines.length
        ? failing - part.first
        : i === 0
          ? 0
          : part.lines.length - 1;
    let [from, to, budget] = [middle, middle + 1, charsPerPart - (part.lines[middle]?.length ?? 0)];
    for (let grown = true; grown && budget > 0;) {
      grown = false;
      if (from > 0) [from, budget, grown] = [from - 1, budget - (part.lines[from - 1]?.length ?? 0), true];
      if (to < part.lines.length)
        [to, budget, grown] = [to + 1, budget - (part.lines[to]?.length ?? 0), true];
    }
    return { first: part.first + from, lines: part.lines.slice(from, to) };
  });
}

/**
 * Returns the number of the line by which the builder classified the failure: the line of the cause, else the build's
 * own last error, else the last line.
 */
function findFailingLine(
  output: string,
  ends: readonly number[],
  failureName: string | null,
  line: (number: number) => string,
): number {
  const failure = failureClass(failureName);
  // Begins at the start of a line, so that lines can be counted.
  const from = output.length <= SEARCHED_CHARS ? 0 : output.indexOf('\n', output.length - SEARCHED_CHARS) + 1;
  // Leaves out the builder's own last line, which quotes the line to find.
  const to = BUILDER_REASON.test(line(ends.length)) ? (ends.at(-2) ?? 0) : undefined;
  const searched = stripTerminalSequences(output.slice(from, to));
  const lineOf = (at: number): number =>
    (from === 0 ? 0 : lineNumberAt(ends, from - 1)) + countLinesBefore(searched, at) + 1;
  const cause = findCause(searched, (sign) => sign.failureClass === failure);
  if (cause) return lineOf(cause.match.index);
  const last = ends.length;
  const lastBuildLine = BUILDER_REASON.test(line(last)) ? last - 1 : last;
  // For these classes the end of the log shows what the build was doing.
  if (['timeout', 'silent', 'killed', 'log-limit'].includes(failure)) return Math.max(1, lastBuildLine);
  const error = findBuildError(searched);
  return error ? lineOf(error.at) : Math.max(1, lastBuildLine);
}

function countLinesBefore(text: string, position: number): number {
  let lines = 0;
  for (let at = text.indexOf('\n'); at >= 0 && at < position; at = text.indexOf('\n', at + 1)) lines += 1;
  return lines;
}

/** Returns the number of the line that contains offset `at`. */
function lineNumberAt(ends: readonly number[], at: number): number {
  let [low, high] = [0, ends.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((ends[middle] ?? 0) < at) low = middle + 1;
    else high = middle;
  }
  return low + 1;
}

/** Classifies a line by its look: an error, a warning, one of pip's steps, or undefined for anything else. */
export function lineKind(line: string): 'error' | 'warning' | 'step' | undefined {
  const start = stripTerminalSequences(line.slice(0, 500));
  if (ERROR_LINE.test(start)) return 'error';
  if (WARNING_LINE.test(start)) return 'warning';
  return /^(?:\S|piw: )/.test(start) &&
    /^(?:Collecting|Building|Created|Looking in|Preparing|Getting|Installing|Downloading|Successfully|Saved|piw:|\$ )/.test(
      start,
    )
    ? 'step'
    : undefined;
}

/** Lines of pip that say nothing about the build: progress bars, its age, deprecations. */
const NOISE =
  /^\s*[\u2500-\u259f]{8,}|^\s*\[notice\]|^DEPRECATION: |^WARNING: (?:Running pip as|You are using pip|There was an error checking the latest version|The directory '.*' or its parent directory)/;

/** Returns true for a line that only distracts from the log of the build. */
export const isNoise = (line: string): boolean =>
  NOISE.test(stripTerminalSequences(line.slice(line.lastIndexOf('\r', line.length - 2) + 1).slice(0, 500)));
