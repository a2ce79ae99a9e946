import { Bus } from '../bus/bus.js';
import { masterConnection, slaveConnection } from '../connection.js';
import { Database } from '../database/pool.js';
import type { Settings, SettingName } from '../config.js';
import type { TracedSetting } from '../settings/load.js';
import type { DoctorContext, Role } from './check.js';

/** How long a connection to NATS is tried, milliseconds. */
const CONNECT_TIMEOUT_MS = 3000;

/** Settings that only a builder needs, and those that only a master needs. */
const BUILDER_SETTINGS: readonly SettingName[] = ['master', 'slave-user', 'slave-key', 'nkey'];
const MASTER_SETTINGS: readonly SettingName[] = ['dsn', 'nats', 'nats-key', 'output-path'];

/**
 * Returns what the configuration makes of this machine: a builder, if it says how a slave finds its master; a master if
 * it says where the farm's servers are, or else if it isn't a builder; a web server if it has the site's address.
 */
export function rolesOf(settings: readonly TracedSetting[]): ReadonlySet<Role> {
  const isSet = (names: readonly SettingName[]) =>
    settings.some(({ name, origin }) => names.includes(name) && origin.source !== 'default');
  const roles = new Set<Role>();
  if (isSet(BUILDER_SETTINGS)) roles.add('builder');
  if (isSet(MASTER_SETTINGS) || roles.size === 0) roles.add('master');
  if (isSet(['public-url'])) roles.add('web');
  return roles;
}

/** Creates the context of an examination. `close` ends its connections. */
export function createContext(
  options: Omit<DoctorContext, 'bus' | 'database'>,
  connectTimeoutMs = CONNECT_TIMEOUT_MS,
): DoctorContext & { readonly close: () => Promise<void> } {
  const { settings, roles } = options;
  const bus = once(() => connect(settings, roles, connectTimeoutMs));
  const database = once(() => Database.open(settings.dsn, 'doctor', { connections: 1 }));
  return {
    ...options,
    bus: bus.get,
    database: database.get,
    close: async () => {
      await bus.close((connection) => connection.drain());
      await database.close((connection) => connection.close());
    },
  };
}

async function connect(settings: Settings, roles: ReadonlySet<Role>, patienceMs: number): Promise<Bus> {
  const connection = roles.has('master') ? masterConnection(settings) : slaveConnection(settings);
  return await Bus.connect({ ...connection, name: 'piw doctor', patienceMs });
}

/** Returns a function that opens something at its first call, and one that closes it if it was opened. */
function once<T>(open: () => Promise<T>) {
  let opened: Promise<T> | undefined;
  return {
    get: () => (opened ??= open()),
    close: async (end: (value: T) => Promise<void>) => {
      const value = await opened?.catch(() => undefined);
      if (value !== undefined) await end(value);
    },
  };
}
