import type { LogAgent } from '../protocols/weblog.js';
import { clean, unescape, utf8 } from './text.js';

const NOBODY: LogAgent = [null, null, null, null, null, null, null, null, null, null];
const LIMIT = 200;

/**
 * Who asked, by a user-agent as it stands in the log:
 *
 * - pip's, uv's and pdm's, `NAME/VERSION {JSON}`, which tells everything;
 * - Poetry's and conda's, `poetry/2.1.4 CPython/3.11.7 Linux/6.1.0`, and old pip's: the installer, then the Python
 *   and the system, wherever they stand, and (conda) the distribution;
 * - any other `NAME/VERSION`, but a browser, which is no installer.
 */
export function agentOf(raw: string): LogAgent {
  const text = utf8(unescape(raw));
  const match = /^([\w.-]+)\/(\S+)(?: (.*))?$/s.exec(text);
  if (!match || match[1] === 'Mozilla') return NOBODY;
  const [, installer = '', version = '', rest = ''] = match;
  const its = [clean(installer, LIMIT), clean(version, LIMIT)] as const;
  return rest.startsWith('{') ? fromJson(rest, its) : fromProducts(rest, its);
}

type Installer = readonly [string, string];

function fromJson(json: string, [installer, version]: Installer): LogAgent {
  let data: unknown;
  try {
    data = JSON.parse(json);
  } catch {
    // Cut off, or made up: what stands before it still counts.
  }
  const at = (...keys: string[]): string | null => {
    const value = keys.reduce<unknown>(
      (inner, key) =>
        typeof inner === 'object' && inner !== null ? (inner as Record<string, unknown>)[key] : undefined,
      data,
    );
    return typeof value === 'string' && value !== '' ? clean(value, LIMIT) : null;
  };
  return [
    at('cpu'),
    at('distro', 'name'),
    at('distro', 'version'),
    at('system', 'name'),
    at('system', 'release'),
    at('implementation', 'name'),
    at('implementation', 'version') ?? at('python'),
    installer,
    version,
    at('setuptools_version'),
  ];
}

const PYTHONS = new Set(['cpython', 'pypy', 'graalpy', 'jython', 'ironpython']);
const SYSTEMS = new Set(['linux', 'darwin', 'windows', 'freebsd', 'openbsd', 'netbsd', 'cygwin', 'sunos']);
const LIBRARIES = new Set(['requests', 'urllib3', 'httpx', 'glibc', 'musl', 'solver', 'aau', 'libcurl']);

function fromProducts(rest: string, [installer, version]: Installer): LogAgent {
  let python: readonly string[] = [];
  let system: readonly string[] = [];
  let distro: readonly string[] = [];
  let setuptools: string | null = null;
  for (const product of rest.replace(/\([^)]*\)/g, ' ').split(/\s+/)) {
    const slash = product.indexOf('/');
    if (slash <= 0) continue;
    const name = product.slice(0, slash).toLowerCase();
    const pair = [clean(product.slice(0, slash), LIMIT), clean(product.slice(slash + 1), LIMIT)];
    if (PYTHONS.has(name)) python = pair;
    else if (SYSTEMS.has(name)) system = pair;
    else if (name === 'setuptools') setuptools = pair[1] ?? null;
    else if (installer === 'conda' && system.length > 0 && distro.length === 0 && !LIBRARIES.has(name))
      distro = pair;
  }
  const [pyName = null, pyVersion = null] = python;
  const [osName = null, osVersion = null] = system;
  const [distroName = null, distroVersion = null] = distro;
  return [
    null,
    ...([distroName, distroVersion, osName, osVersion, pyName, pyVersion] as const),
    ...([installer, version, setuptools] as const),
  ];
}
