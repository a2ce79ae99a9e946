import { parseAddress } from '../bus/address.js';
import type { ExplicitSettings } from '../config.js';
import { loadSettings } from '../settings/load.js';
import { masterConnection } from '../connection.js';
import { migrate } from '../database/migrations.js';
import { Database } from '../database/pool.js';
import { releaseHolds } from '../database/queue.js';
import type { PiwError } from '../errors.js';
import type { DataFolder } from '../servers/data-folder.js';
import { startNats } from '../servers/nats-server.js';
import { startPostgres } from '../servers/postgres.js';
import type { PythonInterpreter } from '../servers/python.js';
import { WAVES, type FarmShutdown } from './shutdown.js';

/** The servers that a farm uses: private ones, which it starts in its data folder, or those that the user configured. */

const DEFAULT_PREFIX = 'piw';

interface ServerContext {
  readonly folder: DataFolder;
  readonly shutdown: FarmShutdown;
  readonly log: (text: string) => void;
  /** Called when a private server can't be kept alive. */
  readonly onFailure: (error: PiwError) => void;
  readonly signal: AbortSignal;
}

/** The addresses for the master and for each slave; and for a private server, the files that piw slaves needs. */
export interface NatsAddresses {
  readonly prefix: string;
  readonly master: string;
  readonly slaves: readonly string[];
  readonly usersFile?: string;
  readonly pidFile?: string;
}

interface NatsOptions {
  readonly userSettings: ExplicitSettings;
  readonly python: PythonInterpreter;
  /** The names of the slaves on this machine. */
  readonly slaves: readonly string[];
  /** Where a private server listens. */
  readonly listen: string | undefined;
}

/** Returns the addresses on the nats-server: a private one, which it starts, unless the user configured another. */
export async function provideNats(context: ServerContext, options: NatsOptions): Promise<NatsAddresses> {
  const { userSettings, python, slaves, listen } = options;
  const prefix = userSettings.prefix ?? DEFAULT_PREFIX;
  if (userSettings.nats !== undefined)
    return { prefix, ...externalAddresses(userSettings.nats, slaves.length) };
  const nats = await startNats({ ...context, python, prefix, slaves, listen });
  context.shutdown.addProcess(WAVES.servers, nats.process);
  const { master, slaves: addresses, usersFile, pidFile } = nats;
  return { prefix, master, slaves: addresses, usersFile, pidFile };
}

/** Returns the addresses on an external server. Slaves connect as the user in its address, or else as `slave`. */
function externalAddresses(address: string, slaves: number): Pick<NatsAddresses, 'master' | 'slaves'> {
  const { user, servers } = parseAddress(address);
  const slave = user === undefined ? `nats://slave@${servers.join(',')}` : address;
  return { master: address, slaves: Array.from({ length: slaves }, () => slave) };
}

/** Returns the options with which the farm itself connects to NATS. */
export function farmConnection(
  { prefix, master, usersFile }: NatsAddresses,
  userSettings: ExplicitSettings,
): ReturnType<typeof masterConnection> {
  if (usersFile !== undefined) return { address: master, prefix };
  return masterConnection(loadSettings({ ...userSettings, prefix }, '/dev/null'));
}

/**
 * Returns the DSN of the database: in a private PostgreSQL, which it starts, unless the user configured another.
 * Migrates the database, and makes builds that wait for a retry due now.
 */
export async function provideDatabase(
  context: ServerContext,
  configuredDsn: string | undefined,
): Promise<string> {
  if (configuredDsn !== undefined) {
    await prepareDatabase({ dsn: configuredDsn, adminDsn: configuredDsn, role: roleFromDsn(configuredDsn) });
    return configuredDsn;
  }
  const postgres = await startPostgres(context);
  context.shutdown.addProcess(WAVES.servers, postgres.process);
  await prepareDatabase(postgres);
  return postgres.dsn;
}

interface DatabaseAccess {
  readonly dsn: string;
  /** The DSN of a user who may change the schema. */
  readonly adminDsn: string;
  /** The role with which the farm uses the database. */
  readonly role: string;
}

async function prepareDatabase({ dsn, adminDsn, role }: DatabaseAccess): Promise<void> {
  await migrate(adminDsn, { user: role });
  // A user who restarts a farm wants to see builds retried.
  const database = await Database.open(dsn, 'farm');
  await releaseHolds(database).finally(() => database.close());
}

function roleFromDsn(dsn: string): string {
  const url = URL.canParse(dsn) ? new URL(dsn) : undefined;
  return url && url.username !== '' ? decodeURIComponent(url.username) : (process.env['USER'] ?? 'piwheels');
}
