import { homedir } from 'node:os';
import { resolve } from 'node:path';
import type { PiwError } from './errors.js';
import { LOG_FORMATS } from './log.js';
import { parseDuration } from './units.js';

/**
 * The settings of every piw command, in one table: a key of the configuration file is the long name of the option. How
 * files, environment and command line combine is in src/settings/.
 */
interface SettingDefinition {
  readonly kind: 'text' | 'choice' | 'list' | 'flag' | 'whole' | 'duration' | 'path';
  readonly fallback: string | readonly string[] | boolean | number | null;
  /** The release of piw in which it came, or `piwheels`. */
  readonly since: string;
  /** For `choice`: the values. */
  readonly choices?: readonly string[];
  /** For `whole`: the minimum. */
  readonly least?: number;
  /** For `list`: returns what is wrong with an item, or undefined. */
  readonly check?: (item: string) => string | undefined;
}

/** Returns the makers of definitions for the settings that came with a release. */
const settingsSince = <const R extends string>(since: R) => ({
  text: <F extends string | null = null>(fallback: F = null as F) =>
    ({ kind: 'text', fallback, since }) as const,
  path: <F extends string | null = null>(fallback: F = null as F) =>
    ({ kind: 'path', fallback, since }) as const,
  choice: <const C extends readonly string[]>(fallback: C[number], choices: C) =>
    ({ kind: 'choice', fallback, choices, since }) as const,
  list: { kind: 'list', fallback: [] as readonly string[], since } as const,
  /** A list of environment variables, each `NAME=VALUE`. */
  variables: { kind: 'list', fallback: [] as readonly string[], check: variableProblem, since } as const,
  whole: (fallback: number, least = 0) => ({ kind: 'whole', fallback, least, since }) as const,
  /** For example `3h`, `90m` or `45s`; a plain number is seconds. */
  duration: (seconds: number) => ({ kind: 'duration', fallback: seconds, since }) as const,
  flag: { kind: 'flag', fallback: false, since } as const,
});

/** The settings that piwheels' programs have, too, as options or keys. */
const piwheels = settingsSince('piwheels');
/** Those of piw's first release. A later release gets makers of its own, by which its settings are defined. */
const { text, path, choice, list, variables, whole, duration, flag } = settingsSince('0.1.0');

