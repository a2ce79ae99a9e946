import { totalmem } from 'node:os';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { PiwError } from '../errors.js';
import type { DataFolder } from './data-folder.js';
import { freePort, isFree } from './ports.js';
import { findPostgres, type PostgresBinaries } from './postgres-binaries.js';
import { runAs } from './privileges.js';
import { ManagedProcess, stopLeftover } from './process.js';

export interface RunningPostgres {
  /** Of the ordinary role, and of the superuser who makes its tables. */
  readonly dsn: string;
  readonly adminDsn: string;
  readonly role: string;
  readonly process: ManagedProcess;
}

interface SavedPostgresState {
  readonly port: number;
  readonly adminPass: string;
  readonly rolePass: string;
}

const ROLE = 'piw';
const DATABASE = 'piwheels';
/** For a machine that builds, and perhaps a small one: little memory, few files, full durability. */
const SETTINGS: Readonly<Record<string, string>> = {
  shared_buffers: `${String(sharedBuffersMb())}MB`,
  max_connections: '80',
  max_wal_size: `${String(maxWalSizeMb())}MB`,
  min_wal_size: '80MB',
  checkpoint_timeout: '15min',
  wal_compression: 'on',
  unix_socket_directories: '',
  listen_addresses: '127.0.0.1',
  log_min_messages: 'warning',
  // One connection an actor; parallel workers would be more processes than cores.
  max_parallel_workers_per_gather: '0',
  jit: 'off',
};

/** A part of the memory that a small machine doesn't miss, and of a large one enough for all of PyPI's queue. */
function sharedBuffersMb(): number {
  return Math.round(Math.min(512, Math.max(48, totalmem() / 2 ** 20 / 32)));
}

/** What is written between two checkpoints: after each one every page that is touched is logged whole. */
function maxWalSizeMb(): number {
  return Math.round(Math.min(2048, Math.max(256, totalmem() / 2 ** 20 / 8)));
}

/** It takes two seconds of a processor, and on a busy machine gets a hundredth of one. */
const INITDB_LIMIT_MS = 15 * 60_000;

/**
 * Starts the farm's own PostgreSQL, on the loopback address, with its data in the data folder, and
 * with an ordinary role that owns one database. Made at the first start; made aside and renamed, so
 * that one that was broken off is begun again.
 */
export async function startPostgres(options: {
  readonly folder: DataFolder;
  readonly log: (line: string) => void;
  readonly onFailure: (error: PiwError) => void;
  readonly signal: AbortSignal;
}): Promise<RunningPostgres> {
  const { folder, log, onFailure, signal } = options;
  const pidFile = folder.join('postgres.pid');
  await stopLeftover(pidFile, 'SIGINT');
  const binaries = findPostgres(folder.account);
  const data = folder.join('postgres');
  const savedJson = folder.read('postgres.json');
  let saved = savedJson === undefined ? undefined : (JSON.parse(savedJson) as SavedPostgresState);
  if (!existsSync(data) || !saved) {
    log('Making the database…');
    const port = await freePort();
    saved = {
      port,
      adminPass: randomBytes(18).toString('base64url'),
      rolePass: randomBytes(18).toString('base64url'),
    };
    await createCluster(binaries, folder, data, saved, signal);
    folder.writeSecret('postgres.json', JSON.stringify(saved));
  }
  const dataMajor = Number(readFileSync(join(data, 'PG_VERSION'), 'utf8'));
  if (dataMajor !== binaries.major) {
    throw new PiwError(
      'PIW_DATA_VERSION',
      `the database in ${data} is of PostgreSQL ${String(dataMajor)}, and the one here is ${String(binaries.major)}`,
    );
  }
  if (!(await isFree(saved.port))) {
    saved = { ...saved, port: await freePort() };
    folder.writeSecret('postgres.json', JSON.stringify(saved));
  }
  const { port, adminPass, rolePass } = saved;
  const settings = Object.entries({ ...SETTINGS, port: String(port) }).flatMap(([name, value]) => [
    '-c',
    `${name}=${value}`,
  ]);
  const managedProcess = new ManagedProcess({
    name: 'PostgreSQL',
    command: join(binaries.bin, 'postgres'),
    args: ['-D', data, ...settings],
    env: { PATH: process.env['PATH'], LC_ALL: 'C' },
    account: folder.account,
    cwd: folder.path,
    logFile: folder.prepareLog('postgres.log'),
    pidFile,
    // "Fast": ends the sessions, and leaves nothing to be recovered.
    stopSignal: 'SIGINT',
    graceMs: 30_000,
    ready: (signal, progress) => waitUntilAccepting(port, signal, progress),
    stallTimeoutMs: 120_000,
    signal,
    onFailure,
    log,
  });
  await managedProcess.start();
  const url = (user: string, pass: string) =>
    `postgresql://${user}:${pass}@127.0.0.1:${String(port)}/${DATABASE}`;
  return {
    dsn: url(ROLE, rolePass),
    adminDsn: url('postgres', adminPass),
    role: ROLE,
    process: managedProcess,
  };
}

