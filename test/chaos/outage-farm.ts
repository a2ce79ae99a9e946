/** A farm for test/chaos/nats-outages.ts: a real cast, real slaves that don't run pip, and a nats-server to be ended. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { BuildSlave } from '../../actors/build-slave.js';
import { systemClock } from '../../src/actor/clock.js';
import type { BuildRequest, BuildResult } from '../../src/builder/build.js';
import { Bus } from '../../src/bus/bus.js';
import { formatConfig } from '../../src/config.js';
import { migrate } from '../../src/database/migrations.js';
import { Database } from '../../src/database/pool.js';
import { certificates } from '../../src/farm/certificates.js';
import { DataFolder } from '../../src/farm/folder.js';
import { natsCommand, startNats } from '../../src/farm/nats-server.js';
import { freePort } from '../../src/farm/ports.js';
import { startPostgres } from '../../src/farm/postgres.js';
import { as, give, unprivileged, type Account } from '../../src/farm/privileges.js';
import { findPython } from '../../src/farm/python.js';
import { stage } from '../../src/farm/stage.js';
import { createLog } from '../../src/log.js';
import { NO_DETAILS } from '../../src/states/build-details.js';
import { PROTOCOL, VERSION } from '../../src/version.js';
import { fill } from '../bench/dispatch.js';
import { wheelOf } from '../helpers/stored-wheel.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const BUILDS = 20_000;
const BUILD_MS = 300;
const WHEEL = Buffer.alloc(200_000, 7);
/** Every so many builds one fails, with a log that is too large for one message. */
const FAILS_EACH = 10;
const LARGE_LOG = 'a line of a log\n'.repeat(80_000);

export interface Figures {
  readonly connections: number;
  readonly consumers: number;
  readonly subscriptions: number;
}

/** The server, whose store is a small disk if we are root. */
export class OutageNats {
  readonly store: string;
  readonly hasDisk: boolean;
  readonly #command: string;
  readonly #config: string;
  readonly #log: string;
  readonly #monitor: string;
  readonly #account: Account | undefined;
  #child: ChildProcess | undefined;

