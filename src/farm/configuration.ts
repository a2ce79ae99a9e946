import { join, resolve } from 'node:path';
import type { RawSettings, ExplicitSettings } from '../config.js';

/**
 * The configurations of a farm's own master and slaves, from three layers: what the farm alone knows (its servers'
 * addresses and credentials, its folders), then what its user has set, on the command line or with `-c FILE`, then
 * the farm's own defaults. What the user has set goes to both sides, but for secrets and for what names one of them.
 */

type SettingName = keyof ExplicitSettings;

/** Belongs to the slaves: in the farm's file, which other commands read too, it would name a slave of its own. */
const SLAVES_ONLY: readonly SettingName[] = [
  'master',
  'slave-user',
  'slave-key',
  'nkey',
  'label',
  'work-dir',
  'python',
];
/** Belongs to the master: builds may read a slave's file. */
const MASTER_ONLY: readonly SettingName[] = [
  'nats',
  'nats-key',
  'nats-users',
  'nats-pid',
  'dsn',
  'user',
  'output-path',
  'watch',
  'watch-file',
  'spool',
  'geoip-database',
];
/** Has no effect where the farm runs its own nats-server: it makes the credentials itself. */
const EXTERNAL_SERVER_KEYS: readonly SettingName[] = [
  'nats-key',
  'nats-users',
  'nats-pid',
  'tls-ca',
  'tls-cert',
  'tls-key',
  'master',
  'slave-user',
  'slave-key',
  'nkey',
];
/** The samples are served by the farm itself: nothing of another index holds for them. */
const EXTERNAL_INDEX_KEYS: readonly SettingName[] = ['pypi-xmlrpc', 'pypi-json'];

export interface MasterFacts {
  readonly nats: string;
  /** Of the farm's own nats-server: the file with its slaves' users, and the one with its process number. */
  readonly usersFile?: string;
  readonly pidFile?: string;
  readonly dsn: string;
  readonly prefix: string;
  readonly outputPath: string;
  /** Where the farm's web server keeps what it can't have counted while the rest of the farm is away. */
  readonly spool: string;
  /** The address of the farm's own web server. */
  readonly url: string;
  readonly followed: string;
  readonly builtFrom: string;
  readonly samples: boolean;
  readonly watch: readonly string[];
}

/** Returns the configuration of the master, and of every command that this user runs for the farm. */
export function masterConfiguration(userSettings: ExplicitSettings, facts: MasterFacts): RawSettings {
  const { usersFile, pidFile } = facts;
  const ownServer = usersFile !== undefined;
  return {
    'public-url': facts.url,
    spool: facts.spool,
    'watch-only': true,
    history: 'newest',
    'poll-interval': '60s',
    'register-targets': true,
    'dev-mode': true,
    ...omitKeys(userSettings, [
      ...SLAVES_ONLY,
      'log-file',
      ...(ownServer ? EXTERNAL_SERVER_KEYS : []),
      ...(facts.samples ? EXTERNAL_INDEX_KEYS : []),
    ]),
    nats: facts.nats,
    ...(usersFile === undefined ? {} : { 'nats-users': usersFile }),
    ...(pidFile === undefined ? {} : { 'nats-pid': [pidFile] }),
    dsn: facts.dsn,
    prefix: facts.prefix,
    'output-path': facts.outputPath,
    'pypi-simple': facts.followed,
    'index-url': facts.builtFrom,
    watch: facts.watch,
  };
}

export interface SlaveFacts {
  /** `slave-1` and so on; it is the label where none is set. */
  readonly name: string;
  /** Whether there are other slaves, with which a label or a folder that is set must not be shared. */
  readonly isAlone: boolean;
  /** Its address on the farm's own nats-server, with its credentials, or that of another server. */
  readonly master: string;
  readonly ownServer: boolean;
  readonly prefix: string;
  readonly pythons: readonly string[];
  readonly workDir: string;
}

/** Returns the configuration of one slave. */
export function slaveConfiguration(userSettings: ExplicitSettings, facts: SlaveFacts): RawSettings {
  const { name, isAlone, ownServer } = facts;
  const label =
    userSettings.label === undefined ? name : isAlone ? userSettings.label : `${userSettings.label} ${name}`;
  return {
    // The farm is for trying out, on the machine of the master itself.
    'allow-exposed': true,
    ...(ownServer ? {} : { master: facts.master }),
    ...omitKeys(userSettings, [...MASTER_ONLY, 'log-file', ...(ownServer ? EXTERNAL_SERVER_KEYS : [])]),
    ...(ownServer ? { master: facts.master } : {}),
    ...(userSettings['build-path'] === undefined
      ? {}
      : { 'build-path': userSettings['build-path'].map((path) => resolve(path)) }),
    prefix: facts.prefix,
    python: facts.pythons,
    'work-dir': facts.workDir,
    label,
  };
}

/** Returns the folder that is set for a slave's builds: each slave has one of its own. */
export function slaveWorkDir(userSettings: ExplicitSettings, name: string): string | undefined {
  const folder = userSettings['work-dir'];
  return folder === undefined ? undefined : join(folder, name);
}

/** Returns the keys that are set and have no effect on this farm. */
export function ineffectiveKeys(userSettings: ExplicitSettings): readonly string[] {
  if (userSettings.nats !== undefined) return [];
  return EXTERNAL_SERVER_KEYS.filter((name) => userSettings[name] !== undefined);
}

function omitKeys(userSettings: ExplicitSettings, names: readonly SettingName[]): ExplicitSettings {
  return Object.fromEntries(
    Object.entries(userSettings).filter(([name]) => !(names as readonly string[]).includes(name)),
  );
}
