import type { LogKind } from '../protocols/weblog.js';
import { clean, unescape, utf8 } from './text.js';

/** What was asked for: the name of a wheel, of a package, or the address of a page. */
export interface Asked {
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
export function asked(request: string, prefix = ''): Asked | null {
  const target = targetOf(request);
  if (target === undefined) return null;
  const whole = path(target);
  const within = prefix !== '' && (whole === prefix || whole.startsWith(`${prefix}/`));
  return meaning(within ? whole.slice(prefix.length) || '/' : whole);
}

/** Returns whether the request is for a wheel; of those that `asked` makes nothing of, the farm may be elsewhere. */
export const isWheel = (request: string): boolean => path(targetOf(request) ?? '').endsWith('.whl');

/** Returns the path of the public address without the slash at its end: '' for one that has none, or isn't known. */
export function publicPath(publicUrl: string | null): string {
  if (publicUrl === null || !URL.canParse(publicUrl)) return '';
  return cleanPrefix(new URL(publicUrl).pathname);
}

/** Returns a prefix as `asked` takes it: `/farm` of `farm/`, '' of `/`. */
export const cleanPrefix = (prefix: string): string =>
  prefix
    .replace(/^\/*/, '/')
    .replace(/\/+$/, '')
    .replace(/\/{2,}/g, '/');

/** Returns the target of a GET; undefined for anything else. */
function targetOf(request: string): string | undefined {
  if (!request.startsWith('GET ')) return undefined;
  const end = request.lastIndexOf(' HTTP/');
  return request.slice(4, end < 0 ? undefined : end);
}

/** See there: whether it counts with this status. */
export const answered = (kind: LogKind, status: number): boolean =>
  status === 200 || (status === 304 && kind !== 'downloads');

/** The path of a target, decoded, and with single slashes, as servers take it; '' if it is none. */
function path(target: string): string {
  const encoded = unescape(target).replace(/^https?:\/\/[^/?#]*/i, '');
  try {
    return decodeURIComponent(utf8(encoded.replace(/[?#].*$/s, ''))).replace(/\/{2,}/g, '/');
  } catch {
    return '';
  }
}

/** FILES_LINK in src/site/layout.ts. */
const FILES = 'packages';
const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,198}[A-Za-z0-9])?$/;
// eslint-disable-next-line no-control-regex
const WHEEL = /^[^/\\\s\u0000-\u001f\u007f-\u009f]{1,251}\.whl$/;

function meaning(path: string): Asked | null {
  const [empty, folder = '', name = '', rest = '', ...more] = path.split('/');
  if (empty !== '' || folder === '') return path === '/' ? { kind: 'pages', what: '/' } : null;
  const below = [rest, ...more].join('/').replace(/(^|\/)index\.[\w.]+$/, '$1');
  // Where PyPI's JSON has the wheels, for mirrors.
  if (folder === FILES && NAME.test(name))
    return WHEEL.test(below) ? { kind: 'downloads', what: clean(below, 255) } : null;
  if (folder === 'simple' && NAME.test(name)) {
    if (below === '') return { kind: 'searches', what: normalised(name) };
    return WHEEL.test(below) ? { kind: 'downloads', what: clean(below, 255) } : null;
  }
  if (folder === 'project' && NAME.test(name)) {
    if (below === '') return { kind: 'projects', what: normalised(name) };
    return below === 'json' || below === 'json/' ? { kind: 'json', what: normalised(name) } : null;
  }
  return path.endsWith('.html') ? { kind: 'pages', what: clean(path, 1000) } : null;
}

/** As PEP 503 says. */
const normalised = (name: string): string => name.replace(/[-_.]+/g, '-').toLowerCase();
