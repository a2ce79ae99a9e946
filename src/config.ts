import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { PiwError, errorMessage } from './errors.js';

/**
 * The settings of every piw command, in one table: a key of the configuration file is the long name
 * of the option. What stands on the command line comes before what the file says, and that before
 * the default here.
 */
interface SettingDefinition {
  readonly kind: 'text' | 'choice' | 'list' | 'flag' | 'whole' | 'duration' | 'path';
  readonly fallback: string | readonly string[] | boolean | number | null;
  /** Of a choice. */
  readonly choices?: readonly string[];
  /** Of a whole number. */
  readonly least?: number;
  /** Of a list: says what is wrong with an item, if anything is. */
  readonly check?: (item: string) => string | undefined;
}

const text = <F extends string | null = null>(fallback: F = null as F) =>
  ({ kind: 'text', fallback }) as const;
const path = <F extends string | null = null>(fallback: F = null as F) =>
  ({ kind: 'path', fallback }) as const;
const choice = <const C extends readonly string[]>(fallback: C[number], choices: C) =>
  ({ kind: 'choice', fallback, choices }) as const;
const list = { kind: 'list', fallback: [] as readonly string[] } as const;
/** `NAME=VALUE`, each a variable of the environment. */
const variables = { ...list, check: variableProblem } as const;
const whole = (fallback: number, least = 0) => ({ kind: 'whole', fallback, least }) as const;
/** `3h`, `90m`, `45s`; a plain number is seconds. */
const duration = (seconds: number) => ({ kind: 'duration', fallback: seconds }) as const;
const flag = { kind: 'flag', fallback: false } as const;

