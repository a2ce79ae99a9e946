import { totalmem } from 'node:os';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { onAbort } from '../concurrency/abort.js';
import { PiwError } from '../errors.js';
import type { DataFolder } from './data-folder.js';
import { freePort, isFree } from './ports.js';
import { findPostgres, type PostgresBinaries } from './postgres-binaries.js';
import { runAs } from './privileges.js';
import { ManagedProcess, stopLeftover } from './process.js';

export interface RunningPostgres {
  /** For the ordinary role; and for the superuser, who creates the tables. */
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
/** For a perhaps small machine that also builds: little memory, few files, full durability. */
const SETTINGS: Readonly<Record<string, string>> = {
  shared_buffers: `${sharedBuffersMb()}MB`,
  max_connections: '80',
  max_wal_size: `${maxWalSizeMb()}MB`,
  min_wal_size: '80MB',
  checkpoint_timeout: '15min',
  wal_compression: 'on',
  unix_socket_directories: '',
  listen_addresses: '127.0.0.1',
  log_min_messages: 'warning',
  // Every actor has a connection; with parallel workers there would be more processes than cores.
  max_parallel_workers_per_gather: '0',
  jit: 'off',
};

/** Returns 1/32 of the memory, 48 to 512 MB: little on a small machine, enough for all of PyPI's queue on a large one. */
function sharedBuffersMb(): number {
  return Math.round(Math.min(512, Math.max(48, totalmem() / 2 ** 20 / 32)));
}

/** Returns 1/8 of the memory, 256 to 2048 MB. Checkpoints should be rare: after each, touched pages are logged whole. */
function maxWalSizeMb(): number {
  return Math.round(Math.min(2048, Math.max(256, totalmem() / 2 ** 20 / 8)));
}

/** initdb needs two seconds of processor time, and on a busy machine may get a hundredth of a processor. */
const INITDB_LIMIT_MS = 15 * 60_000;

/**
 * Starts the farm's own PostgreSQL on the loopback address, with its data in the data folder. The first start creates
 * it, with an ordinary role that owns one database, under another name and then renames it: if that was interrupted,
 * the next start begins again.
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
  const binaries = await findPostgres(folder.account, log, signal);
  const data = folder.join('postgres');
  const savedJson = folder.read('postgres.json');
  let saved = savedJson === undefined ? undefined : (JSON.parse(savedJson) as SavedPostgresState);
  if (!existsSync(data) || !saved) {
    log('Creating the database…');
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
      `the database in ${data} was created by PostgreSQL ${dataMajor}; PostgreSQL ${binaries.major} can't read it`,
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
    // "Fast" shutdown: ends the sessions, and leaves nothing to recover.
    stopSignal: 'SIGINT',
    graceMs: 30_000,
    ready: (signal, progress) => waitUntilAccepting(port, signal, progress),
    stallTimeoutMs: 120_000,
    signal,
    onFailure,
    log,
  });
  await managedProcess.start();
  const url = (user: string, pass: string) => `postgresql://${user}:${pass}@127.0.0.1:${port}/${DATABASE}`;
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
  const temporaryPath = `${data}.new`;
  rmSync(temporaryPath, { recursive: true, force: true });
  const passwordFile = folder.writeSecret('postgres.pw', saved.adminPass);
  try {
    const initdbArgs = [
      '-D',
      temporaryPath,
      '-U',
      'postgres',
      '--auth=scram-sha-256',
      `--pwfile=${passwordFile}`,
      '-E',
      'UTF8',
      '--locale=C',
      '--no-sync',
    ];
    await run(join(binaries.bin, 'initdb'), initdbArgs, folder, '', signal);
    // In single-user mode, so that role and database exist exactly if the folder does. One statement per line.
    const statements = [
      `create role ${ROLE} login password '${saved.rolePass}'`,
      `create database ${DATABASE} owner ${ROLE}`,
    ];
    for (const statement of statements)
      await run(
        join(binaries.bin, 'postgres'),
        ['--single', '-D', temporaryPath, 'postgres'],
        folder,
        `${statement};\n`,
        signal,
      );
  } finally {
    rmSync(passwordFile, { force: true });
  }
  renameSync(temporaryPath, data);
}

/** Runs one of PostgreSQL's programs to its end. Throws PIW_NO_POSTGRES with the last line of its output. */
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
    // When aborted, wait for all its processes: they write into the folder until they end.
    const terminate = (): void => {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGTERM');
    };
    const removeListener = onAbort(signal, terminate);
    child.once('error', (error) => {
      reject(new PiwError('PIW_NO_POSTGRES', `can't run ${command}: ${error.message}`));
    });
    child.once('close', (code) => {
      removeListener();
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

/** Resolves when the server accepts connections and is no longer recovering. */
async function waitUntilAccepting(port: number, signal: AbortSignal, progress: () => void): Promise<void> {
  // A startup message for a role that doesn't exist: a running server refuses its password (28…), a recovering one
  // answers 57P03.
  const parameters = Buffer.from('user\0nobody\0database\0postgres\0\0');
  const startupMessage = Buffer.alloc(8 + parameters.length);
  startupMessage.writeInt32BE(startupMessage.length, 0);
  startupMessage.writeInt32BE(196_608, 4);
  parameters.copy(startupMessage, 8);
  while (!signal.aborted) {
    const response = await new Promise<string>((resolve) => {
      const socket = connect(port, '127.0.0.1');
      const finish = (answer: string) => {
        socket.destroy();
        resolve(answer);
      };
      socket.setTimeout(2000, () => {
        finish('');
      });
      socket.once('error', () => {
        finish('');
      });
      socket.once('connect', () => socket.write(startupMessage));
      socket.once('data', (data) => {
        finish(data.toString('latin1'));
      });
    });
    if (response !== '' && !response.includes('57P03')) return;
    // Recovery is progress; a process of its own does it.
    if (response !== '') progress();
    await sleep(50);
  }
}