export const SETTING_DEFINITIONS = {
  /** The NATS servers: host, host:port or nats://user:password@host:port. */
  nats: text('localhost'),
  /** The first token of every subject, so that several farms can share servers. */
  prefix: text('piw'),
  /** A file with the seed of our own user's nkey, for an address without credentials. */
  'nats-key': path(),
  /** PEM files: the certificate authorities of the servers, and our own certificate and its key. */
  'tls-ca': path(),
  'tls-cert': path(),
  'tls-key': path(),
  /** The file with the slaves' users, which the nats-servers' configuration includes. */
  'nats-users': path('/etc/nats/piw-slaves.conf'),
  /** The PID files of the nats-servers on this machine. */
  'nats-pid': list,
  dsn: piwheels.text('postgres:///piwheels'),
  user: piwheels.text('piwheels'),
  'output-path': piwheels.path('/var/www/piwheels'),
  /**
   * What to do with a wheel whose name was already published with other contents: `refuse` it; `tag-removed`: give it
   * the next build tag if the first wheel of that name was removed; `tag`: also if that wheel is still published.
   */
  'on-duplicate-filename': choice('tag-removed', ['refuse', 'tag-removed', 'tag']),
  /** A wheel that lacks the compiled part of its package: `publish` it with a remark, or `refuse` it. */
  incomplete: choice('publish', ['publish', 'refuse']),
  'pypi-simple': piwheels.text('https://pypi.org/simple'),
  /** By default PyPI's own, if pypi-simple is PyPI; otherwise none. */
  'pypi-xmlrpc': piwheels.text(),
  'pypi-json': piwheels.text(),
  /** An e-mail or web address of whoever runs this farm, for the index's operators. */
  contact: text(),
  /** The packages to follow: NAME, NAME==VERSION or a pattern of names; if empty, the whole index. */
  watch: list,
  /** A file with the same, one entry per line, which is read again when it changes. */
  'watch-file': path(),
  /** If the watch list is empty, follows nothing rather than the whole index. */
  'watch-only': flag,
  /** For a watched name: `all` releases, or the `newest` one and those after it. */
  history: choice('all', ['all', 'newest']),
  'poll-interval': duration(60),
  /** The maximum number of project pages that are read from the index per second. */
  'pypi-rate': whole(5, 1),
  /**
   * What to do with the wheels of a release that was removed from the index: `keep`, `hide` or, after the grace time,
   * `delete` them.
   */
  removed: choice('delete', ['keep', 'hide', 'delete']),
  'removal-grace': duration(7 * 24 * 3600),
  /**
   * How long to wait before checking again for a release that is missing although no event says that it was removed.
   */
  'removal-delay': duration(24 * 3600),
  /** A removal of more than this percentage of all packages waits for an administrator's confirmation. */
  'removal-share': whole(1),
  /** Which builds of the backlog come first: those of the `newest` or of the `oldest` releases. */
  'backlog-order': choice('newest', ['newest', 'oldest']),
  /** The weights of the weighted round robin among requests, releases and backlog. */
  'weight-requests': whole(16, 1),
  'weight-releases': whole(4, 1),
  'weight-backlog': whole(1, 1),
  /** How long a build is held back after a transient failure; longer after each further one. */
  'retry-delay': duration(60),
  /** The index that slaves build from; by default the followed index. */
  'index-url': text(),
  'extra-index-url': text(),
  /**
   * The address of this farm's own index for slaves, for build requirements; by default `public-url`'s index; or
   * `none`.
   */
  'own-index-url': text(),
  /** The public address of this farm's own index. */
  'public-url': text(),
  /** Registers the target of every slave that connects. */
  'register-targets': flag,
  /** How many months single downloads and visits are kept, including the current one; 0: forever. */
  'keep-downloads': whole(0),
  /** The path of the farm's site on the web server whose log is read; by default the path of `public-url`. */
  'path-prefix': text(),
  /** The format of the web server's log; `auto` detects it for each line. */
  format: choice('auto', ['auto', 'common', 'common_vhost', 'combined', 'combined_vhost', 'nginx', 'json']),
  /** Drops what the logger can't deliver rather than spooling it on disk. */
  drop: piwheels.flag,
  /** The folder of the spool, and its maximum size, MB. */
  spool: path(),
  'spool-limit': whole(1024, 1),
  /** A MaxMind database of countries or cities. */
  'geoip-database': path(),
  /** How a client's address is stored: `keep` all of it, `truncate` it to its network (/24, /48), or `drop` it. */
  'log-hosts': choice('keep', ['keep', 'truncate', 'drop']),
  'allow-root': flag,
  'allow-superuser': flag,
  'dev-mode': piwheels.flag,
  oracles: whole(2),
  scribes: whole(1),
  jugglers: whole(1),
  master: piwheels.text('localhost'),
  timeout: piwheels.duration(3 * 3600),
  'busy-interval': duration(30),
  /** A slave takes no work below the minima (MB) or above the maxima (one-minute load, °C); 0 is no threshold. */
  'min-disk-free': whole(1024),
  'min-memory-free': whole(64),
  'max-load': whole(0),
  'max-temperature': whole(85),
  /** The limits of one build; 0 is no limit. Sizes are in MB. */
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
  /** Folders that are put on the builds' PATH, before the system's; for example a Rust toolchain's `bin`. */
  'build-path': list,
  /** Environment variables for builds, in addition to those that the builder sets. */
  'build-env': variables,
  /** `auto`: builds run in a sandbox if bubblewrap works; `required`: only in a sandbox; `none`: without one. */
  sandbox: text('auto'),
  /**
   * Who has the network in the sandbox: `on`: builds; `requirements`: only pip, to download what they require; `off`:
   * nobody.
   */
  'sandbox-network': text('on'),
  'allow-exposed': flag,
  label: text(),
  python: list,
  'work-dir': path(),
  'log-file': piwheels.path(),
  /** One line per event in either format: `text` for people, `json` for programs. */
  'log-format': choice('text', LOG_FORMATS),
  /** The slave's user name on NATS, and its key in a file or as the seed itself, as piw slaves add prints them. */
  'slave-user': text(),
  'slave-key': path(),
  nkey: text(),
} as const satisfies Record<string, SettingDefinition>;

