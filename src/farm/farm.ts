import { join } from 'node:path';
import { stopInWaves, type Stoppable } from '../actor/waves.js';
import { Bus } from '../bus/bus.js';
import { parseAddress } from '../bus/address.js';
import { farmConfigFile, formatConfig, loadSettings, parseConfig, type ExplicitSettings } from '../config.js';
import { masterConnection } from '../connection.js';
import { migrate } from '../database/migrations.js';
import { Database } from '../database/pool.js';
import { releaseHolds } from '../database/queue.js';
import { ERRORS, PiwError, rethrowUnexpected } from '../errors.js';
import { systemClock } from '../concurrency/clock.js';
import { deferred } from '../concurrency/deferred.js';
import { pause } from '../concurrency/pause.js';
import { nodeFlags } from '../node-flags.js';
import { status } from '../protocols/control.js';
import { SimpleIndexClient } from '../pypi/index-reader.js';
import { followConditions } from './conditions.js';
import { tlsAndProxyEnv } from '../servers/certificates.js';
import { ineffectiveKeys, masterConfiguration, slaveWorkDir, slaveConfiguration } from './configuration.js';
import { DataFolder } from '../servers/data-folder.js';
import { startNats } from '../servers/nats-server.js';
import { freePort, isFree } from '../servers/ports.js';
import { SiteOutput } from './output.js';
import { StartupMonitor } from './start-up.js';
import { startPostgres } from '../servers/postgres.js';
import { unprivilegedAccount } from '../servers/privileges.js';
import { ManagedProcess } from '../servers/process.js';
import { findPython, readPipSettings, type PythonInterpreter } from '../servers/python.js';
import { ensureReachable } from './reachable-folder.js';
import { writeSampleIndex } from './sample-index.js';
import { stageProgram, type StagedProgram } from './stage.js';
import {
  updateStates,
  resolveRequirements,
  type Requirement,
  type RequestedVersion,
} from './requested-versions.js';

interface FarmOptions {
  readonly requirements: readonly Requirement[];
  readonly once: boolean;
  readonly port: number | undefined;
  readonly slaves: number;
  /** The settings that the user gave explicitly; they apply to the farm, its master and its slaves. */
  readonly userSettings: ExplicitSettings;
  readonly dataDir: string;
  /** Additional command-line options for the master and for the slaves. */
  readonly masterArgs: readonly string[];
  readonly slaveArgs: readonly string[];
  /** Where the private nats-server listens: HOST or HOST:PORT. Default: the loopback address. */
  readonly natsListen?: string | undefined;
  /** The folder that contains package.json and dist/. */
  readonly root: string;
  readonly signal: AbortSignal;
  readonly onEvent: (event: FarmEvent) => void;
}

/** An event in the life of a farm, for a terminal, a pipe or a program. */
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
      /** The reason for the failure, in one sentence. */
      readonly why: string | null;
      readonly duration_s: number;
      /** Seconds until the build is retried, if the failure may be temporary. */
      readonly retry_after_s: number | null;
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

/** Returns whether the user named nothing to build or to follow, so that the farm builds a demonstration. */
export function isDemo({
  requirements,
  userSettings,
}: Pick<FarmOptions, 'requirements' | 'userSettings'>): boolean {
  const follows =
    userSettings.watch !== undefined ||
    userSettings['watch-file'] !== undefined ||
    userSettings['watch-only'] === false;
  return requirements.length === 0 && !follows;
}

/** The demonstration: a pure package, one with a C extension, and one with several files. */
const DEMO_PACKAGES: readonly string[] = ['six', 'markupsafe', 'wrapt'];
const DEFAULT_PORT = 8080;
const DEFAULT_PREFIX = 'piw';
/** Shortages that last until somebody frees space. */
const SPACE_SHORTAGES: ReadonlySet<string> = new Set(['disk', 'memory']);

/**
 * The order of shutdown, highest wave first: slaves release their builds and the web server has its last downloads
 * counted while the master is still running; the master stops before the servers that it needs.
 */