export const SETTING_DEFINITIONS = {
  /** Where NATS is: host, host:port or nats://user:password@host:port. */
  nats: text('localhost'),
  /** The first token of every subject: several farms can share servers. */
  prefix: text('piw'),
  /** A file with the seed of our own user's nkey, where the address has no credentials. */
  'nats-key': path(),
  /** Files in PEM: who vouches for the servers, and who we are to them. */
  'tls-ca': path(),
  'tls-cert': path(),
  'tls-key': path(),
  /** The file with the slaves' users, which the nats-servers' configuration includes. */
  'nats-users': path('/etc/nats/piw-slaves.conf'),
  /** Where the nats-servers of this machine have written their process numbers. */
  'nats-pid': list,
  dsn: text('postgres:///piwheels'),
  user: text('piwheels'),
  'output-path': path('/var/www/piwheels'),
  /**
   * A wheel whose name stands for other contents: `refuse` it; `tag-removed`: it gets the next build tag where the
   * first wheel of that name was removed; `tag`: also where that wheel is still published.
   */
  rebuilt: choice('tag-removed', ['refuse', 'tag-removed', 'tag']),
  /** A wheel without the compiled part that its package has: `publish` it with a remark, or `refuse` it. */
  incomplete: choice('publish', ['publish', 'refuse']),
  'pypi-simple': text('https://pypi.org/simple'),
  /** These two of PyPI itself if it is what pypi-simple is, and else none. */
  'pypi-xmlrpc': text(),
  'pypi-json': text(),
  /** Who runs this farm, for the index's operators: an e-mail or web address. */
  contact: text(),
  /** What is followed: NAME, NAME==VERSION or a pattern of names; none: all of the index. */
  watch: list,
  /** A file of the same, one a line, which is read again when it has changed. */
  'watch-file': path(),
  /** An empty watch list means that nothing is followed, and not all of the index. */
  'watch-only': flag,
  /** Of a watched name: `all` releases, or the `newest` one and what comes after it. */
  history: choice('all', ['all', 'newest']),
  'poll-interval': duration(60),
  /** How many pages of projects are read of the index in a second, at most. */
  'pypi-rate': whole(5, 1),
  /** What of the index is gone: `keep`, `hide` or (once the grace time is over) `delete` its wheels. */
  removed: choice('delete', ['keep', 'hide', 'delete']),
  'removal-grace': duration(7 * 24 * 3600),
  /** What only isn't found any more, and of which no event says that it is gone, is looked for again so much later. */
  'removal-delay': duration(24 * 3600),
  /** A removal of more than so many in a hundred of all packages waits for an administrator's word. */
  'removal-share': whole(1),
  /** Of two builds of the backlog: the one of the `newest` or of the `oldest` release comes first. */
  'backlog-order': choice('newest', ['newest', 'oldest']),
  /** How often each gets its turn while builds of all three wait. */
  'weight-requests': whole(16, 1),
  'weight-releases': whole(4, 1),
  'weight-backlog': whole(1, 1),
  /** How long a build is held back after a failure that may pass; longer after each further one. */
  'retry-delay': duration(60),
  /** What slaves build from; the followed index if it isn't given. */
  'index-url': text(),
  'extra-index-url': text(),
  /** Where slaves find this farm's own index, for what they require to build; `public-url` has it if this isn't given; `none`. */
  'own-index-url': text(),
  /** The address under which people reach this farm's own index. */
  'public-url': text(),
  /** The target of a slave that says HELLO is registered. */
  'register-targets': flag,
  /** Single downloads and visits are kept for so many months, the present one included; 0: for good. */
  'keep-downloads': whole(0),
  /** The path of the farm's site on the web server whose log is read; that of `public-url` if it isn't given. */
  'path-prefix': text(),
  /** What the web server's log is like; `auto` finds out, line by line. */
  format: choice('auto', ['auto', 'common', 'common_vhost', 'combined', 'combined_vhost', 'nginx', 'json']),
  /** What the logger can't hand over is let go, and not kept on its disk. */
  drop: flag,
  /** Where it is kept, and how much of it, MB. */
  spool: path(),
  'spool-limit': whole(1024, 1),
  /** A MaxMind database of countries or cities. */
  'geoip-database': path(),
  /** What is kept of who asked: the address as it stands, its network (/24, /48), or nothing. */
  'log-hosts': choice('keep', ['keep', 'truncate', 'drop']),
  'allow-root': flag,
  'allow-superuser': flag,
  'dev-mode': flag,
  oracles: whole(2),
  scribes: whole(1),
  jugglers: whole(1),
  master: text('localhost'),
  timeout: duration(3 * 3600),
  'busy-interval': duration(30),
  /** Below these (MB) or above them (the load over a minute, °C) a slave takes no work; 0 is no threshold. */
  'min-disk-free': whole(1024),
  'min-memory-free': whole(64),
  'max-load': whole(0),
  'max-temperature': whole(85),
  /** What one build may use; 0 is no limit. The sizes are in MB. */
  'silence-timeout': duration(3600),
  'log-limit': whole(16),
  'log-limit-fails': flag,
  'output-limit': whole(1024),
  'build-memory': whole(0),
  'build-address-space': whole(0),
  'build-processes': whole(2000),
  'build-open-files': whole(4096),
  'build-file-size': whole(16 * 1024),
  'build-disk-free': whole(256),
  'build-niceness': whole(10),
  /** Folders of further programs that builds may use, as a Rust compiler's; before the system's. */
  'build-path': list,
  /** Variables that builds get besides those that the builder sets. */
  'build-env': variables,
  /** `auto`: builds are in one where bubblewrap works; `required`: or are not made; `none`: in none. */
  sandbox: text('auto'),
  /** In it, `on`: builds have the network; `requirements`: what downloads what they require has it, and they don't; `off`. */
  'sandbox-network': text('on'),
  'allow-exposed': flag,
  label: text(),
  python: list,
  'work-dir': path(),
  'log-file': path(),
  /** The slave's name on NATS and its key, as piw slaves add prints them: in a file, or the seed itself. */
  'slave-user': text(),
  'slave-key': path(),
  nkey: text(),
} as const satisfies Record<string, SettingDefinition>;

type SettingName = keyof typeof SETTING_DEFINITIONS;
type SettingValue<K extends SettingDefinition> = K extends { kind: 'list' }
  ? readonly string[]
  : K extends { kind: 'flag' }
    ? boolean
    : K extends { kind: 'whole' | 'duration' }
      ? number
      : K extends { kind: 'choice'; choices: readonly (infer C)[] }
        ? C
        : null extends K['fallback']
          ? string | null
          : string;

