import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { availableParallelism } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { PiwError } from '../errors.js';
import { bucketOf } from '../protocols/file-juggler.js';
import type { DataFolder } from './folder.js';
import { natsFromWheel } from './nats-wheel.js';
import { freePort, isFree } from './ports.js';
import { can } from './privileges.js';
import { ManagedProcess, endLeftover } from './process.js';
import type { Python } from './python.js';

/** How many processors nats-server may use at once: of two one, of four or more two. */
const PROCESSORS = String(availableParallelism() < 4 ? 1 : 2);

export interface FarmServices {
  readonly folder: DataFolder;
  readonly python: Python;
  readonly prefix: string;
  readonly log: (line: string) => void;
  readonly onFailure: (error: PiwError) => void;
  /** Aborted when the farm is told to end before it has begun. */
  readonly signal: AbortSignal;
}

export interface RunningNats {
  /** With credentials: for masters, and for slaves. */
  readonly master: string;
  readonly slave: string;
  readonly process: ManagedProcess;
}

/** What is kept of a private server from one start to the next. */
interface Kept {
  readonly port: number;
  readonly masterPass: string;
  readonly slavePass: string;
}

/** 2.9 rejects parts of our configuration, and has known faults in JetStream. */
const OLDEST = [2, 10];

/** nats-server on PATH, if it is not too old and the farm's account can run it. */
async function onPath(folder: DataFolder, log: (line: string) => void): Promise<string | undefined> {
  for (const place of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(place, 'nats-server');
    if (!can(folder.account, 'x', path)) continue;
    const { stdout } = await promisify(execFile)(path, ['--version'], { timeout: 5000 }).catch(() => ({
      stdout: '',
    }));
    const [, major, minor] = (/v(\d+)\.(\d+)/.exec(stdout) ?? []).map(Number);
    if (major === undefined || minor === undefined) continue;
    if (major > (OLDEST[0] ?? 0) || minor >= (OLDEST[1] ?? 0)) return path;
    log(`${path} is ${stdout.trim()}; 2.10 is needed, so another one is used`);
  }
  return undefined;
}

/**
 * Starts the farm's own nats-server: on the loopback address, with JetStream in the data folder, and
 * credentials that only the farm's account can read. The port and the credentials stay the same.
 */
export async function startNats({
  folder,
  python,
  prefix,
  log,
  onFailure,
  signal,
}: FarmServices): Promise<RunningNats> {
  const pidFile = folder.join('nats.pid');
  await endLeftover(pidFile, 'SIGTERM');
  const command = (await onPath(folder, log)) ?? (await natsFromWheel(python, log, signal));
  const before = folder.read('nats.json');
  const kept = before === undefined ? undefined : (JSON.parse(before) as Kept);
  const port = kept && (await isFree(kept.port)) ? kept.port : await freePort();
  const masterPass = kept?.masterPass ?? randomBytes(18).toString('base64url');
  const slavePass = kept?.slavePass ?? randomBytes(18).toString('base64url');
  folder.writeSecret('nats.json', JSON.stringify({ port, masterPass, slavePass } satisfies Kept));
  const config = folder.writeSecret(
    'nats.conf',
    configuration({ port, masterPass, slavePass }, folder.sub('nats'), prefix),
  );
  const process_ = new ManagedProcess({
    name: 'nats-server',
    command,
    args: ['-c', config],
    // Its memory is mostly what Go's collector leaves for later; 300 MB pass through it with this. On one of
    // two processors it serves as many questions as on both, and takes a quarter less of them for it.
    env: { PATH: process.env['PATH'], GOMEMLIMIT: '80MiB', GOGC: '50', GOMAXPROCS: PROCESSORS },
    account: folder.account,
    cwd: folder.path,
    logFile: folder.writeLog('nats.log'),
    pidFile,
    stopSignal: 'SIGTERM',
    graceMs: 10_000,
    ready: (signal) => greeted(port, signal),
    readyMs: 60_000,
    onFailure,
    log,
  });
  await process_.start();
  const url = (user: string, pass: string) => `nats://${user}:${pass}@127.0.0.1:${String(port)}`;
  return { master: url('master', masterPass), slave: url('slave', slavePass), process: process_ };
}

/** The user `slave` can say only what slaves say, and put things only into its own bucket. */
function configuration({ port, masterPass, slavePass }: Kept, store: string, prefix: string): string {
  const bucket = bucketOf(prefix, 'slave');
  return `# Written by piw farm at each start.
listen: "127.0.0.1:${String(port)}"
max_payload: 1MB
# A subscriber that does not keep up with 64 MB is a fault; the default would wait for it.
max_pending: 64MB
jetstream {
  store_dir: ${JSON.stringify(store)}
}
authorization {
  users: [
    { user: master, password: ${JSON.stringify(masterPass)} }
    { user: slave, password: ${JSON.stringify(slavePass)}, permissions: {
        publish: { allow: ["${prefix}.slave.slave.>", "$O.${bucket}.>"] }
        subscribe: { allow: ["_INBOX_slave.>", "${prefix}.wake.slave.>"] }
    } }
  ]
}
`;
}

/** The server greets with a line of its own as soon as it takes connections. */
async function greeted(port: number, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const said = await new Promise<string>((resolve) => {
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
    if (said.startsWith('INFO')) return;
    await sleep(50);
  }
}