async function createCluster(
  binaries: PostgresBinaries,
  folder: DataFolder,
  data: string,
  saved: SavedPostgresState,
  signal: AbortSignal,
): Promise<void> {
  const fresh = `${data}.new`;
  rmSync(fresh, { recursive: true, force: true });
  const password = folder.writeSecret('postgres.pw', saved.adminPass);
  try {
    const initdb = [
      '-D',
      fresh,
      '-U',
      'postgres',
      '--auth=scram-sha-256',
      `--pwfile=${password}`,
      '-E',
      'UTF8',
      '--locale=C',
      '--no-sync',
    ];
    await run(join(binaries.bin, 'initdb'), initdb, folder, '', signal);
    // Without a server: what is made here is there or not with the folder. One statement a line.
    const sql = [
      `create role ${ROLE} login password '${saved.rolePass}'`,
      `create database ${DATABASE} owner ${ROLE}`,
    ];
    for (const statement of sql)
      await run(
        join(binaries.bin, 'postgres'),
        ['--single', '-D', fresh, 'postgres'],
        folder,
        `${statement};\n`,
        signal,
      );
  } finally {
    rmSync(password, { force: true });
  }
  renameSync(fresh, data);
}

/** Runs one of PostgreSQL's programs to its end. Raises PIW_NO_POSTGRES with the last line that it said. */
function run(
  command: string,
  args: readonly string[],
  folder: DataFolder,
  input: string,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      ...runAs(folder.account),
      cwd: folder.path,
      env: { PATH: process.env['PATH'], LC_ALL: 'C' },
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: INITDB_LIMIT_MS,
      detached: true,
    });
    let output = '';
    child.stdout.on('data', (data: Buffer) => (output += data.toString()));
    child.stderr.on('data', (data: Buffer) => (output += data.toString()));
    // All of it is waited for, also when it is told to end: it writes into the folder until then.
    const end = (): void => {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGTERM');
    };
    signal.addEventListener('abort', end, { once: true });
    child.once('error', (error) => {
      reject(new PiwError('PIW_NO_POSTGRES', `${command} does not run: ${error.message}`));
    });
    child.once('close', (code) => {
      signal.removeEventListener('abort', end);
      const failed = code !== 0 || /^.*\b(ERROR|FATAL|PANIC):/m.test(output);
      if (signal.aborted) reject(new PiwError('PIW_INTERRUPTED', 'interrupted'));
      else if (!failed) resolve();
      else
        reject(
          new PiwError('PIW_NO_POSTGRES', `${command} failed: ${output.trim().split('\n').at(-1) ?? ''}`),
        );
    });
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
  });
}

/** It takes connections, and is not still recovering. */
async function waitUntilAccepting(port: number, signal: AbortSignal, progress: () => void): Promise<void> {
  // A startup message for a role that is not there: refused for its password when it is up (28…), and
  // with 57P03 while it still recovers.
  const parameters = Buffer.from('user\0nobody\0database\0postgres\0\0');
  const startupMessage = Buffer.alloc(8 + parameters.length);
  startupMessage.writeInt32BE(startupMessage.length, 0);
  startupMessage.writeInt32BE(196_608, 4);
  parameters.copy(startupMessage, 8);
  while (!signal.aborted) {
    const response = await new Promise<string>((resolve) => {
      const socket = connect(port, '127.0.0.1');
      const end = (answer: string) => {
        socket.destroy();
        resolve(answer);
      };
      socket.setTimeout(2000, () => {
        end('');
      });
      socket.once('error', () => {
        end('');
      });
      socket.once('connect', () => socket.write(startupMessage));
      socket.once('data', (data) => {
        end(data.toString('latin1'));
      });
    });
    if (response !== '' && !response.includes('57P03')) return;
    // It recovers, in a process of its own.
    if (response !== '') progress();
    await sleep(50);
  }
}
