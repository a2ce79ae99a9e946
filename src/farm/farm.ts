import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { stopInWaves, type Stoppable } from '../actor/waves.js';
import { Bus } from '../bus/bus.js';
import { parseAddress } from '../bus/address.js';
import { farmFile, formatConfig, loadSettings, parseConfig, type SetSettings } from '../config.js';
import { masterConnection } from '../connection.js';
import { migrate } from '../database/migrations.js';
import { Database } from '../database/pool.js';
import { endHolds } from '../database/queue.js';
import { ERRORS, PiwError } from '../errors.js';
import { nodeFlags } from '../node-flags.js';
import { status } from '../protocols/control.js';
import { SimpleIndex } from '../pypi/index-reader.js';
import { followConditions } from './conditions.js';
import { certificates } from './certificates.js';
import { ineffective, masterConfiguration, setWorkDir, slaveConfiguration } from './configuration.js';
import { DataFolder } from './folder.js';
import { startNats } from './nats-server.js';
import { freePort, isFree } from './ports.js';
import { Output } from './output.js';
import { StartUp } from './start-up.js';
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
  /** What its user has set, for the farm itself, its master and its slaves. */
  readonly set: SetSettings;
  readonly dataDir: string;
  /** Further options of its master's and its slaves' commands. */
  readonly masterArgs: readonly string[];
  readonly slaveArgs: readonly string[];
  /** Where its own nats-server listens: HOST or HOST:PORT; the loopback address if left out. */
  readonly natsListen?: string | undefined;
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
      /** Why it failed, in a sentence. */
      readonly why: string | null;
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

/** Whether the farm was told nothing to build or to follow, so that it shows what it can do. */
export function isDemonstration({ requirements, set }: Pick<FarmOptions, 'requirements' | 'set'>): boolean {
  const follows = set.watch !== undefined || set['watch-file'] !== undefined || set['watch-only'] === false;
  return requirements.length === 0 && !follows;
}

/** What a farm builds that was told nothing: a pure package, one with a C extension, one with several files. */
const DEMONSTRATION: readonly string[] = ['six', 'markupsafe', 'wrapt'];
const DEFAULT_PORT = 8080;
const DEFAULT_PREFIX = 'piw';
/** What a slave is short of until somebody makes room. */
const ROOM: ReadonlySet<string> = new Set(['disk', 'memory']);

/**
 * In what order everything ends: slaves hand back what they build, the web server has its last downloads counted, a
 * master needs its servers.
 */
const WAVES = { slaves: 5, connection: 4, web: 4, master: 3, servers: 1, folder: 0 };
/** All of it takes no longer; a master with a server that hangs takes most of it. */
const STOP = {
  limitMs: 20_000,
  reserveMs: (wave: number): number => ({ [WAVES.master]: 12_000, [WAVES.servers]: 3000 })[wave] ?? 0,
};
const DRAIN_LIMIT_MS = 2000;
/** How long the first connection may take, on a machine that is busy. */
const NATS_PATIENCE_MS = 120_000;
/** Exit codes of what isn't started again, beside a wrong configuration: something missing, another version. */
const FINAL_CODES = [3, 6];

/**
 * A whole farm on one machine: its servers, a master, slaves, a web server. start() brings them up in
 * that order; stop() takes them down in reverse, also when start() was broken off in the middle.
 */
export class Farm {
  readonly #options: FarmOptions;
  readonly #running: Stoppable[] = [];
  /** How far the master says it is. */
  readonly #startUp: StartUp;
  #wanted: readonly Wanted[] = [];
  /** What slaves are short of. */
  readonly #resting = new Map<number, unknown>();
  #saidUnconfined = false;
  #fail: (error: PiwError) => void = () => undefined;
  /** Rejects when something ended that can't be kept alive. */
  readonly failed: Promise<never>;

  constructor(options: FarmOptions) {
    this.#options = options;
    this.failed = new Promise<never>((_, reject) => (this.#fail = reject));
    this.failed.catch(() => undefined);
    this.#startUp = new StartUp((text) => {
      options.tell({ event: 'setup', text });
    });
  }

