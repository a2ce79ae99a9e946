import type { LogKind } from '../protocols/weblog.js';
import { clean, unescapeLogText, decodeUtf8 } from './text.js';

/** What a request is for; `what` is the filename of a wheel, the name of a package, or the path of a page. */
interface RequestedResource {
  readonly kind: LogKind;
  readonly name: string;
}

/**
 * Returns the resource that a request is for; null if it is of no counted kind.
 *
 * - A download is a wheel that was fetched with GET and answered with 200. Partial responses (206) don't count: pip, uv
 *   and Poetry fetch several ranges of a wheel to read its metadata, and resume a broken download, whose beginning was
 *   a 200. Nor does 304: the client already has the wheel. A `.metadata` file is not counted at all, because it is
 *   requested for many versions of which one is then installed.
 * - A request for a package's page of the simple index (kind `index-pages`) may be answered with 304, because installers
 *   cache it.
 * - So may requests for a project's page, its JSON, and other pages.
 *
 * `prefix` is the path of the farm's site on its server, as `publicPath` returns it. Paths without it are recognised,
 * too: a server behind a proxy logs those.
 */
export function classifyRequest(request: string, prefix = ''): RequestedResource | null {
  const target = requestTarget(request);
  if (target === undefined) return null;
  const fullPath = decodePath(target);
  const within = prefix !== '' && (fullPath === prefix || fullPath.startsWith(`${prefix}/`));
  return classifyPath(within ? fullPath.slice(prefix.length) || '/' : fullPath);
}

/** Returns whether the request is for any wheel. If `classifyRequest` returns null for it, the prefix may be wrong. */
export const isWheelRequest = (request: string): boolean =>
  decodePath(requestTarget(request) ?? '').endsWith('.whl');

/** Returns the path of the public URL without its final slash; '' if it has no path, or if there is no valid URL. */
export function publicPath(publicUrl: string | null): string {
  if (publicUrl === null || !URL.canParse(publicUrl)) return '';
  return normalisePrefix(new URL(publicUrl).pathname);
}

/** Returns a prefix in the form that `classifyRequest` takes: `/farm` for `farm/`, '' for `/`. */
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

/** Returns whether a request of this kind counts if it was answered with this status; see `classifyRequest`. */
export const isCountedStatus = (kind: LogKind, status: number): boolean =>
  status === 200 || (status === 304 && kind !== 'downloads');

/** Returns the decoded path of a request target, with repeated slashes merged as servers do; '' if it is not valid. */
function decodePath(target: string): string {
  const encoded = unescapeLogText(target).replace(/^https?:\/\/[^/?#]*/i, '');
  try {
    return decodeURIComponent(decodeUtf8(encoded.replace(/[?#].*$/s, ''))).replace(/\/{2,}/g, '/');
  } catch {
    return '';
  }
}

/** Same as FILES_LINK in src/site/layout.ts. */
const FILES_FOLDER = 'packages';
const NAME_PATTERN = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,198}[A-Za-z0-9])?$/;
// eslint-disable-next-line no-control-regex
const WHEEL_PATTERN = /^[^/\\\s\u0000-\u001f\u007f-\u009f]{1,251}\.whl$/;

function classifyPath(path: string): RequestedResource | null {
  const [empty, folder = '', name = '', rest = '', ...more] = path.split('/');
  if (empty !== '' || folder === '') return path === '/' ? { kind: 'pages', name: '/' } : null;
  const subpath = [rest, ...more].join('/').replace(/(^|\/)index\.[\w.]+$/, '$1');
  // Mirrors fetch wheels from here: these are the URLs in the PyPI JSON.
  if (folder === FILES_FOLDER && NAME_PATTERN.test(name))
    return WHEEL_PATTERN.test(subpath) ? { kind: 'downloads', name: clean(subpath, 255) } : null;
  if (folder === 'simple' && NAME_PATTERN.test(name)) {
    if (subpath === '') return { kind: 'index-pages', name: normaliseName(name) };
    return WHEEL_PATTERN.test(subpath) ? { kind: 'downloads', name: clean(subpath, 255) } : null;
  }
  if (folder === 'project' && NAME_PATTERN.test(name)) {
    if (subpath === '') return { kind: 'projects', name: normaliseName(name) };
    return subpath === 'json' || subpath === 'json/' ? { kind: 'json', name: normaliseName(name) } : null;
  }
  return path.endsWith('.html') ? { kind: 'pages', name: clean(path, 1000) } : null;
}

/** Normalises a name according to PEP 503. */
const normaliseName = (name: string): string => name.replace(/[-_.]+/g, '-').toLowerCase();
