import { parseJsonLine } from './json-lines.js';
import type { LogLine } from './log-line.js';
import { parseClfTime } from './log-time.js';

/**
 * Formats of a web server's log. `nginx` is nginx's default; it differs from `combined` only in how text is escaped.
 * `auto` detects the format line by line. That works because in a line without a virtual host, today's servers always
 * write `-` as the second field (the user according to RFC 1413).
 */
export const LOG_FORMATS = [
  'auto',
  'common',
  'common_vhost',
  'combined',
  'combined_vhost',
  'nginx',
  'json',
] as const;
export type AccessLogFormat = (typeof LOG_FORMATS)[number];

type LineParser = (line: string) => LogLine | undefined;

/** Returns a parser of lines in a format, which returns undefined for a line that is not in that format. */
export function createLineParser(format: AccessLogFormat): LineParser {
  switch (format) {
    case 'json':
      return parseJsonLine;
    case 'auto':
      return (line) =>
        line.startsWith('{') ? parseJsonLine(line) : parseClassicLine(line, undefined, false);
    case 'common':
      return (line) => parseClassicLine(line, false, false);
    case 'common_vhost':
      return (line) => parseClassicLine(line, true, false);
    case 'combined':
    case 'nginx':
      return (line) => parseClassicLine(line, false, true);
    case 'combined_vhost':
      return (line) => parseClassicLine(line, true, true);
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPENING = 0x5b;
const SPACE = 0x20;
/** The length of `21/Nov/2026:23:04:07 +0000`. */
const TIME_LENGTH = 26;

/**
 * Parses `[VHOST] HOST IDENT USER [TIME] "REQUEST" STATUS SIZE ["REFERER" "AGENT"]`; anything may follow. `vhost` is
 * undefined if it must be detected. Written by hand, because one regular expression takes three times as long.
 */
function parseClassicLine(
  line: string,
  vhost: boolean | undefined,
  requireAgent: boolean,
): LogLine | undefined {
  // A user's name may contain anything, except a time in this form.
  let timeEnd = line.indexOf('] "');
  while (timeEnd >= 0 && line.charCodeAt(timeEnd - TIME_LENGTH - 1) !== OPENING)
    timeEnd = line.indexOf('] "', timeEnd + 1);
  if (timeEnd < 0 || line.charCodeAt(timeEnd - TIME_LENGTH - 2) !== SPACE) return undefined;
  const host = hostField(line.slice(0, timeEnd - TIME_LENGTH - 2), vhost);
  const time = parseClfTime(line.slice(timeEnd - TIME_LENGTH, timeEnd));
  const requestEnd = closingQuote(line, timeEnd + 3);
  if (host === undefined || time === undefined || requestEnd < 0) return undefined;
  const status = statusAt(line, requestEnd + 1);
  if (status === undefined) return undefined;
  const agent = agentAfter(line, requestEnd + 6);
  if (agent === undefined && requireAgent) return undefined;
  return { host, time, request: line.slice(timeEnd + 3, requestEnd), status, agent: agent ?? '' };
}

/** Returns the host from `fields`, the part of the line before the time. */
function hostField(fields: string, vhost: boolean | undefined): string | undefined {
  const first = fields.indexOf(' ');
  const second = fields.indexOf(' ', first + 1);
  if (first <= 0 || second <= first + 1) return undefined;
  const third = fields.indexOf(' ', second + 1);
  const virtual = vhost ?? (third > 0 && !(second === first + 2 && fields[first + 1] === '-'));
  if (!virtual) return fields.slice(0, first);
  return third > 0 ? fields.slice(first + 1, second) : undefined;
}

/** Returns the index of the next quote that is not escaped, or -1. */
function closingQuote(line: string, from: number): number {
  for (let at = line.indexOf('"', from); at >= 0; at = line.indexOf('"', at + 1)) {
    let slashes = 0;
    while (line.charCodeAt(at - 1 - slashes) === BACKSLASH && at - 1 - slashes >= from) slashes += 1;
    if (slashes % 2 === 0) return at;
  }
  return -1;
}

/** Parses a status like ` 200 `; `at` is the index of the first space. */
function statusAt(line: string, at: number): number | undefined {
  const status = line.slice(at, at + 5);
  return /^ [1-9]\d\d /.test(status) ? Number(status) : undefined;
}

/** Returns the user agent; `at` is the index of the size, which may be `-`. */
function agentAfter(line: string, at: number): string | undefined {
  const referer = line.indexOf(' ', at) + 1;
  if (referer === 0 || line.charCodeAt(referer) !== QUOTE) return undefined;
  const refererEnd = closingQuote(line, referer + 1);
  if (refererEnd < 0 || line.charCodeAt(refererEnd + 2) !== QUOTE) return undefined;
  const end = closingQuote(line, refererEnd + 3);
  return end < 0 ? undefined : line.slice(refererEnd + 3, end);
}
