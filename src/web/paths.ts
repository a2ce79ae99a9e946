import { packagesPath, pypiPath } from '../site/layout.js';
import { isPackageName, normalise } from '../wheels/names.js';

/** Returns the decoded path of a request; undefined if no page or file can have that path. */
export function cleanPath(url: string): string | undefined {
  let path: string;
  try {
    // A request may contain an absolute URL (RFC 9112, 3.2.2), as proxies send it.
    path = decodeURIComponent(url.replace(/^https?:\/\/[^/?#]*\/?/i, '/').split(/[?#]/)[0] ?? '/');
  } catch {
    return undefined;
  }
  // eslint-disable-next-line no-control-regex
  if (!path.startsWith('/') || path.includes('\\') || /[\u0000-\u001f]/.test(path)) return undefined;
  // Neither `..`, which leads out of the root, nor dotfiles, which are incomplete.
  if (path.split('/').some((part) => part.startsWith('.'))) return undefined;
  return path.replace(/\/{2,}/g, '/');
}

/** Returns the path to redirect to: PEP 503's normalised name with a slash, or the page that a short form stands for. */
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