  /** Brings the farm up. What was asked for and can't be built is in what it gives, as failed. */
  async start(): Promise<{ readonly wanted: readonly Wanted[]; readonly url: string; readonly bus: Bus }> {
    const { tell, root, signal, slaves, set } = this.#options;
    const say = (text: string) => {
      tell({ event: 'setup', text });
    };
    const trouble = (text: string) => {
      tell({ event: 'trouble', text });
    };
    const idle = ineffective(set);
    if (idle.length > 0)
      trouble(`${idle.join(', ')}: not used, because this farm runs a nats-server of its own`);
    const account = unprivileged();
    if (account) say(`Running as root: everything but this command runs as ${account.name}.`);
    const port = await this.#port();
    const pythons: Python[] = [];
    for (const path of set.python ?? [undefined]) pythons.push(await findPython(path, account));
    const [python = await findPython(undefined, account)] = pythons;
    const program = stage(root, account);
    const folder = DataFolder.open(reachable(this.#options.dataDir, account, say), account);
    this.#stopLater(WAVES.folder, () => {
      folder.close();
    });
    const output = reachable(set['output-path'] ?? folder.join('www'), account, say);
    signal.throwIfAborted();
    const source = await this.#source(python, folder, program);
    const services = { folder, log: trouble, onFailure: this.#fail, signal };
    const nats =
      set.nats === undefined ? await this.#nats(services, python, say) : external(set.nats, slaves);
    const database = set.dsn === undefined ? await this.#postgres(services, say) : undefined;
    const dsn = database?.dsn ?? set.dsn ?? '';
    await migrate(database?.adminDsn ?? dsn, { user: database?.role ?? roleOf(dsn) });
    await tryAgain(dsn);
    signal.throwIfAborted();
    const url = `http://127.0.0.1:${String(port)}/`;
    this.#configure(folder, { nats, dsn, output, url, source });
    const site = new Output({ folder, path: output, account, say });
    await this.#master(program, folder);
    // After the master, and so ended before it: what was downloaded at last is counted.
    await this.#web(program, folder, 'web', output, port, ['-c', folder.join('piwheels.conf')]);
    const bus = await Bus.connect({
      ...this.#connection(nats),
      name: 'farm',
      ...{ patienceMs: NATS_PATIENCE_MS, signal, onWaiting: say },
      onStatus: (text, connected) => {
        tell({ event: connected ? 'setup' : 'trouble', text });
      },
    });
    this.#stopLater(WAVES.connection, () => bus.drain(DRAIN_LIMIT_MS));
    await this.#startUp.finished(bus, signal);
    await site.restore(bus, signal);
    for (let number = 1; number <= slaves; number += 1)
      await this.#slave(number, program, folder, nats, { pythons, env: source.env }, say);
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

  /** Ends everything, within STOP.limitMs. */
  async stop(): Promise<void> {
    await stopInWaves(this.#running.splice(0), STOP);
  }

  #stopLater(wave: number, stop: () => Promise<void> | void, kill = (): void => undefined): void {
    let resolve = (): void => undefined;
    const ended = new Promise<void>((done) => (resolve = done));
    const end = async (): Promise<void> => {
      await stop();
    };
    this.#running.push({ wave, ended, kill, stop: () => void end().finally(resolve) });
  }

  #stopProcessLater(wave: number, child: ManagedProcess): void {
    this.#stopLater(
      wave,
      () => child.stop(),
      () => {
        child.kill();
      },
    );
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
    const { requirements, tell, once, set } = this.#options;
    const pip = await pipSettings(python);
    const url = set['pypi-simple'] ?? set['index-url'] ?? pip.indexUrl;
    const index = new SimpleIndex(url, { timeoutMs: 30_000 });
    const asked = isDemonstration(this.#options)
      ? DEMONSTRATION.map((name) => ({ name, version: undefined }) as Requirement)
      : requirements;
    try {
      const wanted = await resolve(index, asked);
      return { url, builtFrom: set['index-url'] ?? url, env: pip.env, samples: false, wanted };
    } catch (error) {
      if (!(error instanceof PiwError) || (once && requirements.length > 0)) throw error;
      tell({ event: 'trouble', text: `${error.message}: building the samples that ship with piw instead` });
    }
    const samples = folder.sub('samples', 0o755);
    const names = writeSampleIndex(samples);
    const port = await freePort();
    await this.#web(program, folder, 'samples', samples, port, ['-c', '/dev/null', '--no-count']);
    const own = `http://127.0.0.1:${String(port)}/simple/`;
    const wanted = await resolve(
      new SimpleIndex(own),
      names.map((name) => ({ name, version: undefined }) as Requirement),
    );
    return { url: own, builtFrom: own, env: {}, samples: true, wanted };
  }

  get #prefix(): string {
    return this.#options.set.prefix ?? DEFAULT_PREFIX;
  }

