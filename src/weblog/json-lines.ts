import { parseJsonTime } from './log-time.js';
import type { LogLine } from './log-line.js';

/**
 * A log of JSON, an object a line, with `time`, `host`, `request`, `status` and `agent`. For nginx:
 *
 *   log_format piw escape=json '{"time":"$time_iso8601","host":"$remote_addr","request":"$request",'
 *                              '"status":$status,"agent":"$http_user_agent"}';
 *
 * and for Apache, which escapes as in its other formats:
 *
 *   LogFormat "{\"time\":\"%{%Y-%m-%dT%H:%M:%S%z}t\",\"host\":\"%h\",\"request\":\"%r\",\"status\":%>s,\"agent\":\"%{User-Agent}i\"}" piw
 *
 * Further keys are passed over. What text holds is given as a line of the other formats would have it.
 */
export function parseJsonLine(line: string): LogLine | undefined {
  let data: unknown;
  try {
    // Apache's \xhh is no JSON, and a line that isn't UTF-8 none either.
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
    ...{ host: toLogText(host), time, request: toLogText(request), status },
    agent: typeof agent === 'string' ? toLogText(agent) : '',
  };
}

/** After an even number of backslashes, which are each other's. */
const APACHE_ESCAPE = /(?<!\\)((?:\\\\)*)\\x([0-9A-Fa-f]{2})/g;

/** Characters as bytes, and a backslash as an escaped one. */
function toLogText(text: string): string {
  // eslint-disable-next-line no-control-regex
  const plain = /[^\u0000-\u00ff]/.test(text) ? Buffer.from(text, 'utf8').toString('latin1') : text;
  return plain.includes('\\') ? plain.replaceAll('\\', '\\\\') : plain;
}
