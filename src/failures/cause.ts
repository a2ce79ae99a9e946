import type { FailureSign } from './signs.js';
import { FAILURE_SIGNS } from './signs.js';

/** The place in a log that says why the build failed. */
export interface FailureCause {
  readonly sign: FailureSign;
  readonly match: RegExpExecArray;
}

/**
 * Returns the most reliable sign in `text` (a log without terminal sequences) that `accepts` admits, with the match
 * that counts; undefined if there is none. Of several matches the last one counts, because a build may try things
 * that fail without harm. A compiler's first error in the file at which it stopped says more than the errors that
 * follow from it, so for a sign with `firstMatchGroup` the first match with the same text in that group counts.
 */
export function findCause(
  text: string,
  accepts: (sign: FailureSign, match: RegExpExecArray) => boolean,
): FailureCause | undefined {
  for (const sign of FAILURE_SIGNS) {
    const { pattern, firstMatchGroup } = sign;
    const firstByFile = new Map<string, RegExpExecArray>();
    let last: RegExpExecArray | undefined;
    for (const match of text.matchAll(new RegExp(pattern, `${pattern.flags}g`))) {
      if (!accepts(sign, match)) continue;
      last = match;
      if (firstMatchGroup === undefined) continue;
      const key = match.groups?.[firstMatchGroup] ?? '';
      if (!firstByFile.has(key) && firstByFile.size < MAX_TRACKED_FILES) firstByFile.set(key, match);
    }
    if (!last) continue;
    const first =
      firstMatchGroup === undefined ? undefined : firstByFile.get(last.groups?.[firstMatchGroup] ?? '');
    return { sign, match: first ?? last };
  }
  return undefined;
}

/** Beyond this number of files, the first error of a file is not remembered. */
const MAX_TRACKED_FILES = 10_000;

/** A line of a build's own output; `kind` says whether it looks like an error or is only the last line. */
interface BuildOutputLine {
  readonly kind: 'error' | 'line';
  /** The offset of its beginning in the log. */
  readonly at: number;
  /** Without surrounding space, at most MAX_QUOTED_CHARS characters. */
  readonly text: string;
}

const MAX_QUOTED_CHARS = 300;
/** How many lines are searched, from the log's end. */
const MAX_SEARCHED_LINES = 20_000;

/** Lines that pip and piw print around the output of a build. */
const WRAPPER =
  /^\s*(?:│|╰─>|×|\[end of output\]|note: |hint: |piw: |cwd: |full command: |Complete output |\[\d+ lines of output\])|subprocess-exited-with-error|metadata-generation-failed|failed-wheel-build|CalledProcessError: Command|ERROR: Failed (?:building|to build)|Failed building wheel|Could not build wheels|Failed to build [\w. '-]+(?:when |$)|did not run successfully|^\s*Running setup\.py |This error originates from a subprocess|^\s*(?:Getting requirements to build wheel|Preparing metadata|Building wheel for|Installing build dependencies)\b|^\s*(?:ERROR: )?Command errored out with exit status/;

/** The last line of a traceback: `SomethingError: text`, with or without a module name. */
const EXCEPTION =
  /^\s*(?:[|E]\s+)?((?:[A-Za-z_]\w{0,60}\.){0,8}[A-Z_]\w{0,60}(?:Error|Exception|Exit|Failure|NotFound|Interrupt|Invalid[A-Z]\w{0,30}|Warning)|(?:\w{1,60}\.){0,8}Invalid[A-Z]\w{0,60})(?::\s.*)?$/;
const ERROR = /\b(?:fatal )?error\b\s?[:!]|^\s*fatal: |\bERROR\b/i;

/**
 * Returns the line of the build's own output that says most about why it failed: its last exception, else its last
 * line that mentions an error, else its last line; undefined if it printed nothing. `text` is a log without
 * terminal sequences.
 */
export function findBuildError(text: string): BuildOutputLine | undefined {
  let error: BuildOutputLine | undefined;
  let last: BuildOutputLine | undefined;
  let end = text.length;
  for (let count = 0; count < MAX_SEARCHED_LINES && end >= 0; count += 1) {
    const lineStart = text.lastIndexOf('\n', end - 1) + 1;
    const line = text.slice(lineStart, Math.min(end, lineStart + 2000)).replace(/\r$/, '');
    end = lineStart - 1;
    if (line.trim() !== '' && !WRAPPER.test(line)) {
      const quoted = { at: lineStart, text: line.trim().slice(0, MAX_QUOTED_CHARS) };
      if (EXCEPTION.test(line)) return { kind: 'error', ...quoted };
      if (!error && ERROR.test(line)) error = { kind: 'error', ...quoted };
      last ??= { kind: 'line', ...quoted };
    }
    if (lineStart === 0) break;
  }
  return error ?? last;
}

/** Returns the line of `text` that contains the character at `offset`, without surrounding space. */
export function lineAt(text: string, offset: number): string {
  const end = text.indexOf('\n', offset);
  const start = text.lastIndexOf('\n', offset - 1) + 1;
  return text
    .slice(start, end < 0 ? undefined : end)
    .replace(/^[\s│|]+/, '')
    .trimEnd()
    .slice(0, MAX_QUOTED_CHARS);
}
