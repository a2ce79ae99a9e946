import { PiwError } from '../errors.js';

/** How pip reaches what it builds from, with nothing secret in an address. */
export interface IndexAccess {
  readonly indexUrl: string;
  readonly extraIndexUrls: readonly string[];
  readonly findLinks: readonly string[];
  readonly trustedHosts: readonly string[];
  /** What `.netrc` in the build's home has to hold; empty if nothing. */
  readonly netrc: string;
  /** What must not appear in a log. */
  readonly secrets: readonly string[];
}

interface AccessOptions {
  readonly indexUrl: string;
  readonly extraIndexUrl: string | null;
  /** What the farm hands in; of its PIP_ variables that hold addresses, nothing else need be passed on. */
  readonly env: Readonly<Record<string, string>>;
  /** Of the interpreter, as `3.11.7`. */
  readonly pythonVersion: string;
}

/** Shorter ones can't be hidden without hiding half of the log. */
const MIN_SECRET_CHARS = 4;

/**
 * Takes user names and passwords out of the addresses that pip gets and puts them into a .netrc, from
 * where pip takes them for every request to that host. For pip hands its addresses on as arguments to
 * the pip that installs the build's requirements (build_env.py, all versions up to 26.3 at least), and
 * arguments are seen by everybody on the machine. Raises PIW_CONFIG where a .netrc can't say it.
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
        `two indexes at ${host} want different passwords, which pip can't be given`,
      );
    }
    logins.set(host, login);
    return url;
  };
  const listFromEnv = (name: string): readonly string[] => splitWords(env[name]);
  const indexes = [indexUrl, ...splitWords(extraIndexUrl), ...listFromEnv('PIP_EXTRA_INDEX_URL')];
  const [primaryUrl = indexUrl, ...extraUrls] = [...new Set(indexes.map(stripLogin))];
  const findLinks = listFromEnv('PIP_FIND_LINKS').map(stripLogin);
  // Proxies stay as they are, in variables; pip does not hand those on as arguments.
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

/** The text without the secrets, and without what looks like one in an address. */
export function redactSecrets(text: string, secrets: readonly string[]): string {
  const hidden = secrets.reduce((rest, secret) => rest.replaceAll(secret, '****'), text);
  return hidden.replace(/(\bhttps?:\/\/)[^\s/@:'"]{1,500}(?::[^\s/@'"]{0,500})?@/g, '$1****@');
}

const splitWords = (text: string | null | undefined): readonly string[] =>
  (text ?? '').split(/\s+/).filter((word) => word !== '');

interface Login {
  /** The address without it. */
  readonly url: string;
  readonly host: string;
  readonly user: string;
  readonly password: string;
  /** As the address spells them. */
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
    // A percent sign that stands for itself.
    return text;
  }
}

/** In each spelling that a build comes across. A user without a password is a token. */
function secretSpellings({ user, password, percentEncoded }: Login): readonly string[] {
  const [secret, inAddress] = password === '' ? [user, percentEncoded[0]] : [password, percentEncoded[1]];
  return [secret, inAddress, escapeForNetrc(secret)];
}

const escapeForNetrc = (word: string): string => word.replace(/["\\]/g, '\\$&');

/** pip takes no plain http from another machine unless it is told to. */
function insecureHost(url: string): readonly string[] {
  if (!url.startsWith('http://') || !URL.canParse(url)) return [];
  const { host, hostname } = new URL(url);
  return hostname === 'localhost' || hostname === '[::1]' || hostname.startsWith('127.') ? [] : [host];
}

/**
 * Python 3.11 and later read quoted words in a .netrc; before, a word is what is between spaces, and
 * can't be empty.
 */
function netrcEntry({ host, user, password }: Login, pythonVersion: string): string {
  const [major = 0, minor = 0] = pythonVersion.split('.').map(Number);
  const quotes = major > 3 || minor >= 11;
  const netrcWord = (text: string): string => {
    // eslint-disable-next-line no-control-regex
    if (quotes ? /[\u0000-\u001f\u007f]/.test(text) : !/^[\x21-\x7e]+$/.test(text)) {
      throw new PiwError(
        'PIW_CONFIG',
        `Python ${pythonVersion} can't be given the user and password for ${host}`,
      );
    }
    return quotes ? `"${escapeForNetrc(text)}"` : text;
  };
  return `machine ${host.replace(/^\[|\]$/g, '')} login ${netrcWord(user)} password ${netrcWord(password)}\n`;
}
