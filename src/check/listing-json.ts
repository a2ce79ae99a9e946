import { DAY_MS } from '../units.js';
import { format, type FaultReporter } from './faults.js';
import { API_VERSION } from './listing-html.js';
import { SHA256, type ListedFile, type Listing } from './listing.js';

export type JsonObject = Readonly<Record<string, unknown>>;

/** The keys of accepted specifications: not those of PEP 708 (rejected) and PEP 752 (not implemented here). */
const SPECIFIED_KEYS = {
  meta: ['api-version'],
  project: ['meta', 'name', 'versions', 'files', 'project-status'],
  status: ['status', 'reason'],
  file: [
    ...['filename', 'url', 'hashes', 'size', 'upload-time', 'requires-python', 'yanked'],
    ...['core-metadata', 'provenance', 'gpg-sig'],
  ],
} as const;

const UPLOAD_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/;
/** How far an upload time may be in the future: clocks may run fast. */
const MAX_CLOCK_SKEW_MS = DAY_MS;

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Parses text as one JSON object. Reports anything else, and returns undefined. */
export function parseObject(text: string, path: string, report: FaultReporter): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(text);
    const repeated = repeatedKey(text);
    if (repeated !== undefined) report('json-twice', path, `${repeated} more than once`, 'each key once');
    if (isObject(value)) return value;
    report('json-parse', path, format(value), 'a JSON object');
  } catch (error) {
    report('json-parse', path, error instanceof Error ? error.message : String(error), 'valid JSON');
  }
  return undefined;
}

/** Returns a key that occurs twice in an object of valid JSON: parsers differ in which of the values they take. */
function repeatedKey(text: string): string | undefined {
  const open: (Set<string> | undefined)[] = [];
  for (const [token, colon] of text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?|[{}[\]]/g)) {
    if (token === '{') open.push(new Set());
    else if (token === '[') open.push(undefined);
    else if (token === '}' || token === ']') open.pop();
    else if (colon !== undefined) {
      const key = token.slice(0, -colon.length);
      if (open.at(-1)?.has(key)) return key;
      open.at(-1)?.add(key);
    }
  }
  return undefined;
}

/** Parses a project's page in JSON, and checks what only JSON has. */
export function parseListingJson(
  text: string,
  name: string,
  path: string,
  report: FaultReporter,
): Listing | undefined {
  const page = parseObject(text, path, report);
  if (!page) return undefined;
  const { serial } = checkMeta(page, path, report);
  checkKeys(page, SPECIFIED_KEYS.project, path, report);
  if (page['name'] !== name) report('json-name', path, format(page['name']), name);
  const versions = parseStrings(page['versions'], `${path} versions`, report);
  const files = page['files'];
  if (!Array.isArray(files)) report('json-shape', `${path} files`, format(files), 'a list');
  const status = page['project-status'];
  if (status !== undefined && !isObject(status))
    report('json-shape', `${path} project-status`, format(status), 'an object');
  const marker = isObject(status) ? status : {};
  checkKeys(marker, SPECIFIED_KEYS.status, path, report);
  const reason = marker['reason'] ?? null;
  if (reason !== null && typeof reason !== 'string')
    report('json-shape', `${path} project-status.reason`, format(reason), 'a string');
  return {
    status: typeof marker['status'] === 'string' ? marker['status'] : status === undefined ? 'active' : '',
    reason: typeof reason === 'string' ? reason : null,
    versions,
    files: Array.isArray(files) ? files.flatMap((file) => parseFile(file, path, report)) : [],
    serial,
  };
}

/** Checks `meta` of the root or of a project's page. Returns its serial; null if it has none. */
export function checkMeta(
  page: JsonObject,
  path: string,
  report: FaultReporter,
): { readonly serial: number | null } {
  const meta = page['meta'];
  if (!isObject(meta)) {
    report('json-version', path, format(meta), `{"api-version": "${API_VERSION}"}`);
    return { serial: null };
  }
  if (meta['api-version'] !== API_VERSION)
    report('json-version', path, format(meta['api-version']), API_VERSION);
  checkKeys(meta, SPECIFIED_KEYS.meta, path, report);
  return { serial: parseSerialValue(meta['_last-serial'], path, report) };
}

