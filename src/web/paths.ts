import { packagesPath, pypiPath } from '../site/layout.js';
import { isPackageName, normalise } from '../wheels/names.js';

/** The path of a request, decoded; undefined for one that no page or file can have. */
export function cleanPath(url: string): string | undefined {
  let path: string;
  try {
    // A request may name the server too (RFC 9112, 3.2.2): proxies have it so.
    path = decodeURIComponent(url.replace(/^https?:\/\/[^/?#]*\/?/i, '/').split(/[?#]/)[0] ?? '/');
  } catch {
    return undefined;
  }
  // eslint-disable-next-line no-control-regex
  if (!path.startsWith('/') || path.includes('\\') || /[\u0000-\u001f]/.test(path)) return undefined;
  // No `..`, and nothing that begins with a dot: neither a way out nor a file on its way in.
  if (path.split('/').some((part) => part.startsWith('.'))) return undefined;
  return path.replace(/\/{2,}/g, '/');
}

/** PEP 503: one spelling of a name, with a slash behind it; and the short form of a project's page. */
export function redirectTarget(path: string): string | undefined {
  if (path === '/simple') return '/simple/';
  if (/^\/project\/?$/.test(path)) return `/${packagesPath}`;
  const short = /^\/p\/([^/]+)\/?$/.exec(path)?.[1];
  if (short !== undefined && isPackageName(short)) return `/project/${normalise(short)}/`;
  const [, mirroredName = '', slash] = /^\/pypi\/([^/]+)\/json(\/)?$/.exec(path) ?? [];
  if (isPackageName(mirroredName)) {
    const page = `/${pypiPath(normalise(mirroredName))}/json`;
    return page === path && slash === undefined ? undefined : page;
  }
  const match = /^\/(simple|project)\/([^/]+)(\/.*)?$/.exec(path);
  const [, kind = '', name = '', rest] = match ?? [];
  if (!match || !isPackageName(name) || name.endsWith('.html') || name.startsWith('index.v1_'))
    return undefined;
  const canonical = `/${kind}/${normalise(name)}${rest ?? '/'}`;
  return canonical === path ? undefined : canonical;
}