  private constructor(command: string, folder: DataFolder, monitor: number) {
    this.#command = command;
    this.#account = folder.account;
    this.store = folder.sub('nats');
    this.#config = folder.join('nats.conf');
    this.#log = folder.writeLog('nats.log');
    this.#monitor = `http://127.0.0.1:${String(monitor)}`;
    this.hasDisk = process.getuid?.() === 0;
    if (this.hasDisk) {
      const { uid = 0, gid = 0 } = this.#account ?? {};
      const options = `size=64m,uid=${String(uid)},gid=${String(gid)}`;
      execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', this.store]);
    }
    const config = readFileSync(this.#config, 'utf8').replace(
      /^ *store_dir: .*$/m,
      '$&\n  max_file_store: 1TB',
    );
    const more = `http: 127.0.0.1:${String(monitor)}\nlame_duck_duration: 30s\nlame_duck_grace_period: 2s\n`;
    writeFileSync(this.#config, `${more}${config}`);
  }

  static async create(command: string, folder: DataFolder): Promise<OutageNats> {
    return new OutageNats(command, folder, await freePort());
  }

  async start(): Promise<void> {
    const log = openSync(this.#log, 'a');
    const env = { PATH: process.env['PATH'] };
    this.#child = spawn(this.#command, ['-c', this.#config], {
      ...as(this.#account),
      ...{ env, stdio: ['ignore', log, log] },
    });
    closeSync(log);
    while ((await this.figures()) === undefined) await sleep(50);
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (child?.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await ended;
  }

  /** What JetStream has stored is gone. */
  empty(): void {
    for (const name of readdirSync(this.store)) rmSync(join(this.store, name), { recursive: true });
  }

  fillDisk(): void {
    const file = openSync(join(this.store, 'filler'), 'w');
    try {
      for (;;) writeSync(file, Buffer.alloc(64 * 1024));
    } catch (error) {
      if (!String(error).includes('ENOSPC')) throw error;
    } finally {
      closeSync(file);
    }
  }

  freeDisk(): void {
    rmSync(join(this.store, 'filler'));
  }

  async close(): Promise<void> {
    this.signal('SIGCONT');
    await this.end('SIGTERM');
    if (this.hasDisk) execFileSync('umount', [this.store]);
  }

  /** Undefined while it doesn't answer. */
  async figures(): Promise<Figures | undefined> {
    const get = async (path: string, key: string): Promise<number> => {
      const answer = await fetch(`${this.#monitor}/${path}`, { signal: AbortSignal.timeout(2000) });
      return ((await answer.json()) as Record<string, number>)[key] ?? NaN;
    };
    try {
      const [connections, consumers, subscriptions] = await Promise.all([
        get('connz', 'num_connections'),
        get('jsz', 'consumers'),
        get('subsz', 'num_subscriptions'),
      ]);
      return { connections, consumers, subscriptions };
    } catch {
      return undefined;
    }
  }
}

export interface OutageFarm {
  readonly nats: OutageNats;
  /** Builds that the database has. */
  builds(): Promise<number>;
  /** Everything that master and slaves have logged. */
  log(): string;
}

/** Puts the farm up for the time that `what` takes. */
export async function withOutageFarm(
  slaves: number,
  say: (line: string) => void,
  what: (farm: OutageFarm) => Promise<void>,
): Promise<void> {
  const account = unprivileged();
  const path = mkdtempSync(join(tmpdir(), 'piw-outages-'));
  chmodSync(path, 0o755);
  give(path, account);
  const folder = DataFolder.open(join(path, 'data'), account);
  const stops: (() => Promise<unknown>)[] = [];
  try {
    const onFailure = (error: Error) => {
      say(error.message);
    };
    const services = { folder, log: say, onFailure, signal: new AbortController().signal };
    const python = await findPython(undefined, account);
    // It makes the configuration and the credentials.
    const made = await startNats({ ...services, python, prefix: 'piw' });
    await made.process.stop();
    const nats = await OutageNats.create(await natsCommand({ ...services, python }), folder);
    stops.push(() => nats.close());
    await nats.start();
    const postgres = await startPostgres(services);
    stops.push(() => postgres.process.stop());
    await migrate(postgres.adminDsn, { user: postgres.role });
    await fill(postgres.dsn, BUILDS, say);
    const logFile = folder.writeLog('master.log');
    stops.push(startMaster(folder, made.master, postgres.dsn, logFile));
    const database = await Database.open(postgres.dsn, 'outages', { connections: 1 });
    stops.push(() => database.close());
    const said: string[] = [];
    const work = join(path, 'slaves');
    mkdirSync(work);
    for (let n = 0; n < slaves; n += 1) stops.push(await startSlave(made.slave, n, work, said));
    await what({
      nats,
      builds: async () =>
        (await database.query<{ count: number }>('select count(*)::int as count from builds'))[0]?.count ?? 0,
      log: () => `${readFileSync(logFile, 'utf8')}${said.join('\n')}\n`,
    });
  } finally {
    for (const stop of stops.reverse()) await stop();
    folder.close();
    rmSync(path, { recursive: true, force: true });
  }
}

function startMaster(folder: DataFolder, nats: string, dsn: string, logFile: string): () => Promise<unknown> {
  const program = stage(ROOT, folder.account);
  const settings = {
    nats,
    dsn,
    'output-path': folder.sub('www'),
    'pypi-simple': 'http://127.0.0.1:9/simple',
  };
  const config = folder.writeSecret('outages.conf', formatConfig(settings));
  const log = openSync(logFile, 'a');
  const master = spawn(program.node, [join(program.root, 'dist/src/bin.js'), 'master', '-c', config], {
    ...as(folder.account),
    ...{ stdio: ['ignore', log, log], cwd: folder.path },
    env: { PATH: process.env['PATH'], HOME: folder.path, ...certificates() },
  });
  closeSync(log);
  const ended = new Promise((resolve) => master.once('exit', resolve));
  return () => {
    master.kill('SIGTERM');
    return ended;
  };
}

/** A slave that makes its wheels itself; each has a connection of its own, as a real one has. */
async function startSlave(
  address: string,
  number: number,
  work: string,
  said: string[],
): Promise<() => Promise<unknown>> {
  const bus = await Bus.connect({
    ...{ address, name: `slave ${String(number)}`, inboxPrefix: '_INBOX_slave', bucket: 'piw-slave-slave' },
  });
  let builds = number;
  const build = async ({ package: name, version }: BuildRequest): Promise<BuildResult> => {
    await sleep(BUILD_MS);
    builds += 1;
    if (builds % FAILS_EACH === 0)
      return {
        status: false,
        failureClass: 'compiler',
        durationS: 1,
        output: LARGE_LOG,
        details: NO_DETAILS,
        files: [],
      };
    const { bytes, file } = wheelOf(name, version, WHEEL);
    const path = join(work, `${String(number)}.whl`);
    writeFileSync(path, bytes);
    return {
      status: true,
      failureClass: null,
      durationS: 1,
      output: 'log',
      details: NO_DETAILS,
      files: [{ ...file, path }],
    };
  };
  const controller = new AbortController();
  const builder = { build, clean: () => Promise.resolve() };
  const slave = new BuildSlave({
    ...{ bus, clock: systemClock, user: 'slave', workDir: work },
    builder: builder as never,
    log: createLog(`slave ${String(number)}`, 'info', (line) => said.push(line)),
    thresholds: { diskFree: 0, memoryFree: 0, load: 0, temperature: 0 },
    hello: {
      ...{ version: `${VERSION}/${String(PROTOCOL)}`, build_timeout_s: 3600, busy_interval_s: 30 },
      ...{ py_version_tag: 'cp311', abi_tag: 'cp311', platform_tag: 'linux_x86_64' },
      ...{ label: `slave ${String(number)}`, os_name: 'none', os_version: '', board: null, lacks: [] },
    },
  });
  const ended = slave.run(controller.signal).catch((error: unknown) => {
    said.push(`slave ${String(number)} ended: ${String(error)}`);
  });
  return async () => {
    controller.abort();
    await ended;
    await bus.drain();
  };
}