/** Returns a serial; null if there is none. Reports a value that is not a whole number. */
export function parseSerialValue(value: unknown, path: string, report: FaultReporter): number | null {
  if (value === undefined) return null;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  report('serial-number', path, format(value), 'a whole number');
  return null;
}

/** Reports keys that are neither among `allowedKeys` nor private (beginning with `_`). */
export function checkKeys(
  object: JsonObject,
  allowedKeys: readonly string[],
  path: string,
  report: FaultReporter,
): void {
  for (const key of Object.keys(object)) {
    if (key === 'dist-info-metadata') continue;
    if (!key.startsWith('_') && !allowedKeys.includes(key))
      report('json-key', path, key, `_${key}, or no such key`);
  }
}

function parseStrings(value: unknown, path: string, report: FaultReporter): readonly string[] {
  if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value;
  report('json-shape', path, format(value), 'a list of strings');
  return [];
}

function parseFile(value: unknown, page: string, report: FaultReporter): readonly ListedFile[] {
  if (!isObject(value) || typeof value['filename'] !== 'string') {
    report('json-shape', `${page} files`, format(value), 'an object with a filename');
    return [];
  }
  const { filename } = value;
  const path = `${page} ${format(filename)}`;
  checkKeys(value, SPECIFIED_KEYS.file, path, report);
  if ('dist-info-metadata' in value)
    report('json-dist-info-metadata', path, 'dist-info-metadata', 'only core-metadata');
  const url = value['url'];
  if (typeof url !== 'string') report('json-shape', `${path} url`, format(url), 'a string');
  const { size, yanked } = value;
  const bytes = typeof size === 'number' && Number.isSafeInteger(size) && size >= 0 ? size : null;
  if (bytes === null) report('json-size', path, format(size), 'a whole number of bytes');
  if (yanked !== undefined && typeof yanked !== 'boolean' && (typeof yanked !== 'string' || yanked === ''))
    report('json-yanked', path, format(yanked), 'false, true or a reason that is not empty');
  const requiresPython = value['requires-python'] ?? null;
  if (requiresPython !== null && typeof requiresPython !== 'string')
    report('json-shape', `${path} requires-python`, format(requiresPython), 'a string');
  const provenance = value['provenance'] ?? null;
  if (provenance !== null && (typeof provenance !== 'string' || !URL.canParse(provenance)))
    report('json-shape', `${path} provenance`, format(provenance), 'an absolute URL, or null');
  const gpgSig = value['gpg-sig'];
  if (gpgSig !== undefined && typeof gpgSig !== 'boolean')
    report('json-shape', `${path} gpg-sig`, format(gpgSig), 'true or false');
  checkUploadTime(value['upload-time'], path, report);
  return [
    {
      filename,
      url: typeof url === 'string' ? (url.split('#')[0] ?? '') : '',
      sha256: parseDigest(value['hashes'], () => {
        report('json-hash', path, format(value['hashes']), '{"sha256": …}');
      }),
      size: bytes,
      requiresPython: typeof requiresPython === 'string' ? requiresPython : null,
      yanked: yanked === true ? '' : typeof yanked === 'string' ? yanked : null,
      metadata: parseDigest(value['core-metadata'], () => {
        report('json-core-metadata', path, format(value['core-metadata']), '{"sha256": …}');
      }),
    },
  ];
}

function parseDigest(hashes: unknown, reportInvalid: () => void): string | null {
  const sha256 = isObject(hashes) ? hashes['sha256'] : undefined;
  if (typeof sha256 === 'string' && SHA256.test(sha256)) return sha256;
  reportInvalid();
  return null;
}

/** Checks an upload time. Without it, pip's --uploaded-prior-to fails and uv's --exclude-newer ignores the file. */
function checkUploadTime(value: unknown, path: string, report: FaultReporter): void {
  const isValid =
    typeof value === 'string' &&
    UPLOAD_TIME.test(value) &&
    Date.parse(value) < Date.now() + MAX_CLOCK_SKEW_MS &&
    // Date.parse() takes 30 February for 2 March.
    new Date(value).toISOString().slice(0, 19) === value.slice(0, 19);
  if (!isValid)
    report('json-upload-time', path, format(value), 'a time in the past, as YYYY-MM-DDTHH:MM:SS.ffffffZ');
}
