import type { LogAgent } from '../protocols/weblog.js';
import { clean, unescapeLogText, decodeUtf8 } from './text.js';

const UNKNOWN_AGENT: LogAgent = [null, null, null, null, null, null, null, null, null, null];
const MAX_FIELD_LENGTH = 200;

/**
 * Parses a User-Agent header as written in the log. Recognises these forms:
 *
 * - `NAME/VERSION {JSON}` of pip, uv and pdm, which has all fields;
 * - `poetry/2.1.4 CPython/3.11.7 Linux/6.1.0` of Poetry, conda and old versions of pip: the installer, then the Python
 *   and the operating system in any order, and from conda the distribution;
 * - any other `NAME/VERSION`, which is taken for an installer, except `Mozilla`, which is a browser.
 */
export function parseUserAgent(raw: string): LogAgent {
  const text = decodeUtf8(unescapeLogText(raw));
  const match = /^([\w.-]+)\/(\S+)(?: (.*))?$/s.exec(text);
  if (!match || match[1] === 'Mozilla') return UNKNOWN_AGENT;
  const [, installer = '', version = '', rest = ''] = match;
  const product = [clean(installer, MAX_FIELD_LENGTH), clean(version, MAX_FIELD_LENGTH)] as const;
  return rest.startsWith('{') ? fromJson(rest, product) : fromProducts(rest, product);
}

type Installer = readonly [string, string];

function fromJson(json: string, [installer, version]: Installer): LogAgent {
  let data: unknown;
  try {
    data = JSON.parse(json);
  } catch {
    // The JSON is truncated or invalid. The installer's name and version, which precede it, are still used.
  }
  const stringAt = (...keys: string[]): string | null => {
    const value = keys.reduce<unknown>(
      (inner, key) =>
        typeof inner === 'object' && inner !== null ? (inner as Record<string, unknown>)[key] : undefined,
      data,
    );
    return typeof value === 'string' && value !== '' ? clean(value, MAX_FIELD_LENGTH) : null;
  };
  return [
    stringAt('cpu'),
    stringAt('distro', 'name'),
    stringAt('distro', 'version'),
    stringAt('system', 'name'),
    stringAt('system', 'release'),
    stringAt('implementation', 'name'),
    stringAt('implementation', 'version') ?? stringAt('python'),
    installer,
    version,
    stringAt('setuptools_version'),
  ];
}

const PYTHONS = new Set(['cpython', 'pypy', 'graalpy', 'jython', 'ironpython']);
const SYSTEMS = new Set(['linux', 'darwin', 'windows', 'freebsd', 'openbsd', 'netbsd', 'cygwin', 'sunos']);
/** Products in conda's User-Agent header that are not the distribution. */
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
    const pair = [
      clean(product.slice(0, slash), MAX_FIELD_LENGTH),
      clean(product.slice(slash + 1), MAX_FIELD_LENGTH),
    ];
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