const WAVES = { slaves: 5, connection: 4, web: 4, master: 3, servers: 1, folder: 0 };
/** The time limit for the whole shutdown. Most of it is reserved for a master whose server hangs. */
const STOP_OPTIONS = {
  limitMs: 20_000,
  reserveMs: (wave: number): number => ({ [WAVES.master]: 12_000, [WAVES.servers]: 3000 })[wave] ?? 0,
};
const DRAIN_LIMIT_MS = 2000;
/** Generous: on a busy machine the first connection can be slow. */
const NATS_CONNECT_TIMEOUT_MS = 120_000;
/** Besides a wrong configuration, a restart can't help after these: 3 something is missing, 6 another version. */
const FINAL_CODES = [3, 6];

/**
 * A whole farm on one machine: its servers, a master, a web server and slaves. start() starts them in that
 * order; stop() stops them in reverse order, even if start() was interrupted halfway.
 */
export class Farm {
  readonly #options: FarmOptions;
  readonly #stoppables: Stoppable[] = [];
  /** Tracks the start-up progress that the master reports. */
  readonly #startupMonitor: StartupMonitor;
  #requestedVersions: readonly RequestedVersion[] = [];
  /** The shortage for which each slave is resting, by the slave's number. */
  readonly #restReasons = new Map<number, unknown>();
  #warnedUnconfined = false;
  readonly #failure = deferred<never>();

