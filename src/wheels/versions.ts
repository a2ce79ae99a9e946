import pep440 from '@renovatebot/pep440';

/**
 * The regular expression of PEP 440, appendix B, with our own capture groups: epoch, release, pre, post, dev, local.
 * Numbers remain strings, because some versions contain numbers (dates, hashes) too large for a double.
 */
const PEP440_PATTERN = new RegExp(
  String.raw`^\s*v?(?:(\d+)!)?(\d+(?:\.\d+)*)` +
    String.raw`(?:[-_.]?(alpha|a|beta|b|preview|pre|c|rc)[-_.]?(\d*))?` +
    String.raw`(?:-(\d+)|([-_.]?)(post|rev|r)[-_.]?(\d*))?` +
    String.raw`(?:[-_.]?(dev)[-_.]?(\d*))?` +
    String.raw`(?:\+([a-z0-9]+(?:[-_.][a-z0-9]+)*))?\s*$`,
  'i',
);

interface VersionParts {
  readonly epoch: string;
  readonly release: readonly string[];
  readonly pre: readonly [letter: 'a' | 'b' | 'rc', number: string] | undefined;
  readonly post: string | undefined;
  readonly dev: string | undefined;
  readonly local: readonly string[];
}

function parseVersion(version: string): VersionParts | undefined {
  const match = PEP440_PATTERN.exec(version);
  if (!match) return undefined;
  const [, epoch, release = '', letter, number, implicit, , post, postNumber, dev, devNumber, local] = match;
  const pre = letter?.toLowerCase();
  return {
    epoch: epoch ?? '0',
    release: release.split('.'),
    pre:
      pre === undefined
        ? undefined
        : [pre.startsWith('a') ? 'a' : pre.startsWith('b') ? 'b' : 'rc', orZero(number)],
    post: implicit ?? (post === undefined ? undefined : orZero(postNumber)),
    dev: dev === undefined ? undefined : orZero(devNumber),
    local: local === undefined ? [] : local.toLowerCase().split(/[-_.]/),
  };
}

/** Returns the number of a suffix such as `rc1`: 0 if the suffix has none, as in `1.0a`. */
const orZero = (number: string | undefined): string => (number === undefined || number === '' ? '0' : number);

export const isPep440 = (version: string): boolean => PEP440_PATTERN.test(version);

/**
 * Returns a string whose bytewise order is PEP 440's order of versions. A version that isn't valid under PEP 440
 * sorts before all valid ones. Equal versions (1.0 and 1.0.0) have the same key.
 */
export function sortKey(version: string): string {
  const cached = sortKeyCache.get(version);
  if (cached !== undefined) return cached;
  const key = computeSortKey(version);
  if (sortKeyCache.size >= MAX_CACHED_KEYS) sortKeyCache.clear();
  sortKeyCache.set(version, key);
  return key;
}

/** Caches keys: most packages have a version like 1.0.0, so millions of versions have far fewer distinct strings. */
const sortKeyCache = new Map<string, string>();
const MAX_CACHED_KEYS = 10_000;

function computeSortKey(version: string): string {
  const parts = parseVersion(version);
  if (!parts) return `0${version}`;
  const { epoch, release, pre, post, dev, local } = parts;
  const lastNonZero = release.findLastIndex((number) => /[1-9]/.test(number));
  // `b` precedes each number and `a` ends the list, so that a longer version sorts after its own prefix.
  const numbers = release.slice(0, lastNonZero + 1).map((number) => `b${lengthPrefixed(number)}`);
  // The order of PEP 440: 1.0.dev0 < 1.0a1 < 1.0b1 < 1.0rc1 < 1.0 and 1.0.post1.
  const rank = { a: '1', b: '2', rc: '3' };
  const stage = pre
    ? rank[pre[0]] + lengthPrefixed(pre[1])
    : post === undefined && dev !== undefined
      ? '0'
      : '4';
  // In a local version, numbers (`c`) sort after text (`b`).
  const locals = local.map((part) => (/^\d+$/.test(part) ? `c${lengthPrefixed(part)}` : `b${part} `));
  return [
    `1${lengthPrefixed(epoch)}`,
    `${numbers.join('')}a`,
    stage,
    post === undefined ? '0' : `1${lengthPrefixed(post)}`,
    dev === undefined ? '1' : `0${lengthPrefixed(dev)}`,
    local.length === 0 ? '0' : `1${locals.join('')}a`,
  ].join('');
}

/** Returns a number's digits, preceded by their count, so that the strings sort as the numbers do. */
function lengthPrefixed(number: string): string {
  const plain = number.replace(/^0+(?=\d)/, '');
  return String(plain.length).padStart(3, '0') + plain;
}

/** Compares two versions by PEP 440: negative, zero or positive. */
export function compareVersions(a: string, b: string): number {
  const [x, y] = [sortKey(a), sortKey(b)];
  return x < y ? -1 : x > y ? 1 : 0;
}

export const sameVersion = (a: string, b: string): boolean => sortKey(a) === sortKey(b);

export function isPrerelease(version: string): boolean {
  const parts = parseVersion(version);
  return parts !== undefined && (parts.pre !== undefined || parts.dev !== undefined);
}

/**
 * One clause of a specifier, as the packaging library parses it: an operator and a version, which may end with `.*`
 * only after == and !=.
 */
const SPECIFIER_CLAUSE_PATTERN =
  /^\s*(?:===\s*[^\s,;()]+|(?:==|!=)\s*(?:\d+!)?\d+(?:\.\d+)*\.\*|(?:~=|==|!=|<=|>=|<|>)\s*([^\s,*]+))\s*$/;

/**
 * Returns whether installers can parse `specifier` as a set of version specifiers (PEP 440). An invalid one,
 * e.g. `>=3.`, makes uv ignore every file that carries it.
 */
export function isSpecifier(specifier: string): boolean {
  return specifier.split(',').every((clause) => {
    const match = SPECIFIER_CLAUSE_PATTERN.exec(clause);
    return clause.trim() === '' || (match !== null && (match[1] === undefined || isPep440(match[1])));
  });
}

/**
 * Returns whether a Requires-Python specifier admits a Python version `X.Y`. The bug fix release of a target's Python
 * is unknown, so `X.Y.99` is checked, as the latest one. As in pip, an invalid specifier admits everything.
 */
export function admits(specifier: string, pythonVersion: string): boolean {
  if (specifier.trim() === '' || !pep440.validRange(specifier)) return true;
  return pep440.satisfies(`${pythonVersion}.99`, specifier, { prereleases: true });
}
