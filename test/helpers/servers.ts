import { join } from 'node:path';
import { DataFolder } from '../../src/servers/data-folder.js';
import { startNats } from '../../src/servers/nats-server.js';
import { startPostgres } from '../../src/servers/postgres.js';
import { unprivilegedAccount } from '../../src/servers/privileges.js';
import type { ManagedProcess } from '../../src/servers/process.js';
import { findPython } from '../../src/servers/python.js';

/** A private nats-server and PostgreSQL, both real. */
interface Servers {
  /** nats://USER:PASSWORD@HOST:PORT of a user with all permissions. */
  readonly nats: string;
  /** postgresql://… of a role that may create databases and roles. */
  readonly dsn: string;
  stop(): Promise<void>;
}

/**
 * Starts both as a farm does, with their data in a new folder under `parent`. Every user must be able to enter
 * `parent`, because the servers do not run as root even if this process does. Throws the farm's error if one can't be
 * started.
 */
export async function startServers(parent: string, log: (line: string) => void): Promise<Servers> {
  const account = unprivilegedAccount();
  const folder = DataFolder.open(join(parent, 'servers'), account);
  const started: ManagedProcess[] = [];
  const stop = async () => {
    await Promise.all(started.map(async (server) => server.stop()));
    folder.close();
  };
  const onFailure = (error: Error) => {
    log(error.message);
  };
  try {
    const python = await findPython(undefined, account);
    const signal = new AbortController().signal;
    const nats = await startNats({ folder, python, prefix: 'piw', log, onFailure, signal });
    started.push(nats.process);
    const postgres = await startPostgres({ folder, log, onFailure, signal });
    started.push(postgres.process);
    return { nats: nats.master, dsn: postgres.adminDsn, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