  constructor(options: FarmOptions) {
    this.#options = options;
    this.#failure.promise.catch(() => undefined);
    this.#startupMonitor = new StartupMonitor((text) => {
      options.onEvent({ event: 'setup', text });
    });
  }

  /** Rejects when a process of the farm can't be kept alive. */
  get failed(): Promise<never> {
    return this.#failure.promise;
  }

  /** Starts the farm. Requested versions that can't be built are in the result, with the state `failed`. */
  async start(): Promise<{
    readonly wanted: readonly RequestedVersion[];
    readonly url: string;
    readonly bus: Bus;
  }> {
    const { onEvent, root, signal, slaves, userSettings } = this.#options;
    const logInfo = (text: string) => {
      onEvent({ event: 'setup', text });
    };
    const logWarning = (text: string) => {
      onEvent({ event: 'trouble', text });
    };
    const ignoredKeys = ineffectiveKeys(userSettings);
    if (ignoredKeys.length > 0)
      logWarning(`ignoring ${ignoredKeys.join(', ')}: this farm runs its own nats-server`);
    const account = unprivilegedAccount();
    if (account) logInfo(`Running as root: the farm's processes run as ${account.name}.`);
    const port = await this.#choosePort();
    const pythons: PythonInterpreter[] = [];
    for (const path of userSettings.python ?? [undefined]) pythons.push(await findPython(path, account));
    const [python = await findPython(undefined, account)] = pythons;
    const program = stageProgram(root, account);
    const folder = DataFolder.open(ensureReachable(this.#options.dataDir, account, logInfo), account);
    this.#addStoppable(WAVES.folder, () => {
      folder.close();
    });
    const outputPath = ensureReachable(userSettings['output-path'] ?? folder.join('www'), account, logInfo);
    signal.throwIfAborted();
    const source = await this.#chooseIndex(python, folder, program);
    const services = { folder, log: logWarning, onFailure: this.#failure.reject, signal };
    const nats =
      userSettings.nats === undefined
        ? await this.#startNats(services, python, logInfo)
        : externalNats(userSettings.nats, slaves);
    const database =
      userSettings.dsn === undefined ? await this.#startPostgres(services, logInfo) : undefined;
    const dsn = database?.dsn ?? userSettings.dsn ?? '';
    await migrate(database?.adminDsn ?? dsn, { user: database?.role ?? roleFromDsn(dsn) });
    await retryHeldBuilds(dsn);
    signal.throwIfAborted();
    const url = `http://127.0.0.1:${String(port)}/`;
    this.#writeMasterConfig(folder, { nats, dsn, output: outputPath, url, source });
    const siteOutput = new SiteOutput({ folder, path: outputPath, account, log: logInfo });
    await this.#startMaster(program, folder);
    // Started after the master, and so stopped before it: its last downloads are still counted.
    await this.#startWebServer(program, folder, 'web', outputPath, port, [
      '-c',
      folder.join('piwheels.conf'),
    ]);
    const bus = await Bus.connect({
      ...this.#connectionOptions(nats),
      name: 'farm',
      ...{ patienceMs: NATS_CONNECT_TIMEOUT_MS, signal, onWaiting: logInfo },
      onStatus: (text, connected) => {
        onEvent({ event: connected ? 'setup' : 'trouble', text });
      },
    });
    this.#addStoppable(WAVES.connection, () => bus.drain(DRAIN_LIMIT_MS));
    await this.#startupMonitor.waitUntilReady(bus, signal);
    await siteOutput.restore(bus, signal);
    for (let number = 1; number <= slaves; number += 1)
      await this.#startSlave(number, program, folder, nats, { pythons, env: source.env }, logInfo);
    onEvent({ event: 'ready', url, index: `${url}simple/`, samples: source.samples, slaves });
    void this.#followBuilds(bus);
    void followConditions(bus, onEvent);
    return { wanted: source.wanted, url, bus };
  }

  /** Reports each requested version once it is published or has failed; resolves when none is waiting. */
  async waitForRequested(bus: Bus, url: string, wanted: readonly RequestedVersion[]): Promise<void> {
    const { onEvent, signal } = this.#options;
    const reported = new Set<RequestedVersion>();
    const reportSettled = () => {
      for (const requestedVersion of wanted) {
        if (requestedVersion.state === 'waiting' || reported.has(requestedVersion)) continue;
        reported.add(requestedVersion);
        const { name, version, filenames, why } = requestedVersion;
        if (requestedVersion.state === 'published')
          onEvent({ event: 'published', package: name, version: version ?? '', filenames });
        else onEvent({ event: 'not-built', package: name, version: version ?? null, why: why ?? '' });
      }
    };
    this.#requestedVersions = wanted;
    reportSettled();
    while (!signal.aborted && wanted.some(({ state }) => state === 'waiting')) {
      try {
        await updateStates(bus, url, wanted, { patient: !this.#options.once });
      } catch (error) {
        // A part of the farm is restarting; its state is in the database.
        rethrowUnexpected(error);
      }
      reportSettled();
      await pause(systemClock, 300, signal);
    }
    // A slave's report may have settled versions since the last round.
    reportSettled();
  }

  /** Stops everything, within STOP_OPTIONS.limitMs. */
  async stop(): Promise<void> {
    await stopInWaves(this.#stoppables.splice(0), STOP_OPTIONS);
  }

  #addStoppable(wave: number, stop: () => Promise<void> | void, kill = (): void => undefined): void {
    const ended = deferred();
    const end = async (): Promise<void> => {
      await stop();
    };
    this.#stoppables.push({
      wave,
      ended: ended.promise,
      kill,
      stop: () => void end().finally(ended.resolve),
    });
  }

  #addProcess(wave: number, child: ManagedProcess): void {
    this.#addStoppable(
      wave,
      () => child.stop(),
      () => {
        child.kill();
      },
    );
  }

  async #choosePort(): Promise<number> {
    const { port } = this.#options;
    if (port === 0) return await freePort();
    if (await isFree(port ?? DEFAULT_PORT)) return port ?? DEFAULT_PORT;
    if (port === undefined) return await freePort();
    throw new PiwError('PIW_PORT_IN_USE', `port ${String(port)} is already in use`);
  }

  /**
   * Returns the index to follow and to build from: the configured one, or the bundled samples if it can't be read.
   * Throws PIW_INDEX instead of using the samples if --once waits for named packages.
   */
  async #chooseIndex(
    python: PythonInterpreter,
    folder: DataFolder,
    program: StagedProgram,
  ): Promise<IndexSource> {
    const { requirements, onEvent, once, userSettings } = this.#options;
    const pip = await readPipSettings(python);
    const url = userSettings['pypi-simple'] ?? userSettings['index-url'] ?? pip.indexUrl;
    const index = new SimpleIndexClient(url, { timeoutMs: 30_000 });
    const requirementsOrDemo = isDemo(this.#options)
      ? DEMO_PACKAGES.map((name) => ({ name, version: undefined }) as Requirement)
      : requirements;
    try {
      const wanted = await resolveRequirements(index, requirementsOrDemo);
      return { url, builtFrom: userSettings['index-url'] ?? url, env: pip.env, samples: false, wanted };
    } catch (error) {
      if (!(error instanceof PiwError) || (once && requirements.length > 0)) throw error;
      onEvent({
        event: 'trouble',
        text: `${error.message}; building the samples that ship with piw instead`,
      });
    }
    const samples = folder.subfolder('samples', 0o755);
    const names = writeSampleIndex(samples);
    const port = await freePort();
    await this.#startWebServer(program, folder, 'samples', samples, port, ['-c', '/dev/null', '--no-count']);
    const samplesUrl = `http://127.0.0.1:${String(port)}/simple/`;
    const wanted = await resolveRequirements(
      new SimpleIndexClient(samplesUrl),
      names.map((name) => ({ name, version: undefined }) as Requirement),
    );
    return { url: samplesUrl, builtFrom: samplesUrl, env: {}, samples: true, wanted };
  }

  get #prefix(): string {
    return this.#options.userSettings.prefix ?? DEFAULT_PREFIX;
  }

  /** Returns the options with which the farm itself connects to NATS. */
  #connectionOptions(nats: NatsAddresses): ReturnType<typeof masterConnection> {
    if (nats.usersFile !== undefined) return { address: nats.master, prefix: this.#prefix };
    return masterConnection(
      loadSettings({ ...this.#options.userSettings, prefix: this.#prefix }, '/dev/null'),
    );
  }

  async #startNats(
    services: ServerContext,
    python: PythonInterpreter,
    logInfo: (text: string) => void,
  ): Promise<NatsAddresses> {
    const { slaves, natsListen: listen } = this.#options;
    const names = Array.from({ length: slaves }, (_, i) => `slave-${String(i + 1)}`);
    const nats = await startNats({
      ...services,
      python,
      prefix: this.#prefix,
      slaves: names,
      listen,
      log: logInfo,
    });
    this.#addProcess(WAVES.servers, nats.process);
    return nats;
  }

  async #startPostgres(services: ServerContext, logInfo: (text: string) => void) {
    const postgres = await startPostgres({ ...services, log: logInfo });
    this.#addProcess(WAVES.servers, postgres.process);
    return postgres;
  }

  /** Writes the configuration that the farm's master and every piw command of this user read. */
  #writeMasterConfig(
    folder: DataFolder,
    inputs: { nats: NatsAddresses; dsn: string; output: string; url: string; source: IndexSource },
  ): void {
    const previousConfig = folder.read('piwheels.conf');
    const previouslyWatched =
      previousConfig === undefined
        ? []
        : ((parseConfig(previousConfig, farmConfigFile(folder.path)).watch as
            readonly string[] | undefined) ?? []);
    const requestedEntries = inputs.source.wanted
      .filter(({ state }) => state === 'waiting')
      .flatMap(({ name, version, follow }) => [
        ...(follow ? [name as string] : []),
        `${name}==${version ?? ''}`,
      ]);
    const samples = inputs.source.samples;
    const { userSettings } = this.#options;
    // The index's watch list doesn't apply to the samples, nor the samples' to the index.
    const keptEntries = samples
      ? []
      : (userSettings.watch ?? previouslyWatched.filter((entry) => !entry.startsWith('piw-sample-')));
    const masterConfig = masterConfiguration(userSettings, {
      nats: inputs.nats.master,
      ...(inputs.nats.usersFile === undefined ? {} : { usersFile: inputs.nats.usersFile }),
      ...(inputs.nats.pidFile === undefined ? {} : { pidFile: inputs.nats.pidFile }),
      dsn: inputs.dsn,
      prefix: this.#prefix,
      outputPath: inputs.output,
      spool: folder.subfolder('spool'),
      url: inputs.url,
      followed: inputs.source.url,
      builtFrom: inputs.source.builtFrom,
      samples,
      watch: [...new Set([...keptEntries, ...requestedEntries])],
    });
    folder.writeSecret(
      'piwheels.conf',
      `# Written by piw farm at each start.\n${formatConfig(masterConfig)}`,
    );
  }

  async #startWebServer(
    program: StagedProgram,
    folder: DataFolder,
    name: string,
    root: string,
    port: number,
    extraArgs: readonly string[],
  ): Promise<void> {
    const listening = deferred();
    await this.#spawn(folder, {
      name,
      program,
      args: ['web', ...extraArgs, '-o', root, '--port', String(port)],
      env: {},
      ready: () => listening.promise,
      onMessage: () => {
        listening.resolve();
      },
    });
  }

  async #startMaster(program: StagedProgram, folder: DataFolder): Promise<void> {
    await this.#spawn(folder, {
      name: 'master',
      program,
      args: ['master', '-c', folder.join('piwheels.conf'), ...this.#options.masterArgs],
      env: {},
      logFile: this.#options.userSettings['log-file'],
      graceMs: 20_000,
      wave: WAVES.master,
      onMessage: (message) => {
        this.#startupMonitor.handleMessage(message);
      },
    });
  }

  async #startSlave(
    number: number,
    program: StagedProgram,
    folder: DataFolder,
    nats: NatsAddresses,
    buildInputs: {
      readonly pythons: readonly PythonInterpreter[];
      readonly env: Readonly<Record<string, string>>;
    },
    logInfo: (text: string) => void,
  ): Promise<void> {
    const { userSettings, slaves, slaveArgs } = this.#options;
    const name = `slave-${String(number)}`;
    const configuredWorkDir = slaveWorkDir(userSettings, name);
    const slaveConfig = slaveConfiguration(userSettings, {
      name,
      isAlone: slaves === 1,
      master: nats.slaves[number - 1] ?? '',
      ownServer: nats.usersFile !== undefined,
      prefix: this.#prefix,
      pythons: buildInputs.pythons.map(({ path }) => path),
      workDir:
        configuredWorkDir === undefined
          ? folder.subfolder(name)
          : ensureReachable(configuredWorkDir, folder.account, logInfo),
    });
    folder.writeSecret(`${name}.conf`, formatConfig(slaveConfig));
    await this.#spawn(folder, {
      name,
      program,
      args: ['slave', '-c', folder.join(`${name}.conf`), ...slaveArgs],
      env: { PIW_BUILD_ENV: JSON.stringify(buildInputs.env) },
      graceMs: 20_000,
      logFile: userSettings['log-file'],
      wave: WAVES.slaves,
      onMessage: (message) => {
        this.#handleSlaveProgress(number, message);
      },
    });
  }

  async #spawn(
    folder: DataFolder,
    child: {
      readonly name: string;
      readonly program: StagedProgram;
      readonly args: readonly string[];
      readonly env: NodeJS.ProcessEnv;
      readonly graceMs?: number;
      /** Default: a log of its own in the data folder. */
      readonly logFile?: string | undefined;
      readonly wave?: number;
      readonly ready?: () => Promise<void>;
      readonly onMessage?: (message: unknown) => void;
    },
  ): Promise<void> {
    this.#options.signal.throwIfAborted();
    const { name, program } = child;
    const home = folder.subfolder('home');
    const managedProcess = new ManagedProcess({
      name,
      command: program.node,
      args: [...nodeFlags(), join(program.root, 'dist', 'src', 'bin.js'), ...child.args],
      env: { PATH: process.env['PATH'], HOME: home, LANG: 'C.UTF-8', ...tlsAndProxyEnv(), ...child.env },
      account: folder.account,
      cwd: folder.path,
      logFile: child.logFile ?? folder.prepareLog(`${name}.log`),
      stopSignal: 'SIGTERM',
      graceMs: child.graceMs ?? 10_000,
      ready: child.ready ?? (() => Promise.resolve()),
      stallTimeoutMs: 60_000,
      configurationCode: ERRORS.PIW_CONFIG.exit,
      signal: this.#options.signal,
      finalCodes: FINAL_CODES,
      onFailure: this.#failure.reject,
      onMessage: child.onMessage ?? (() => undefined),
      log: (text) => {
        this.#options.onEvent({ event: 'trouble', text });
      },
    });
    this.#addProcess(child.wave ?? WAVES.web, managedProcess);
    await managedProcess.start();
  }

  #handleSlaveProgress(slave: number, message: unknown): void {
    const { onEvent } = this.#options;
    const progress = (message as { progress?: Record<string, unknown> } | null)?.progress;
    switch (progress?.['state']) {
      case 'idle':
        this.#restReasons.delete(slave);
        onEvent({ event: 'idle', slave });
        return;
      case 'building':
      case 'sending':
        onEvent({ event: progress['state'], slave, ...progress } as unknown as FarmEvent);
        return;
      case 'resting':
        // A resting slave repeats this every few seconds.
        if (this.#restReasons.get(slave) === progress['of']) return;
        this.#restReasons.set(slave, progress['of']);
        this.#reportTrouble(
          slave,
          `takes no work: ${String(progress['text'])}`,
          SPACE_SHORTAGES.has(String(progress['of'])),
        );
        return;
      case 'unconfined':
        // One warning is enough: all slaves run on this machine.
        if (this.#warnedUnconfined) return;
        this.#warnedUnconfined = true;
        onEvent({ event: 'trouble', text: String(progress['text']) });
        return;
      case 'trouble':
        this.#reportTrouble(slave, String(progress['text']), progress['code'] === 'PIW_DISK_FULL');
    }
  }

  /**
   * Reports a slave's trouble. If it lacks space, builds would be retried until somebody frees some; with --once the
   * user is waiting for the end, so all waiting versions fail now.
   */
  #reportTrouble(slave: number, text: string, lacksSpace: boolean): void {
    const { onEvent, once } = this.#options;
    onEvent({ event: 'trouble', text: `slave-${String(slave)}: ${text}` });
    if (!once || !lacksSpace) return;
    for (const requestedVersion of this.#requestedVersions)
      if (requestedVersion.state === 'waiting')
        Object.assign(requestedVersion, { state: 'failed', why: text });
  }

  /** Emits an event for every build that the master reports. */
  async #followBuilds(bus: Bus): Promise<void> {
    for await (const incoming of bus.subscribe(bus.subject(status.name, 'BUILD'))) {
      const message = status.unpack(await incoming.body());
      if (message.verb !== 'BUILD') continue;
      const {
        package: name,
        version,
        abi,
        status: succeeded,
        failure_class,
        reason: why,
        duration_s,
        retry_after_s,
      } = message;
      this.#options.onEvent({
        event: 'built',
        package: name,
        version,
        abi,
        status: succeeded,
        failure_class,
        why,
        duration_s,
        retry_after_s,
      });
    }
  }
}

