import { parseJsonTime } from './log-time.js';
import type { LogLine } from './log-line.js';

/**
 * Parses a line of a JSON log, an object with `time`, `host`, `request`, `status` and `agent`; undefined if it is not
 * one. For nginx:
 *
 *   log_format piw escape=json '{"time":"$time_iso8601","host":"$remote_addr","request":"$request",'
 *                              '"status":$status,"agent":"$http_user_agent"}';
 *
 * and for Apache, which escapes text as in its other formats:
 *
 *   LogFormat "{\"time\":\"%{%Y-%m-%dT%H:%M:%S%z}t\",\"host\":\"%h\",\"request\":\"%r\",\"status\":%>s,\"agent\":\"%{User-Agent}i\"}" piw
 *
 * Other keys are ignored. Text is returned escaped, as in a line of the other formats.
 */
export function parseJsonLine(line: string): LogLine | undefined {
  let data: unknown;
  try {
    // Apache's \xhh is not valid JSON.
    data = JSON.parse(line.includes('\\x') ? line.replace(APACHE_ESCAPE, '$1\\u00$2') : line);
  } catch {
    return undefined;
  }
  if (typeof data !== 'object' || data === null) return undefined;
  const { time: when, host, request, status: code, agent } = data as Record<string, unknown>;
  const time = parseJsonTime(when);
  const status = Number(code);
  if (typeof host !== 'string' || host === '' || typeof request !== 'string') return undefined;
  if (time === undefined || !Number.isInteger(status) || status < 100 || status > 999) return undefined;
  return {
    host: toLogText(host),
    time,
    request: toLogText(request),
    status,
    agent: typeof agent === 'string' ? toLogText(agent) : '',
  };
}

/** Matches \xhh after an even number of backslashes, which escape each other. */
const APACHE_ESCAPE = /(?<!\\)((?:\\\\)*)\\x([0-9A-Fa-f]{2})/g;

/** Converts text to bytes as Latin-1 characters, and escapes backslashes. */
function toLogText(text: string): string {
  // eslint-disable-next-line no-control-regex
  const plain = /[^\u0000-\u00ff]/.test(text) ? Buffer.from(text, 'utf8').toString('latin1') : text;
  return plain.includes('\\') ? plain.replaceAll('\\', '\\\\') : plain;
}
