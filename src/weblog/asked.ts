import type { LogKind } from '../protocols/weblog.js';
import { clean, unescapeLogText, decodeUtf8 } from './text.js';

/** What was asked for: the name of a wheel, of a package, or the address of a page. */
export interface RequestedResource {
  readonly kind: LogKind;
  readonly what: string;
}

/**
 * What a request asked for, if that is of a kind that is counted; null otherwise.
 *
 * - A download is a wheel that was fetched with GET and answered 200. Not 206: pip, uv and Poetry fetch parts of
 *   a wheel to read its metadata, several of them for one, and go on where a download broke off, whose beginning was a
 *   200. Not 304 either: who is answered so has it. Nor is a `.metadata` file a download, or anything else here: it
 *   is asked for of many versions of which one is then installed.
 * - A read of a package's page of the simple index (kind `searches`) may be answered 304, for
 *   installers keep it for a while.
 * - So may that of a project's page, of its JSON, and of another page.
 *
 * `prefix` is where the farm's site is on its server, as `publicPath` returns it. Paths without it are understood too:
 * a server behind a proxy logs those.
 */
export function classifyRequest(request: string, prefix = ''): RequestedResource | null {
  const target = requestTarget(request);
  if (target === undefined) return null;
  const fullPath = decodePath(target);
  const within = prefix !== '' && (fullPath === prefix || fullPath.startsWith(`${prefix}/`));
  return classifyPath(within ? fullPath.slice(prefix.length) || '/' : fullPath);
}

/** Returns whether the request is for a wheel; of those that `asked` makes nothing of, the farm may be elsewhere. */
export const isWheelRequest = (request: string): boolean =>
  decodePath(requestTarget(request) ?? '').endsWith('.whl');

/** Returns the path of the public address without the slash at its end: '' for one that has none, or isn't known. */
export function publicPath(publicUrl: string | null): string {
  if (publicUrl === null || !URL.canParse(publicUrl)) return '';
  return normalisePrefix(new URL(publicUrl).pathname);
}

/** Returns a prefix as `asked` takes it: `/farm` of `farm/`, '' of `/`. */
export const normalisePrefix = (prefix: string): string =>
  prefix
    .replace(/^\/*/, '/')
    .replace(/\/+$/, '')
    .replace(/\/{2,}/g, '/');

/** Returns the target of a GET; undefined for anything else. */
function requestTarget(request: string): string | undefined {
  if (!request.startsWith('GET ')) return undefined;
  const end = request.lastIndexOf(' HTTP/');
  return request.slice(4, end < 0 ? undefined : end);
}

/** See there: whether it counts with this status. */
export const isCountedStatus = (kind: LogKind, status: number): boolean =>
  status === 200 || (status === 304 && kind !== 'downloads');

/** The path of a target, decoded, and with single slashes, as servers take it; '' if it is none. */
function decodePath(target: string): string {
  const encoded = unescapeLogText(target).replace(/^https?:\/\/[^/?#]*/i, '');
  try {
    return decodeURIComponent(decodeUtf8(encoded.replace(/[?#].*$/s, ''))).replace(/\/{2,}/g, '/');
  } catch {
    return '';
  }
}

/** FILES_LINK in src/site/layout.ts. */
const FILES_FOLDER = 'packages';
const NAME_PATTERN = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,198}[A-Za-z0-9])?$/;
// eslint-disable-next-line no-control-regex
const WHEEL_PATTERN = /^[^/\\\s\u0000-\u001f\u007f-\u009f]{1,251}\.whl$/;

function classifyPath(path: string): RequestedResource | null {
  const [empty, folder = '', name = '', rest = '', ...more] = path.split('/');
  if (empty !== '' || folder === '') return path === '/' ? { kind: 'pages', what: '/' } : null;
  const subpath = [rest, ...more].join('/').replace(/(^|\/)index\.[\w.]+$/, '$1');
  // Where PyPI's JSON has the wheels, for mirrors.
  if (folder === FILES_FOLDER && NAME_PATTERN.test(name))
    return WHEEL_PATTERN.test(subpath) ? { kind: 'downloads', what: clean(subpath, 255) } : null;
  if (folder === 'simple' && NAME_PATTERN.test(name)) {
    if (subpath === '') return { kind: 'searches', what: normaliseName(name) };
    return WHEEL_PATTERN.test(subpath) ? { kind: 'downloads', what: clean(subpath, 255) } : null;
  }
  if (folder === 'project' && NAME_PATTERN.test(name)) {
    if (subpath === '') return { kind: 'projects', what: normaliseName(name) };
    return subpath === 'json' || subpath === 'json/' ? { kind: 'json', what: normaliseName(name) } : null;
  }
  return path.endsWith('.html') ? { kind: 'pages', what: clean(path, 1000) } : null;
}

/** As PEP 503 says. */
const normaliseName = (name: string): string => name.replace(/[-_.]+/g, '-').toLowerCase();