interface ServerContext {
  readonly folder: DataFolder;
  readonly log: (line: string) => void;
  readonly onFailure: (error: PiwError) => void;
  readonly signal: AbortSignal;
}

interface IndexSource {
  /** The index to follow. */
  readonly url: string;
  /** The index that slaves build from. */
  readonly builtFrom: string;
  /** The environment variables with which builds reach the index. */
  readonly env: Readonly<Record<string, string>>;
  readonly samples: boolean;
  readonly wanted: readonly RequestedVersion[];
}

/** The addresses for the master and for each slave; and for a private server, the files that piw slaves needs. */
interface NatsAddresses {
  readonly master: string;
  readonly slaves: readonly string[];
  readonly usersFile?: string;
  readonly pidFile?: string;
}

/** Returns the addresses on an external server. Slaves connect as the user in its address, or else as `slave`. */
function externalNats(address: string, slaves: number): NatsAddresses {
  const { user, servers } = parseAddress(address);
  const slave = user === undefined ? `nats://slave@${servers.join(',')}` : address;
  return { master: address, slaves: Array.from({ length: slaves }, () => slave) };
}

/** Makes builds that wait for a retry due now: a user who restarts a farm wants to see them retried. */
async function retryHeldBuilds(dsn: string): Promise<void> {
  const database = await Database.open(dsn, 'farm');
  await releaseHolds(database).finally(() => database.close());
}

function roleFromDsn(dsn: string): string {
  const url = URL.canParse(dsn) ? new URL(dsn) : undefined;
  return url && url.username !== '' ? decodeURIComponent(url.username) : (process.env['USER'] ?? 'piwheels');
}
