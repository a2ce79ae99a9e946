import { join, resolve } from 'node:path';
import type { Given, SetSettings } from '../config.js';

/**
 * The configurations of a farm's own master and slaves, from three layers: what the farm alone knows (its servers'
 * addresses and credentials, its folders), then what its user has set, on the command line or with `-c FILE`, then
 * the farm's own defaults. What the user has set goes to both sides, but for secrets and for what names one of them.
 */

type KeyName = keyof SetSettings;

/** Belongs to the slaves: in the farm's file, which other commands read too, it would name a slave of its own. */
const SLAVES_ONLY: readonly KeyName[] = [
  'master',
  'slave-user',
  'slave-key',
  'nkey',
  'label',
  'work-dir',
  'python',
];
/** Belongs to the master: builds may read a slave's file. */
const MASTER_ONLY: readonly KeyName[] = [
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
const OF_ANOTHER_SERVER: readonly KeyName[] = [
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
const OF_ANOTHER_INDEX: readonly KeyName[] = ['pypi-xmlrpc', 'pypi-json'];

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
export function masterConfiguration(set: SetSettings, facts: MasterFacts): Given {
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
    ...without(set, [
      ...SLAVES_ONLY,
      'log-file',
      ...(ownServer ? OF_ANOTHER_SERVER : []),
      ...(facts.samples ? OF_ANOTHER_INDEX : []),
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
export function slaveConfiguration(set: SetSettings, facts: SlaveFacts): Given {
  const { name, isAlone, ownServer } = facts;
  const label = set.label === undefined ? name : isAlone ? set.label : `${set.label} ${name}`;
  return {
    // The farm is for trying out, on the machine of the master itself.
    'allow-exposed': true,
    ...(ownServer ? {} : { master: facts.master }),
    ...without(set, [...MASTER_ONLY, 'log-file', ...(ownServer ? OF_ANOTHER_SERVER : [])]),
    ...(ownServer ? { master: facts.master } : {}),
    ...(set['build-path'] === undefined
      ? {}
      : { 'build-path': set['build-path'].map((path) => resolve(path)) }),
    prefix: facts.prefix,
    python: facts.pythons,
    'work-dir': facts.workDir,
    label,
  };
}

/** Returns the folder that is set for a slave's builds: each slave has one of its own. */
export function setWorkDir(set: SetSettings, name: string): string | undefined {
  const folder = set['work-dir'];
  return folder === undefined ? undefined : join(folder, name);
}

/** Returns the keys that are set and have no effect on this farm. */
export function ineffective(set: SetSettings): readonly string[] {
  if (set.nats !== undefined) return [];
  return OF_ANOTHER_SERVER.filter((name) => set[name] !== undefined);
}

function without(set: SetSettings, names: readonly KeyName[]): SetSettings {
  return Object.fromEntries(
    Object.entries(set).filter(([name]) => !(names as readonly string[]).includes(name)),
  );
}