/** Every setting with its value. Durations are in seconds; paths are absolute. */
export type Settings = { readonly [K in SettingName]: SettingValue<(typeof SETTING_DEFINITIONS)[K]> };
/** Those that somebody has set. */
export type ExplicitSettings = { readonly [K in SettingName]?: NonNullable<Settings[K]> | undefined };
export type RawSettings = Partial<
  Record<SettingName, string | readonly string[] | boolean | number | undefined>
>;

/** The variable in which a master hands its settings to its actors, which read no configuration. */
export const SETTINGS_ENV = 'PIW_SETTINGS';

/** Where configuration is looked for; what a later file says overrides an earlier one. */
export function defaultConfigFiles(): readonly string[] {
  return [
    '/etc/piwheels.conf',
    '/usr/local/etc/piwheels.conf',
    join(homedir(), '.config', 'piwheels', 'piwheels.conf'),
    farmConfigFile(defaultDataDir()),
  ];
}

/** The configuration that `piw farm` writes, so that every other command finds its farm. */
export const farmConfigFile = (dataDir: string): string => join(dataDir, 'piwheels.conf');

export function defaultDataDir(): string {
  if (process.getuid?.() === 0) return '/var/lib/piw/farm';
  return join(process.env['XDG_DATA_HOME'] ?? join(homedir(), '.local', 'share'), 'piw');
}

/**
 * The settings of a command: `given` on its command line, then `file` (default: defaultFiles(), those
 * that exist), then the defaults. Raises PIW_CONFIG for an unknown key, a bad value, or a named file
 * that can't be read.
 */
export function loadSettings(flags: RawSettings, file?: string): Settings {
  const files = file === undefined ? defaultConfigFiles().filter((name) => isReadable(name)) : [file];
  const explicit = readExplicitSettings(flags, files);
  const settings = Object.entries(SETTING_DEFINITIONS).map(([name, { fallback }]) => [
    name,
    explicit[name as SettingName] ?? fallback,
  ]);
  return Object.fromEntries(settings) as Settings;
}

/**
 * Returns what is `given` on the command line or else set in `file`, without the default places and values. Throws as
 * loadSettings does.
 */
export function loadExplicitSettings(flags: RawSettings, file: string | undefined): ExplicitSettings {
  return readExplicitSettings(flags, file === undefined ? [] : [file]);
}

function readExplicitSettings(flags: RawSettings, files: readonly string[]): ExplicitSettings {
  const fromFiles: RawSettings = {};
  for (const name of files) {
    let contents: string;
    try {
      contents = readFileSync(name, 'utf8');
    } catch (error) {
      throw new PiwError('PIW_CONFIG', `${name} can't be read: ${errorMessage(error)}`, { cause: error });
    }
    Object.assign(fromFiles, parseConfig(contents, name));
  }
  const merged = { ...fromFiles, ...withoutUnsetFlags(flags) };
  const converted: Record<string, unknown> = {};
  for (const [name, key] of Object.entries(SETTING_DEFINITIONS)) {
    const value = merged[name as SettingName];
    if (value !== undefined) converted[name] = convert(name, key, value);
  }
  return converted;
}

function isReadable(file: string): boolean {
  try {
    return existsSync(file) && readFileSync(file).length >= 0;
  } catch {
    // One of the default places, and not for this user.
    return false;
  }
}

/**
 * `key = value` lines; `#` begins a comment, `[sections]` are passed over, a repeated key makes a
 * list. Raises PIW_CONFIG with the line's number.
 */
