import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from '../actor/client.js';
import { Bus } from '../bus/bus.js';
import { parseAddress } from '../bus/address.js';
import { farmFile, formatConfig, parseConfig, type Given } from '../config.js';
import { migrate } from '../database/migrations.js';
import { Database } from '../database/pool.js';
import { endHolds } from '../database/queue.js';
import { PiwError } from '../errors.js';
import { nodeFlags } from '../node-flags.js';
import { status } from '../protocols/control.js';
import { oracle } from '../protocols/oracle.js';
import { SimpleIndex } from '../pypi/index-reader.js';
import { followConditions } from './conditions.js';
import { certificates } from './certificates.js';
import { DataFolder } from './folder.js';
import { startNats } from './nats-server.js';
import { freePort, isFree } from './ports.js';
import { Output } from './output.js';
import { startPostgres } from './postgres.js';
import { unprivileged } from './privileges.js';
import { ManagedProcess } from './process.js';
import { findPython, pipSettings, type Python } from './python.js';
import { reachable } from './reach.js';
import { writeSampleIndex } from './sample-index.js';
import { stage, type Program } from './stage.js';
import { look, resolve, type Requirement, type Wanted } from './wanted.js';

export interface FarmOptions {
  readonly requirements: readonly Requirement[];
  readonly once: boolean;
  readonly port: number | undefined;
  readonly slaves: number;
  readonly outputPath: string | undefined;
  /** See src/config.ts. */
  readonly rebuilt: string | undefined;
  readonly dataDir: string;
  readonly indexUrl: string | undefined;
  readonly dsn: string | undefined;
  readonly nats: string | undefined;
  /** Where its own nats-server listens: HOST or HOST:PORT; the loopback address if left out. */
  readonly natsListen?: string | undefined;
  readonly python: string | undefined;
  /** The folder with package.json and dist/. */
  readonly root: string;
  readonly signal: AbortSignal;
  readonly tell: (event: FarmEvent) => void;
}

/** What happens, for a terminal, a pipe or a program. */
export type FarmEvent =
  | { readonly event: 'setup'; readonly text: string }
  | {
      readonly event: 'ready';
      readonly url: string;
      readonly index: string;
      readonly samples: boolean;
      readonly slaves: number;
    }
  | { readonly event: 'idle'; readonly slave: number }
  | {
      readonly event: 'building';
      readonly slave: number;
      readonly package: string;
      readonly version: string;
      readonly line: string;
    }
  | {
      readonly event: 'sending';
      readonly slave: number;
      readonly filename: string;
      readonly sent: number;
      readonly size: number;
    }
  | {
      readonly event: 'built';
      readonly package: string;
      readonly version: string;
      readonly abi: string;
      readonly status: boolean;
      readonly failure_class: string | null;
      readonly duration_s: number;
      /** A failure that may pass: it is tried again so many seconds from now. */
      readonly again_s: number | null;
    }
  | {
      readonly event: 'published';
      readonly package: string;
      readonly version: string;
      readonly filenames: readonly string[];
    }
  | {
      readonly event: 'not-built';
      readonly package: string;
      readonly version: string | null;
      readonly why: string;
    }
  | { readonly event: 'trouble'; readonly text: string };

/** What a farm builds that was told nothing: a pure package, one with a C extension, one with several files. */
const DEMONSTRATION: readonly string[] = ['six', 'markupsafe', 'wrapt'];
const DEFAULT_PORT = 8080;
const PREFIX = 'piw';
/** What a slave is short of until somebody makes room. */
const ROOM: ReadonlySet<string> = new Set(['disk', 'memory']);

/**
 * A whole farm on one machine: its servers, a master, slaves, a web server. start() brings them up in
 * that order; stop() takes them down in reverse, also when start() was broken off in the middle.
 */
export class Farm {
  readonly #options: FarmOptions;
  readonly #running: { readonly stop: () => Promise<void> | void }[] = [];
  #wanted: readonly Wanted[] = [];
  /** What slaves are short of. */
  readonly #resting = new Map<number, unknown>();
  #fail: (error: PiwError) => void = () => undefined;
  /** Rejects when something ended that can't be kept alive. */
  readonly failed: Promise<never>;

