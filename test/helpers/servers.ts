import { join } from 'node:path';
import { migrate } from '../../src/database/migrations.js';
import { Database } from '../../src/database/pool.js';
import { DataFolder } from '../../src/servers/data-folder.js';
import { startNats } from '../../src/servers/nats-server.js';
import { startPostgres } from '../../src/servers/postgres.js';
import { unprivilegedAccount } from '../../src/servers/privileges.js';
import type { ManagedProcess } from '../../src/servers/process.js';
import { findPython } from '../../src/servers/python.js';
import { TEMPLATE_DATABASE } from './database.js';

/** A private nats-server and PostgreSQL, both real. */
interface Servers {
  /** nats://USER:PASSWORD@HOST:PORT of a user with all permissions. */
  readonly nats: string;
  /** postgresql://… of a role that may create databases and roles. */
  readonly dsn: string;
  stop(): Promise<void>;
}

/**
 * Starts both as a farm does, with their data in new folders under `parent`, that of PostgreSQL under `databaseParent`.
 * Every user must be able to enter them, because the servers do not run as root even if this process does. Throws the
 * farm's error if one can't be started.
 */
export async function startServers(
  parent: string,
  log: (line: string) => void,
  databaseParent = parent,
): Promise<Servers> {
  const account = unprivilegedAccount();
  const folder = DataFolder.open(join(parent, 'servers'), account);
  const databaseFolder =
    databaseParent === parent ? folder : DataFolder.open(join(databaseParent, 'servers'), account);
  const started: ManagedProcess[] = [];
  const stop = async () => {
    await Promise.all(started.map(async (server) => server.stop()));
    for (const each of new Set([folder, databaseFolder])) each.close();
  };
  const onFailure = (error: Error) => {
    log(error.message);
  };
  try {
    const python = await findPython(undefined, account);
    const signal = new AbortController().signal;
    const nats = await startNats({ folder, python, prefix: 'piw', log, onFailure, signal });
    started.push(nats.process);
    const postgres = await startPostgres({ folder: databaseFolder, log, onFailure, signal });
    started.push(postgres.process);
    await prepareDatabases(postgres.adminDsn);
    return { nats: nats.master, dsn: postgres.adminDsn, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/**
 * Makes the tests' databases cheap: creates one with piw's tables, of which each test gets a copy, and has PostgreSQL
 * not wait for the disk, because no test lets the machine crash.
 */
async function prepareDatabases(dsn: string): Promise<void> {
  const admin = await Database.open(dsn, 'test');
  try {
    await admin.query('alter system set fsync = off');
    await admin.query('select pg_reload_conf()');
    await admin.query(`create database ${TEMPLATE_DATABASE}`);
  } finally {
    await admin.close();
  }
  const url = new URL(dsn);
  url.pathname = `/${TEMPLATE_DATABASE}`;
  await migrate(url.href, { user: decodeURIComponent(url.username) });
}
