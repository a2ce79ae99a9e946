import { quote, type Tell } from './faults.js';
import { API_VERSION } from './listing-html.js';
import { SHA256, type ListedFile, type Listing } from './listing.js';

export type Json = Readonly<Record<string, unknown>>;

/** The keys that accepted specifications have. Those of PEP 708 (rejected) and 752 (not done here) aren't among them. */
const KEYS = {
  meta: ['api-version'],
  project: ['meta', 'name', 'versions', 'files', 'project-status'],
  status: ['status', 'reason'],
  file: [
    ...['filename', 'url', 'hashes', 'size', 'upload-time', 'requires-python', 'yanked'],
    ...['core-metadata', 'provenance', 'gpg-sig'],
  ],
} as const;

const UPLOAD_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/;
/** A clock may be a little fast, milliseconds. */
const FUTURE = 24 * 3600 * 1000;

export const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** One object of JSON; undefined, and told, where it is none. */
export function objectOf(text: string, path: string, tell: Tell): Json | undefined {
  try {
    const value: unknown = JSON.parse(text);
    const twice = repeatedKey(text);
    if (twice !== undefined) tell('json-twice', path, twice, 'once');
    if (isObject(value)) return value;
    tell('json-parse', path, quote(value), 'an object');
  } catch (error) {
    tell('json-parse', path, error instanceof Error ? error.message : String(error), 'JSON');
  }
  return undefined;
}

/** A key that stands twice in one object of right JSON: each parser takes one of them, in its own way. */
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

/** Reads a project's page in JSON, and holds what only JSON has. */
export function listingOfJson(text: string, name: string, path: string, tell: Tell): Listing | undefined {
  const page = objectOf(text, path, tell);
  if (!page) return undefined;
  const { serial } = holdMeta(page, path, tell);
  unknownKeys(page, KEYS.project, path, tell);
  if (page['name'] !== name) tell('json-name', path, quote(page['name']), name);
  const versions = textsOf(page['versions'], `${path} versions`, tell);
  const files = page['files'];
  if (!Array.isArray(files)) tell('json-shape', `${path} files`, quote(files), 'a list');
  const status = page['project-status'];
  if (status !== undefined && !isObject(status))
    tell('json-shape', `${path} project-status`, quote(status), 'an object');
  const marker = isObject(status) ? status : {};
  unknownKeys(marker, KEYS.status, path, tell);
  const reason = marker['reason'] ?? null;
  if (reason !== null && typeof reason !== 'string')
    tell('json-shape', `${path} project-status.reason`, quote(reason), 'text');
  return {
    status: typeof marker['status'] === 'string' ? marker['status'] : status === undefined ? 'active' : '',
    reason: typeof reason === 'string' ? reason : null,
    versions,
    files: Array.isArray(files) ? files.flatMap((file) => fileOf(file, path, tell)) : [],
    serial,
  };
}

/** `meta` of the root and of the projects' pages; its serial is null where it has none. */
export function holdMeta(page: Json, path: string, tell: Tell): { readonly serial: number | null } {
  const meta = page['meta'];
  if (!isObject(meta)) {
    tell('json-version', path, quote(meta), `{"api-version": "${API_VERSION}"}`);
    return { serial: null };
  }
  if (meta['api-version'] !== API_VERSION)
    tell('json-version', path, quote(meta['api-version']), API_VERSION);
  unknownKeys(meta, KEYS.meta, path, tell);
  return { serial: serialOf(meta['_last-serial'], path, tell) };
}

/** A serial; null where there is none. */
export function serialOf(value: unknown, path: string, tell: Tell): number | null {
  if (value === undefined) return null;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  tell('serial-number', path, quote(value), 'a whole number');
  return null;
}

export function unknownKeys(object: Json, known: readonly string[], path: string, tell: Tell): void {
  for (const key of Object.keys(object)) {
    if (key === 'dist-info-metadata') continue;
    if (!key.startsWith('_') && !known.includes(key)) tell('json-key', path, key, `_${key}, or no such key`);
  }
}

function textsOf(value: unknown, path: string, tell: Tell): readonly string[] {
  if (Array.isArray(value) && value.every((one) => typeof one === 'string')) return value;
  tell('json-shape', path, quote(value), 'a list of texts');
  return [];
}

function fileOf(value: unknown, page: string, tell: Tell): readonly ListedFile[] {
  if (!isObject(value) || typeof value['filename'] !== 'string') {
    tell('json-shape', `${page} files`, quote(value), 'an object with a filename');
    return [];
  }
  const { filename } = value;
  const path = `${page} ${quote(filename)}`;
  unknownKeys(value, KEYS.file, path, tell);
  if ('dist-info-metadata' in value)
    tell('json-dist-info-metadata', path, 'dist-info-metadata', 'core-metadata alone');
  const url = value['url'];
  if (typeof url !== 'string') tell('json-shape', `${path} url`, quote(url), 'text');
  const { size, yanked } = value;
  const bytes = typeof size === 'number' && Number.isSafeInteger(size) && size >= 0 ? size : null;
  if (bytes === null) tell('json-size', path, quote(size), 'bytes');
  if (yanked !== undefined && typeof yanked !== 'boolean' && (typeof yanked !== 'string' || yanked === ''))
    tell('json-yanked', path, quote(yanked), 'false, true or a reason');
  const requiresPython = value['requires-python'] ?? null;
  if (requiresPython !== null && typeof requiresPython !== 'string')
    tell('json-shape', `${path} requires-python`, quote(requiresPython), 'text');
  const provenance = value['provenance'] ?? null;
  if (provenance !== null && (typeof provenance !== 'string' || !URL.canParse(provenance)))
    tell('json-shape', `${path} provenance`, quote(provenance), 'an address, or null');
  const signed = value['gpg-sig'];
  if (signed !== undefined && typeof signed !== 'boolean')
    tell('json-shape', `${path} gpg-sig`, quote(signed), 'false or true');
  holdUploadTime(value['upload-time'], path, tell);
  return [
    {
      filename,
      url: typeof url === 'string' ? (url.split('#')[0] ?? '') : '',
      sha256: digest(value['hashes'], () => {
        tell('json-hash', path, quote(value['hashes']), '{"sha256": …}');
      }),
      size: bytes,
      requiresPython: typeof requiresPython === 'string' ? requiresPython : null,
      yanked: yanked === true ? '' : typeof yanked === 'string' ? yanked : null,
      metadata: digest(value['core-metadata'], () => {
        tell('json-core-metadata', path, quote(value['core-metadata']), '{"sha256": …}');
      }),
    },
  ];
}

function digest(hashes: unknown, wrong: () => void): string | null {
  const sha256 = isObject(hashes) ? hashes['sha256'] : undefined;
  if (typeof sha256 === 'string' && SHA256.test(sha256)) return sha256;
  wrong();
  return null;
}

/** Without it pip's --uploaded-prior-to fails, and uv's --exclude-newer leaves the file out. */
function holdUploadTime(value: unknown, path: string, tell: Tell): void {
  const real =
    typeof value === 'string' &&
    UPLOAD_TIME.test(value) &&
    Date.parse(value) < Date.now() + FUTURE &&
    // 30 February is parsed as 2 March.
    new Date(value).toISOString().slice(0, 19) === value.slice(0, 19);
  if (!real) tell('json-upload-time', path, quote(value), 'YYYY-MM-DDTHH:MM:SS.ffffffZ, in the past');
}