  constructor(options: FarmOptions) {
    this.#options = options;
    this.failed = new Promise<never>((_, reject) => (this.#fail = reject));
    this.failed.catch(() => undefined);
  }

  /** Brings the farm up. What was asked for and can't be built is in what it gives, as failed. */
  async start(): Promise<{ readonly wanted: readonly Wanted[]; readonly url: string; readonly bus: Bus }> {
    const { tell, root, signal, slaves } = this.#options;
    const say = (text: string) => {
      tell({ event: 'setup', text });
    };
    const account = unprivileged();
    if (account) say(`Running as root: everything but this command runs as ${account.name}.`);
    const port = await this.#port();
    const python = await findPython(this.#options.python, account);
    const program = stage(root, account);
    const folder = DataFolder.open(reachable(this.#options.dataDir, account, say), account);
    this.#running.push({
      stop: () => {
        folder.close();
      },
    });
    const output = reachable(this.#options.outputPath ?? folder.join('www'), account, say);
    signal.throwIfAborted();
    const source = await this.#source(python, folder, program);
    const trouble = (text: string) => {
      tell({ event: 'trouble', text });
    };
    const services = { folder, log: trouble, onFailure: this.#fail, signal };
    const nats =
      this.#options.nats === undefined
        ? await this.#nats(services, python, say)
        : external(this.#options.nats, slaves);
    const database = this.#options.dsn === undefined ? await this.#postgres(services, say) : undefined;
    const dsn = database?.dsn ?? this.#options.dsn ?? '';
    await migrate(database?.adminDsn ?? dsn, { user: database?.role ?? roleOf(dsn) });
    await tryAgain(dsn);
    signal.throwIfAborted();
    const url = `http://127.0.0.1:${String(port)}/`;
    this.#configure(folder, { nats, dsn, output, url, source });
    const site = new Output({ folder, path: output, account, say });
    await this.#web(program, folder, 'web', output, port);
    await this.#master(program, folder);
    const bus = await Bus.connect({
      ...{ address: nats.master, name: 'farm', prefix: PREFIX },
      onStatus: (text, connected) => {
        tell({ event: connected ? 'setup' : 'trouble', text });
      },
    });
    this.#running.push({ stop: () => bus.drain() });
    await ready(bus, signal);
    await site.restore(bus, signal);
    for (let number = 1; number <= slaves; number += 1)
      await this.#slave(number, program, folder, nats.slaves[number - 1] ?? '', python, source.env);
    tell({ event: 'ready', url, index: `${url}simple/`, samples: source.samples, slaves });
    void this.#follow(bus);
    void followConditions(bus, tell);
    return { wanted: source.wanted, url, bus };
  }

  /** Follows those that were asked for to their end; resolves when none waits any more. */
  async finish(bus: Bus, url: string, wanted: readonly Wanted[]): Promise<void> {
    const { tell, signal } = this.#options;
    const said = new Set<Wanted>();
    const say = () => {
      for (const one of wanted) {
        if (one.state === 'waiting' || said.has(one)) continue;
        said.add(one);
        const { name, version, filenames, why } = one;
        if (one.state === 'published')
          tell({ event: 'published', package: name, version: version ?? '', filenames });
        else tell({ event: 'not-built', package: name, version: version ?? null, why: why ?? '' });
      }
    };
    this.#wanted = wanted;
    say();
    while (!signal.aborted && wanted.some(({ state }) => state === 'waiting')) {
      try {
        await look(bus, url, wanted, { patient: !this.#options.once });
      } catch (error) {
        // A part of the farm is being started again; what it knows is in the database.
        if (!(error instanceof PiwError)) throw error;
      }
      say();
      await sleep(300, undefined, { signal }).catch(() => undefined);
    }
    // What the slaves have told meanwhile.
    say();
  }

  async stop(): Promise<void> {
    for (const part of this.#running.splice(0).reverse()) await part.stop();
  }

  async #port(): Promise<number> {
    const { port } = this.#options;
    if (port === 0) return await freePort();
    if (await isFree(port ?? DEFAULT_PORT)) return port ?? DEFAULT_PORT;
    if (port === undefined) return await freePort();
    throw new PiwError('PIW_PORT_IN_USE', `port ${String(port)} is taken by another program`);
  }

  /** The index that is followed and built from; our own samples where none can be reached. */
  async #source(python: Python, folder: DataFolder, program: Program): Promise<Source> {
    const { requirements, tell, once } = this.#options;
    const pip = await pipSettings(python);
    const url = this.#options.indexUrl ?? pip.indexUrl;
    const index = new SimpleIndex(url, { timeoutMs: 30_000 });
    const asked =
      requirements.length > 0
        ? requirements
        : DEMONSTRATION.map((name) => ({ name, version: undefined }) as Requirement);
    try {
      const wanted = await resolve(index, asked);
      return { url, env: pip.env, samples: false, wanted };
    } catch (error) {
      if (!(error instanceof PiwError) || (once && requirements.length > 0)) throw error;
      tell({ event: 'trouble', text: `${error.message}: building the samples that ship with piw instead` });
    }
    const samples = folder.sub('samples', 0o755);
    const names = writeSampleIndex(samples);
    const port = await freePort();
    await this.#web(program, folder, 'samples', samples, port);
    const own = `http://127.0.0.1:${String(port)}/simple/`;
    const wanted = await resolve(
      new SimpleIndex(own),
      names.map((name) => ({ name, version: undefined }) as Requirement),
    );
    return { url: own, env: {}, samples: true, wanted };
  }

  async #nats(services: Services, python: Python, say: (text: string) => void): Promise<Nats> {
    const { slaves, natsListen: listen } = this.#options;
    const names = Array.from({ length: slaves }, (_, i) => `slave-${String(i + 1)}`);
    const nats = await startNats({ ...services, python, prefix: PREFIX, slaves: names, listen, log: say });
    this.#running.push(nats.process);
    return nats;
  }

  async #postgres(services: Services, say: (text: string) => void) {
    const postgres = await startPostgres({ ...services, log: say });
    this.#running.push(postgres.process);
    return postgres;
  }

  /** The configuration of this farm, for its own master and for every piw command of this user. */
  #configure(
    folder: DataFolder,
    its: { nats: Nats; dsn: string; output: string; url: string; source: Source },
  ): void {
    const before = folder.read('piwheels.conf');
    const known =
      before === undefined
        ? []
        : ((parseConfig(before, farmFile(folder.path)).watch as readonly string[] | undefined) ?? []);
    const asked = its.source.wanted
      .filter(({ state }) => state === 'waiting')
      .flatMap(({ name, version, follow }) => [
        ...(follow ? [name as string] : []),
        `${name}==${version ?? ''}`,
      ]);
    const samples = its.source.samples;
    const given: Given = {
      nats: its.nats.master,
      // Of a server that somebody else runs, they know where its slaves' users are.
      ...(its.nats.usersFile === undefined ? {} : { 'nats-users': its.nats.usersFile }),
      ...(its.nats.pidFile === undefined ? {} : { 'nats-pid': [its.nats.pidFile] }),
      dsn: its.dsn,
      prefix: PREFIX,
      'output-path': its.output,
      ...(this.#options.rebuilt === undefined ? {} : { rebuilt: this.#options.rebuilt }),
      'pypi-simple': its.source.url,
      'index-url': its.source.url,
      'public-url': its.url,
      // What was watched on the index is no part of the samples, nor the other way round.
      watch: [
        ...new Set([...(samples ? [] : known.filter((one) => !one.startsWith('piw-sample-'))), ...asked]),
      ],
      'watch-only': true,
      history: 'newest',
      'poll-interval': '60s',
      'register-targets': true,
      'dev-mode': true,
    };
    folder.writeSecret('piwheels.conf', `# Written by piw farm at each start.\n${formatConfig(given)}`);
  }

  async #web(program: Program, folder: DataFolder, name: string, root: string, port: number): Promise<void> {
    let listening: () => void = () => undefined;
    const heard = new Promise<void>((done) => (listening = done));
    await this.#spawn(folder, {
      name,
      program,
      args: ['web', '-c', '/dev/null', '-o', root, '--port', String(port)],
      env: {},
      ready: () => heard,
      onMessage: () => {
        listening();
      },
    });
  }

  async #master(program: Program, folder: DataFolder): Promise<void> {
    await this.#spawn(folder, {
      name: 'master',
      program,
      args: ['master', '-c', folder.join('piwheels.conf')],
      env: {},
      graceMs: 60_000,
    });
  }

  async #slave(
    number: number,
    program: Program,
    folder: DataFolder,
    nats: string,
    python: Python,
    env: Readonly<Record<string, string>>,
  ): Promise<void> {
    const name = `slave-${String(number)}`;
    const work = folder.sub(name);
    const given: Given = {
      master: nats,
      prefix: PREFIX,
      python: [python.path],
      'work-dir': work,
      label: name,
      // They are for trying out, on the machine of the master itself.
      'allow-exposed': true,
    };
    folder.writeSecret(`${name}.conf`, formatConfig(given));
    await this.#spawn(folder, {
      name,
      program,
      args: ['slave', '-c', folder.join(`${name}.conf`)],
      env: { PIW_BUILD_ENV: JSON.stringify(env) },
      graceMs: 20_000,
      onMessage: (message) => {
        this.#progress(number, message);
      },
    });
  }

  async #spawn(
    folder: DataFolder,
    child: {
      readonly name: string;
      readonly program: Program;
      readonly args: readonly string[];
      readonly env: NodeJS.ProcessEnv;
      readonly graceMs?: number;
      readonly ready?: () => Promise<void>;
      readonly onMessage?: (message: unknown) => void;
    },
  ): Promise<void> {
    this.#options.signal.throwIfAborted();
    const { name, program } = child;
    const home = folder.sub('home');
    const process_ = new ManagedProcess({
      name,
      command: program.node,
      args: [...nodeFlags(), join(program.root, 'dist', 'src', 'bin.js'), ...child.args],
      env: { PATH: process.env['PATH'], HOME: home, LANG: 'C.UTF-8', ...certificates(), ...child.env },
      account: folder.account,
      cwd: folder.path,
      logFile: folder.writeLog(`${name}.log`),
      stopSignal: 'SIGTERM',
      graceMs: child.graceMs ?? 10_000,
      ready: child.ready ?? (() => Promise.resolve()),
      readyMs: 60_000,
      onFailure: this.#fail,
      onMessage: child.onMessage ?? (() => undefined),
      log: (text) => {
        this.#options.tell({ event: 'trouble', text });
      },
    });
    this.#running.push(process_);
    await process_.start();
  }

  #progress(slave: number, message: unknown): void {
    const { tell } = this.#options;
    const progress = (message as { progress?: Record<string, unknown> } | null)?.progress;
    switch (progress?.['state']) {
      case 'idle':
        this.#resting.delete(slave);
        tell({ event: 'idle', slave });
        return;
      case 'building':
      case 'sending':
        tell({ event: progress['state'], slave, ...progress } as unknown as FarmEvent);
        return;
      case 'resting':
        // It says so every few seconds.
        if (this.#resting.get(slave) === progress['of']) return;
        this.#resting.set(slave, progress['of']);
        this.#trouble(slave, `takes no work: ${String(progress['text'])}`, ROOM.has(String(progress['of'])));
        return;
      case 'trouble':
        this.#trouble(slave, String(progress['text']), progress['code'] === 'PIW_DISK_FULL');
    }
  }

  /** `room`: it would be tried again until there is room; somebody who waits for the end wants to know now. */
  #trouble(slave: number, text: string, room: boolean): void {
    const { tell, once } = this.#options;
    tell({ event: 'trouble', text: `slave-${String(slave)}: ${text}` });
    if (!once || !room) return;
    for (const one of this.#wanted)
      if (one.state === 'waiting') Object.assign(one, { state: 'failed', why: text });
  }

  /** What the master says of every build. */
  async #follow(bus: Bus): Promise<void> {
    for await (const incoming of bus.subscribe(bus.subject(status.name, 'BUILD'))) {
      const said = status.unpack(await incoming.body());
      if (said.verb !== 'BUILD') continue;
      const { package: name, version, abi, status: worked, failure_class, duration_s, again_s } = said;
      this.#options.tell({
        event: 'built',
        package: name,
        version,
        abi,
        status: worked,
        failure_class,
        duration_s,
        again_s,
      });
    }
  }
}