  /** How the farm itself comes to NATS. */
  #connection(nats: Nats): ReturnType<typeof masterConnection> {
    if (nats.usersFile !== undefined) return { address: nats.master, prefix: this.#prefix };
    return masterConnection(loadSettings({ ...this.#options.set, prefix: this.#prefix }, '/dev/null'));
  }

  async #nats(services: Services, python: Python, say: (text: string) => void): Promise<Nats> {
    const { slaves, natsListen: listen } = this.#options;
    const names = Array.from({ length: slaves }, (_, i) => `slave-${String(i + 1)}`);
    const nats = await startNats({
      ...services,
      python,
      prefix: this.#prefix,
      slaves: names,
      listen,
      log: say,
    });
    this.#stopProcessLater(WAVES.servers, nats.process);
    return nats;
  }

  async #postgres(services: Services, say: (text: string) => void) {
    const postgres = await startPostgres({ ...services, log: say });
    this.#stopProcessLater(WAVES.servers, postgres.process);
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
    const { set } = this.#options;
    // What was watched on the index is no part of the samples, nor the other way round.
    const watched = samples ? [] : (set.watch ?? known.filter((one) => !one.startsWith('piw-sample-')));
    const given = masterConfiguration(set, {
      nats: its.nats.master,
      ...(its.nats.usersFile === undefined ? {} : { usersFile: its.nats.usersFile }),
      ...(its.nats.pidFile === undefined ? {} : { pidFile: its.nats.pidFile }),
      dsn: its.dsn,
      prefix: this.#prefix,
      outputPath: its.output,
      spool: folder.sub('spool'),
      url: its.url,
      followed: its.source.url,
      builtFrom: its.source.builtFrom,
      samples,
      watch: [...new Set([...watched, ...asked])],
    });
    folder.writeSecret('piwheels.conf', `# Written by piw farm at each start.\n${formatConfig(given)}`);
  }

  async #web(
    program: Program,
    folder: DataFolder,
    name: string,
    root: string,
    port: number,
    more: readonly string[],
  ): Promise<void> {
    let listening: () => void = () => undefined;
    const heard = new Promise<void>((done) => (listening = done));
    await this.#spawn(folder, {
      name,
      program,
      args: ['web', ...more, '-o', root, '--port', String(port)],
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
      args: ['master', '-c', folder.join('piwheels.conf'), ...this.#options.masterArgs],
      env: {},
      logFile: this.#options.set['log-file'],
      graceMs: 20_000,
      wave: WAVES.master,
      onMessage: (message) => {
        this.#startUp.heard(message);
      },
    });
  }

  async #slave(
    number: number,
    program: Program,
    folder: DataFolder,
    nats: Nats,
    its: { readonly pythons: readonly Python[]; readonly env: Readonly<Record<string, string>> },
    say: (text: string) => void,
  ): Promise<void> {
    const { set, slaves, slaveArgs } = this.#options;
    const name = `slave-${String(number)}`;
    const elsewhere = setWorkDir(set, name);
    const given = slaveConfiguration(set, {
      name,
      isAlone: slaves === 1,
      master: nats.slaves[number - 1] ?? '',
      ownServer: nats.usersFile !== undefined,
      prefix: this.#prefix,
      pythons: its.pythons.map(({ path }) => path),
      workDir: elsewhere === undefined ? folder.sub(name) : reachable(elsewhere, folder.account, say),
    });
    folder.writeSecret(`${name}.conf`, formatConfig(given));
    await this.#spawn(folder, {
      name,
      program,
      args: ['slave', '-c', folder.join(`${name}.conf`), ...slaveArgs],
      env: { PIW_BUILD_ENV: JSON.stringify(its.env) },
      graceMs: 20_000,
      logFile: set['log-file'],
      wave: WAVES.slaves,
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
      /** Default: one of its own in the data folder. */
      readonly logFile?: string | undefined;
      readonly wave?: number;
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
      logFile: child.logFile ?? folder.writeLog(`${name}.log`),
      stopSignal: 'SIGTERM',
      graceMs: child.graceMs ?? 10_000,
      ready: child.ready ?? (() => Promise.resolve()),
      readyMs: 60_000,
      configurationCode: ERRORS.PIW_CONFIG.exit,
      signal: this.#options.signal,
      finalCodes: FINAL_CODES,
      onFailure: this.#fail,
      onMessage: child.onMessage ?? (() => undefined),
      log: (text) => {
        this.#options.tell({ event: 'trouble', text });
      },
    });
    this.#stopProcessLater(child.wave ?? WAVES.web, process_);
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
      case 'unconfined':
        // All slaves are on this machine.
        if (this.#saidUnconfined) return;
        this.#saidUnconfined = true;
        tell({ event: 'trouble', text: String(progress['text']) });
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
      const {
        package: name,
        version,
        abi,
        status: worked,
        failure_class,
        reason: why,
        duration_s,
        again_s,
      } = said;
      this.#options.tell({
        event: 'built',
        package: name,
        version,
        abi,
        status: worked,
        failure_class,
        why,
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
  /** The index that is followed. */
  readonly url: string;
  /** The one that slaves build from. */
  readonly builtFrom: string;
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
