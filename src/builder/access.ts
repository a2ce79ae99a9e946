import { PiwError } from '../errors.js';

/** How pip reaches its indexes; the addresses contain no secrets. */
export interface IndexAccess {
  readonly indexUrl: string;
  readonly extraIndexUrls: readonly string[];
  readonly findLinks: readonly string[];
  readonly trustedHosts: readonly string[];
  /** The contents of `.netrc` in the build's home; empty if no login is needed. */
  readonly netrc: string;
  /** Texts that must not appear in a log, the longest first. */
  readonly secrets: readonly string[];
}

interface AccessOptions {
  readonly indexUrl: string;
  readonly extraIndexUrl: string | null;
  /** The farm's variables; those of pip that contain addresses (PIP_…) are replaced by the result. */
  readonly env: Readonly<Record<string, string>>;
  /** The interpreter's version, e.g. `3.11.7`. */
  readonly pythonVersion: string;
}

/** Shorter secrets can't be redacted without redacting half of the log. */
const MIN_SECRET_CHARS = 4;

/**
 * Moves user names and passwords from pip's addresses to a .netrc, where pip finds them for every request to the
 * host. This is necessary because pip passes its addresses as arguments to the pip that installs the build
 * requirements (build_env.py, at least in all versions up to 26.3), and every user of the machine can see arguments.
 * Throws PIW_CONFIG if a .netrc can't express the logins.
 */
export function resolveIndexAccess({
  indexUrl,
  extraIndexUrl,
  env,
  pythonVersion,
}: AccessOptions): IndexAccess {
  const logins = new Map<string, Login>();
  const secrets = new Set<string>();
  const stripLogin = (address: string): string => {
    const login = parseLogin(address);
    if (!login) return address;
    const { url, host } = login;
    for (const secret of secretSpellings(login)) secrets.add(secret);
    const previousLogin = logins.get(host);
    if (previousLogin && (previousLogin.user !== login.user || previousLogin.password !== login.password)) {
      throw new PiwError(
        'PIW_CONFIG',
        `two indexes at ${host} have different logins, but pip can use only one login per host`,
      );
    }
    logins.set(host, login);
    return url;
  };
  const listFromEnv = (name: string): readonly string[] => splitWords(env[name]);
  const indexes = [indexUrl, ...splitWords(extraIndexUrl), ...listFromEnv('PIP_EXTRA_INDEX_URL')];
  const [primaryUrl = indexUrl, ...extraUrls] = [...new Set(indexes.map(stripLogin))];
  const findLinks = listFromEnv('PIP_FIND_LINKS').map(stripLogin);
  // Addresses of proxies stay in variables, which pip does not pass on as arguments.
  for (const value of Object.values(env)) {
    const login = parseLogin(value);
    for (const secret of login ? secretSpellings(login) : []) secrets.add(secret);
  }
  return {
    indexUrl: primaryUrl,
    extraIndexUrls: extraUrls,
    findLinks,
    trustedHosts: [
      ...new Set([...listFromEnv('PIP_TRUSTED_HOST'), ...[primaryUrl, ...extraUrls].flatMap(insecureHost)]),
    ],
    netrc: [...logins.values()].map((login) => netrcEntry(login, pythonVersion)).join(''),
    secrets: [...secrets]
      .filter((secret) => secret.length >= MIN_SECRET_CHARS)
      .sort((a, b) => b.length - a.length),
  };
}

/** Replaces the secrets in a text, and anything that looks like a login in an address, by `****`. */
export function redactSecrets(text: string, secrets: readonly string[]): string {
  const redacted = secrets.reduce((rest, secret) => rest.replaceAll(secret, '****'), text);
  return redacted.replace(/(\bhttps?:\/\/)[^\s/@:'"]{1,500}(?::[^\s/@'"]{0,500})?@/g, '$1****@');
}

const splitWords = (text: string | null | undefined): readonly string[] =>
  (text ?? '').split(/\s+/).filter((word) => word !== '');

interface Login {
  /** The address without the login. */
  readonly url: string;
  readonly host: string;
  readonly user: string;
  readonly password: string;
  /** User and password as the address spells them. */
  readonly percentEncoded: readonly [user: string, password: string];
}

function parseLogin(address: string): Login | undefined {
  if (!/^https?:\/\/[^/]*@/.test(address) || !URL.canParse(address)) return undefined;
  const url = new URL(address);
  const percentEncoded = [url.username, url.password] as const;
  const [user, password] = percentEncoded.map(decode);
  url.username = '';
  url.password = '';
  return { url: url.href, host: url.hostname, user: user ?? '', password: password ?? '', percentEncoded };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // The text has a literal percent sign.
    return text;
  }
}

/** Returns the secret of a login in each spelling that a build may see. A user name without a password is a token. */
function secretSpellings({ user, password, percentEncoded }: Login): readonly string[] {
  const [secret, inAddress] = password === '' ? [user, percentEncoded[0]] : [password, percentEncoded[1]];
  return [secret, inAddress, escapeForNetrc(secret)];
}

const escapeForNetrc = (word: string): string => word.replace(/["\\]/g, '\\$&');

/** Returns the host of a plain http address, which pip must be told to trust; none for this machine, or https. */
function insecureHost(url: string): readonly string[] {
  if (!url.startsWith('http://') || !URL.canParse(url)) return [];
  const { host, hostname } = new URL(url);
  return hostname === 'localhost' || hostname === '[::1]' || hostname.startsWith('127.') ? [] : [host];
}

/**
 * Returns a line of a .netrc. Python 3.11 and later accept quoted words; in older versions words are separated by
 * spaces and can't be empty. Throws PIW_CONFIG if a word can't be expressed.
 */
function netrcEntry({ host, user, password }: Login, pythonVersion: string): string {
  const [major = 0, minor = 0] = pythonVersion.split('.').map(Number);
  const quotes = major > 3 || minor >= 11;
  const netrcWord = (text: string): string => {
    // eslint-disable-next-line no-control-regex
    if (quotes ? /[\u0000-\u001f\u007f]/.test(text) : !/^[\x21-\x7e]+$/.test(text)) {
      throw new PiwError(
        'PIW_CONFIG',
        `the user and password for ${host} cannot be stored in a .netrc that Python ${pythonVersion} can read`,
      );
    }
    return quotes ? `"${escapeForNetrc(text)}"` : text;
  };
  return `machine ${host.replace(/^\[|\]$/g, '')} login ${netrcWord(user)} password ${netrcWord(password)}\n`;
}
