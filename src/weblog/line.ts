import type { LogRow } from '../protocols/oracle.js';

export type LogKind = 'LOGDOWNLOAD' | 'LOGSEARCH' | 'LOGPROJECT' | 'LOGJSON' | 'LOGPAGE';

export interface LogEntry {
  readonly kind: LogKind;
  readonly row: LogRow;
}

/** Apache's `combined` format, with or without the virtual host before it. */
const COMBINED =
  /^(?:\S+:\d+ )?(\S+) \S+ \S+ \[(\d{2})\/(\w{3})\/(\d{4}):(\d{2}):(\d{2}):(\d{2}) ([+-])(\d{2})(\d{2})\] "(?:GET) ([^" ]+)[^"]*" (\d{3}) \S+(?: "[^"]*" "((?:[^"\\]|\\.)*)")?/;
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** What a line of a web server's log tells; undefined for one that tells nothing that is counted. */
export function parseLine(line: string): LogEntry | undefined {
  const match = line.length <= 16_384 ? COMBINED.exec(line) : null;
  if (!match) return undefined;
  const [
    ,
    host = '',
    date,
    month = '',
    year,
    hour,
    minute,
    second,
    sign,
    hours,
    minutes,
    path = '',
    status,
    agent,
  ] = match;
  if (status !== '200' && status !== '206' && status !== '304') return undefined;
  const offset = (Number(hours) * 60 + Number(minutes)) * 60_000 * (sign === '-' ? -1 : 1);
  const time =
    Date.UTC(
      Number(year),
      MONTHS.indexOf(month),
      Number(date),
      Number(hour),
      Number(minute),
      Number(second),
    ) - offset;
  const found = meaning(path.split('?')[0] ?? '', status);
  if (!found || Number.isNaN(time)) return undefined;
  return { kind: found.kind, row: [host.slice(0, 200), time, found.what, ...client(agent)] };
}

function meaning(encoded: string, status: string): { kind: LogKind; what: string } | undefined {
  let path: string;
  try {
    path = decodeURIComponent(encoded);
  } catch {
    return undefined;
  }
  const file = /^\/simple\/[^/]+\/([^/]+\.whl)$/.exec(path)?.[1];
  // A range is a part of a download, and an answer of 304 none at all.
  if (file !== undefined)
    return status === '200' ? { kind: 'LOGDOWNLOAD', what: file.slice(0, 255) } : undefined;
  const simple = /^\/simple\/([^/]+)\/?$/.exec(path)?.[1];
  if (simple !== undefined) return { kind: 'LOGSEARCH', what: simple.slice(0, 200) };
  const json = /^\/project\/([^/]+)\/json\/?/.exec(path)?.[1];
  if (json !== undefined) return { kind: 'LOGJSON', what: json.slice(0, 200) };
  const project = /^\/project\/([^/]+)\/?$/.exec(path)?.[1];
  if (project !== undefined) return { kind: 'LOGPROJECT', what: project.slice(0, 200) };
  return path === '/' || path.endsWith('.html') ? { kind: 'LOGPAGE', what: path.slice(0, 1000) } : undefined;
}

type Client = [
  arch: string | null,
  distroName: string | null,
  distroVersion: string | null,
  osName: string | null,
  osVersion: string | null,
  pyName: string | null,
  pyVersion: string | null,
  installerName: string | null,
  installerVersion: string | null,
  setuptoolsVersion: string | null,
];

/** pip says who it is as `pip/23.2 {"cpu":"armv7l",…}`; others only by name and version. */
function client(agent: string | undefined): Client {
  const match = /^(\w[\w.-]*)\/(\S+)(?: (\{.*\}))?/.exec((agent ?? '').replaceAll('\\"', '"'));
  let data: Record<string, unknown> = {};
  try {
    data = match?.[3] === undefined ? {} : (JSON.parse(match[3]) as Record<string, unknown>);
  } catch {
    // Cut off, or made up: what stands before it still counts.
  }
  const at = (...keys: string[]): string | null => {
    let value: unknown = data;
    for (const key of keys)
      value =
        typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[key] : undefined;
    return typeof value === 'string' && value !== '' ? value.slice(0, 200) : null;
  };
  return [
    at('cpu'),
    at('distro', 'name'),
    at('distro', 'version'),
    at('system', 'name'),
    at('system', 'release'),
    at('implementation', 'name'),
    at('implementation', 'version') ?? at('python'),
    match?.[1]?.slice(0, 200) ?? null,
    match?.[2]?.slice(0, 200) ?? null,
    at('setuptools_version'),
  ];
}
