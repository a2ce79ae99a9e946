import { join, resolve } from 'node:path';
import type { RawSettings, ExplicitSettings } from '../config.js';

/**
 * The configurations of a farm's own master and slaves. They have three layers, the strongest first: what only the
 * farm knows (addresses, credentials and folders of its servers), what the user set on the command line or with
 * `-c FILE`, and the farm's defaults. The user's settings go to both the master and the slaves, except for secrets and
 * for settings that identify one of them.
 */

type SettingName = keyof ExplicitSettings;

/** Settings of slaves only: in the farm's file, which other commands read too, they would name one particular slave. */
const SLAVES_ONLY: readonly SettingName[] = [
  'master',
  'slave-user',
  'slave-key',
  'nkey',
  'label',
  'work-dir',
  'python',
];
/** Settings of the master only: builds may read a slave's file. */
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
/** Settings without effect when the farm runs its own nats-server: it creates the credentials itself. */
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
/** Settings that belong to another index and don't apply to the samples, which the farm serves itself. */
const EXTERNAL_INDEX_KEYS: readonly SettingName[] = ['pypi-xmlrpc', 'pypi-json'];

interface MasterFacts {
  readonly nats: string;
  /** For the farm's own nats-server: the file with the slaves' users, and the file with its process id. */
  readonly usersFile?: string;
  readonly pidFile?: string;
  readonly dsn: string;
  readonly prefix: string;
  readonly outputPath: string;
  /** The folder where the web server keeps downloads that can't be counted while the rest of the farm is down. */
  readonly spool: string;
  /** The address of the farm's web server. */
  readonly url: string;
  readonly followed: string;
  readonly builtFrom: string;
  readonly samples: boolean;
  readonly watch: readonly string[];
}

/** Returns the configuration for the master, and for every command that this user runs on the farm. */
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

interface SlaveFacts {
  /** `slave-1` and so on; also the label if none is set. */
  readonly name: string;
  /** False if there are other slaves: then they must not share a label or a folder that the user set. */
  readonly isAlone: boolean;
  /** The address of the farm's own nats-server with this slave's credentials, or of an external server. */
  readonly master: string;
  readonly ownServer: boolean;
  readonly prefix: string;
  readonly pythons: readonly string[];
  readonly workDir: string;
}

/** Returns the configuration for one slave. */
export function slaveConfiguration(userSettings: ExplicitSettings, facts: SlaveFacts): RawSettings {
  const { name, isAlone, ownServer } = facts;
  const label =
    userSettings.label === undefined ? name : isAlone ? userSettings.label : `${userSettings.label} ${name}`;
  return {
    // A farm is for trying piw out: it builds on the master's own machine.
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

/** Returns this slave's own folder below the configured work-dir; undefined if none is set. */
export function slaveWorkDir(userSettings: ExplicitSettings, name: string): string | undefined {
  const folder = userSettings['work-dir'];
  return folder === undefined ? undefined : join(folder, name);
}

/** Returns the keys that the user set and that have no effect on this farm. */
export function ineffectiveKeys(userSettings: ExplicitSettings): readonly string[] {
  if (userSettings.nats !== undefined) return [];
  return EXTERNAL_SERVER_KEYS.filter((name) => userSettings[name] !== undefined);
}

function omitKeys(userSettings: ExplicitSettings, names: readonly SettingName[]): ExplicitSettings {
  return Object.fromEntries(
    Object.entries(userSettings).filter(([name]) => !(names as readonly string[]).includes(name)),
  );
}