export type SettingName = keyof typeof SETTING_DEFINITIONS;

/** The settings that can contain a password or a key. Each is also accepted as `NAME-file`, the path of a file with it. */
const SECRET_SETTINGS: ReadonlySet<SettingName> = new Set(['nats', 'dsn', 'master', 'nkey']);

/** The former keys of settings that have been renamed, which are still accepted. */
const FORMER_KEYS: ReadonlyMap<string, SettingName> = new Map([['rebuilt', 'on-duplicate-filename']]);

export const currentKey = (key: string): string => FORMER_KEYS.get(key) ?? key;
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
/** The settings that were set explicitly. */
export type ExplicitSettings = { readonly [K in SettingName]?: NonNullable<Settings[K]> | undefined };
/** What a setting can be before it is converted: text of a file or a variable, or the value of an option. */
export type RawValue = string | readonly string[] | boolean | number;
export type RawSettings = Partial<Record<SettingName, RawValue | undefined>>;

/** The environment variable by which a master passes its settings to its actors, which read no configuration. */
export const SETTINGS_ENV = 'PIW_SETTINGS';

/** Reads the settings from the value of SETTINGS_ENV; a former key stands for its setting's present one. */
export function settingsFromEnv(json: string): Settings {
  const settings = JSON.parse(json) as Readonly<Record<string, unknown>>;
  return Object.fromEntries(
    Object.entries(settings).map(([key, value]) => [currentKey(key), value]),
  ) as Settings;
}

export const isSettingName = (name: string): name is SettingName => Object.hasOwn(SETTING_DEFINITIONS, name);

/** Returns whether the value can contain a password or a key. */
export const isSecret = (name: SettingName): boolean => SECRET_SETTINGS.has(name);

/**
 * Returns the value of a setting in its type. For a value that is not valid, throws what `invalid` makes of it and of
 * what is wrong with it.
 */
export function convertSetting(
  name: SettingName,
  value: RawValue,
  invalid: (value: string, problem: string) => PiwError,
): Settings[SettingName] {
  const definition: SettingDefinition = SETTING_DEFINITIONS[name];
  const written = String(value);
  switch (definition.kind) {
    case 'list': {
      const items: readonly string[] = Array.isArray(value) ? value.map(String) : [written];
      for (const item of items) {
        const problem = definition.check?.(item);
        if (problem !== undefined) throw invalid(item, problem);
      }
      return items;
    }
    case 'flag': {
      if (typeof value === 'boolean') return value;
      if (/^(true|yes|on|1|)$/i.test(written)) return true;
      if (/^(false|no|off|0)$/i.test(written)) return false;
      throw invalid(written, 'must be true or false');
    }
    case 'whole': {
      const number = Number(value);
      const { least = 0 } = definition;
      if (!Number.isSafeInteger(number) || written.trim() === '' || number < least)
        throw invalid(written, `must be a whole number${least > 0 ? ` of at least ${least}` : ''}`);
      return number;
    }
    case 'choice': {
      const { choices = [] } = definition;
      if (!choices.includes(written)) throw invalid(written, `must be one of ${choices.join(', ')}`);
      return written;
    }
    case 'duration': {
      const seconds = parseDuration(written);
      if (seconds === undefined) throw invalid(written, 'must be a duration such as 3h, 90m or 45s');
      return seconds;
    }
    case 'path':
      return resolve(written.replace(/^~(?=\/|$)/, homedir()));
    case 'text':
      return written;
  }
}

/** Variables that the builder sets itself, or that other settings determine; and the builder's own PIW_ variables. */
const RESERVED_VARIABLES =
  /^(?:PATH|HOME|TMPDIR|XDG_\w+_HOME|PIP_(?:CONFIG_FILE|INDEX_URL|NO_BINARY|ONLY_BINARY|USE_PEP517)|PIW_\w*)$/;

function variableProblem(item: string): string | undefined {
  const [, name] = /^([A-Za-z_]\w*)=[^\0\r\n]*$/.exec(item) ?? [];
  if (name === undefined) return 'must be NAME=VALUE, an environment variable';
  if (name === 'PATH') return 'use build-path to add folders of programs';
  return RESERVED_VARIABLES.test(name) ? `the builder sets ${name} itself` : undefined;
}