export function parseConfig(contents: string, file: string): RawSettings {
  const parsed: Record<string, string | string[]> = {};
  contents.split(/\r?\n/).forEach((raw, i) => {
    const line = raw.trim();
    if (line === '' || line.startsWith('#') || line.startsWith('[')) return;
    const at = `${file}, line ${String(i + 1)}`;
    const match = /^([A-Za-z][A-Za-z0-9_-]*)\s*=\s*(.*)$/.exec(line);
    if (!match) throw new PiwError('PIW_CONFIG', `${at}: not a line of the form key = value`);
    const name = (match[1] ?? '').replaceAll('_', '-');
    const value = (match[2] ?? '').replace(/\s+#.*$/, '');
    if (!(name in SETTING_DEFINITIONS))
      throw new PiwError('PIW_CONFIG', `${at}: no piw command has a setting ${name}`);
    if (SETTING_DEFINITIONS[name as SettingName].kind === 'list')
      parsed[name] = [parsed[name] ?? [], value].flat();
    else parsed[name] = value;
  });
  return parsed;
}

/** The lines of a configuration file for these settings. */
export function formatConfig(settings: RawSettings): string {
  const lines = Object.entries(settings).flatMap(([name, value]) =>
    Array.isArray(value) ? value.map((item) => `${name} = ${String(item)}`) : [`${name} = ${String(value)}`],
  );
  return `${lines.join('\n')}\n`;
}

/** Seconds of `3h`, `90m`, `45s`, `1h30m` or a plain number; undefined if it is none of these. */
export function parseDuration(value: string): number | undefined {
  const trimmed = value.trim();
  if (/^\d+(\.\d+)?$/.test(trimmed)) return Number(trimmed);
  const match = /^(?:(\d+)d)?\s*(?:(\d+)h)?\s*(?:(\d+)m)?\s*(?:(\d+)s)?$/.exec(trimmed);
  if (!match || trimmed === '') return undefined;
  const [days, hours, minutes, seconds] = match.slice(1).map((part) => Number(part || 0));
  return ((days ?? 0) * 24 + (hours ?? 0)) * 3600 + (minutes ?? 0) * 60 + (seconds ?? 0);
}

function convert(
  name: string,
  key: SettingDefinition,
  value: string | readonly string[] | boolean | number,
): unknown {
  const invalidValue = (what: string) => new PiwError('PIW_CONFIG', `${name} = ${String(value)}: ${what}`);
  switch (key.kind) {
    case 'list': {
      const items: readonly string[] = Array.isArray(value) ? value.map(String) : [String(value)];
      for (const item of items) {
        const trouble = key.check?.(item);
        if (trouble !== undefined) throw new PiwError('PIW_CONFIG', `${name} = ${item}: ${trouble}`);
      }
      return items;
    }
    case 'flag': {
      if (typeof value === 'boolean') return value;
      if (/^(true|yes|on|1|)$/i.test(String(value))) return true;
      if (/^(false|no|off|0)$/i.test(String(value))) return false;
      throw invalidValue('it is either true or false');
    }
    case 'whole': {
      const number = Number(value);
      const { least = 0 } = key;
      if (!Number.isSafeInteger(number) || String(value).trim() === '' || number < least)
        throw invalidValue(`it is a whole number${least > 0 ? `, and at least ${String(least)}` : ''}`);
      return number;
    }
    case 'choice': {
      const { choices = [] } = key;
      const chosen = String(value);
      if (!choices.includes(chosen)) throw invalidValue(`it is one of ${choices.join(', ')}`);
      return chosen;
    }
    case 'duration': {
      const seconds = parseDuration(String(value));
      if (seconds === undefined) throw invalidValue('it is a duration like 3h, 90m or 45s');
      return seconds;
    }
    case 'path':
      return resolve(String(value).replace(/^~(?=\/|$)/, homedir()));
    case 'text':
      return String(value);
  }
}

/** What builds have of their own, or what other settings are for; the builder's own marks. */
const RESERVED_VARIABLES =
  /^(?:PATH|HOME|TMPDIR|XDG_\w+_HOME|PIP_(?:CONFIG_FILE|INDEX_URL|NO_BINARY|ONLY_BINARY|USE_PEP517)|PIW_\w*)$/;

function variableProblem(item: string): string | undefined {
  const [, name] = /^([A-Za-z_]\w*)=[^\0\r\n]*$/.exec(item) ?? [];
  if (name === undefined) return 'it is NAME=VALUE, a variable of the environment';
  if (name === 'PATH') return 'folders of further programs are named with build-path';
  return RESERVED_VARIABLES.test(name) ? `the builder sets ${name} itself` : undefined;
}

/** A flag that stands on no command line is false there, which says nothing. */
function withoutUnsetFlags(flags: RawSettings): RawSettings {
  return Object.fromEntries(
    Object.entries(flags).filter(([, value]) => value !== undefined && value !== false),
  );
}