interface Services {
  readonly folder: DataFolder;
  readonly log: (line: string) => void;
  readonly onFailure: (error: PiwError) => void;
  readonly signal: AbortSignal;
}

interface Source {
  readonly url: string;
  /** By which builds reach the index. */
  readonly env: Readonly<Record<string, string>>;
  readonly samples: boolean;
  readonly wanted: readonly Wanted[];
}

/** The addresses of the master and of each slave, and for a server of the farm's own what piw slaves wants. */
interface Nats {
  readonly master: string;
  readonly slaves: readonly string[];
  readonly usersFile?: string;
  readonly pidFile?: string;
}

/** A server that somebody else runs. Slaves speak under the user in its address, or as `slave`. */
function external(address: string, slaves: number): Nats {
  const { user, servers } = parseAddress(address);
  const slave = user === undefined ? `nats://slave@${servers.join(',')}` : address;
  return { master: address, slaves: Array.from({ length: slaves }, () => slave) };
}

/** Who starts a farm again wants to see what failed in passing tried again now. */
async function tryAgain(dsn: string): Promise<void> {
  const database = await Database.open(dsn, 'farm');
  await endHolds(database).finally(() => database.close());
}

function roleOf(dsn: string): string {
  const url = URL.canParse(dsn) ? new URL(dsn) : undefined;
  return url && url.username !== '' ? decodeURIComponent(url.username) : (process.env['USER'] ?? 'piwheels');
}

/** The cast is at work when the database answers through it. */
async function ready(bus: Bus, signal: AbortSignal): Promise<void> {
  const database = new Client(bus, oracle, undefined, { timeoutMs: 2000, patienceMs: 120_000, signal });
  await database.ask('GETABIS', {});
}
