import { Bus } from '../bus/bus.js';
import { deferred } from '../concurrency/deferred.js';
import type { ExplicitSettings } from '../config.js';
import { DataFolder } from '../servers/data-folder.js';
import { farmConfigFile, recordFarm } from '../servers/running-farms.js';
import { unprivilegedAccount, type Account } from '../servers/privileges.js';
import { findPython, type PythonInterpreter } from '../servers/python.js';
import { followConditions } from './conditions.js';
import { ineffectiveKeys } from './configuration.js';
import type { FarmEvent } from './events.js';
import { followBuilds } from './finished-builds.js';
import { chooseIndex } from './index-source.js';
import { startMaster, writeMasterConfig } from './master.js';
import { SiteOutput } from './output.js';
import { FarmProcesses } from './processes.js';
import { ensureReachable } from './reachable-folder.js';
import { RequestTracker } from './request-tracker.js';
import type { RequestedVersion, Requirement } from './requested-versions.js';
import { farmConnection, provideDatabase, provideNats, type NatsAddresses } from './servers.js';
import { FarmShutdown, WAVES } from './shutdown.js';
import { SlaveProgressReporter } from './slave-progress.js';
import { slaveName, startSlave } from './slave.js';
import { stageProgram } from './stage.js';
import { StartupMonitor } from './start-up.js';
import { choosePort, startWebServer } from './web-server.js';

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

/** A farm that has started. */
interface RunningFarm {
  readonly wanted: readonly RequestedVersion[];
  readonly url: string;
  readonly bus: Bus;
}

const DRAIN_LIMIT_MS = 2000;
/** Generous: on a busy machine the first connection can be slow. */
const NATS_CONNECT_TIMEOUT_MS = 120_000;

/**
 * A whole farm on one machine: its servers, a master, a web server and slaves. start() starts them in that
 * order; stop() stops them in reverse order, even if start() was interrupted halfway.
 */
export class Farm {
  readonly #options: FarmOptions;
  readonly #shutdown = new FarmShutdown();
  /** Tracks the start-up progress that the master reports. */
  readonly #startupMonitor: StartupMonitor;
  readonly #requests: RequestTracker;
  readonly #slaveProgress: SlaveProgressReporter;
  readonly #failure = deferred<never>();
  readonly #quit = deferred();

  constructor(options: FarmOptions) {
    const { onEvent } = options;
    this.#options = options;
    this.#failure.promise.catch(() => undefined);
    this.#startupMonitor = new StartupMonitor(this.#info);
    this.#requests = new RequestTracker(options);
    this.#slaveProgress = new SlaveProgressReporter({
      onEvent,
      onSpaceShortage: (text) => {
        this.#requests.giveUp(text);
      },
    });
  }

  /** Rejects when a process of the farm can't be kept alive. */
  get failed(): Promise<never> {
    return this.#failure.promise;
  }

  /** Resolves when an administrator has ended the farm with `piw quit`. */
  get ended(): Promise<void> {
    return this.#quit.promise;
  }

  /** Starts the farm. Requested versions that can't be built are in the result, with the state `failed`. */
  async start(): Promise<RunningFarm> {
    const { requirements, once, slaves, userSettings, natsListen, root, signal, onEvent } = this.#options;
    const ignoredKeys = ineffectiveKeys(userSettings);
    if (ignoredKeys.length > 0)
      this.#warn(`ignoring ${ignoredKeys.join(', ')}: this farm runs its own nats-server`);

    const account = unprivilegedAccount();
    if (account) this.#info(`Running as root: the farm's processes run as ${account.name}.`);
    const port = await choosePort(this.#options.port);
    const pythons = await this.#findPythons(account);
    const [python = await findPython(undefined, account)] = pythons;
    const program = stageProgram(root, account);
    const folder = DataFolder.open(ensureReachable(this.#options.dataDir, account, this.#info), account);
    const removeRecord = recordFarm(folder.path);
    if (removeRecord === undefined)
      this.#warn(`other commands can't find this farm by themselves: add -c ${farmConfigFile(folder.path)}`);
    this.#shutdown.add(WAVES.folder, () => {
      removeRecord?.();
      folder.close();
    });
    const outputPath = ensureReachable(
      userSettings['output-path'] ?? folder.join('www'),
      account,
      this.#info,
    );
    signal.throwIfAborted();

    const common = { folder, shutdown: this.#shutdown, signal, onFailure: this.#failure.reject };
    const processes = new FarmProcesses({ ...common, program, onTrouble: this.#warn });
    const source = await chooseIndex(processes, {
      requirements,
      userSettings,
      once,
      python,
      onTrouble: this.#warn,
    });

    const servers = { ...common, log: this.#info };
    const nats = await provideNats(servers, {
      userSettings,
      python,
      slaves: Array.from({ length: slaves }, (_, i) => slaveName(i + 1)),
      listen: natsListen,
    });
    const dsn = await provideDatabase(servers, userSettings.dsn);
    signal.throwIfAborted();

    const url = `http://127.0.0.1:${port}/`;
    const configFile = writeMasterConfig(folder, userSettings, { nats, dsn, outputPath, url, source });
    const siteOutput = new SiteOutput({ folder, path: outputPath, account, log: this.#info });
    await startMaster(processes, {
      configFile,
      extraArgs: this.#options.masterArgs,
      logFile: userSettings['log-file'],
      onMessage: (message) => {
        this.#startupMonitor.handleMessage(message);
      },
      onQuit: this.#quit.resolve,
    });
    // Started after the master, and so stopped before it: its last downloads are still counted.
    await startWebServer(processes, {
      name: 'web',
      root: outputPath,
      port,
      extraArgs: ['-c', configFile],
    });

    const bus = await this.#connect(nats);
    await this.#startupMonitor.waitUntilReady(bus, signal);
    await siteOutput.restore(bus, signal);

    for (let number = 1; number <= slaves; number += 1)
      await startSlave(processes, number, {
        userSettings,
        slaves,
        nats,
        pythons,
        buildEnv: source.env,
        extraArgs: this.#options.slaveArgs,
        onMessage: (message) => {
          this.#slaveProgress.handleMessage(number, message);
        },
        log: this.#info,
      });

    onEvent({ event: 'ready', url, index: `${url}simple/`, samples: source.samples, slaves });
    void followBuilds(bus, onEvent);
    void followConditions(bus, onEvent);
    return { wanted: source.wanted, url, bus };
  }

  /** Reports each requested version once it is published or has failed; resolves when none is waiting. */
  async waitForRequested({ bus, url, wanted }: RunningFarm): Promise<void> {
    await this.#requests.waitForAll(bus, url, wanted);
  }

  /** Stops everything, within the shutdown's time limit. */
  async stop(): Promise<void> {
    await this.#shutdown.run();
  }

  /** Returns the interpreters to build with: the configured ones, or the machine's default. */
  async #findPythons(account: Account | undefined): Promise<readonly PythonInterpreter[]> {
    const pythons: PythonInterpreter[] = [];
    for (const path of this.#options.userSettings.python ?? [undefined])
      pythons.push(await findPython(path, account));
    return pythons;
  }

  /** Opens the farm's own connection, which outlives the slaves. */
  async #connect(nats: NatsAddresses): Promise<Bus> {
    const { userSettings, signal, onEvent } = this.#options;
    const bus = await Bus.connect({
      ...farmConnection(nats, userSettings),
      name: 'farm',
      patienceMs: NATS_CONNECT_TIMEOUT_MS,
      signal,
      onWaiting: this.#info,
      onStatus: (text, connected) => {
        onEvent({ event: connected ? 'setup' : 'trouble', text });
      },
    });
    this.#shutdown.add(WAVES.connection, () => bus.drain(DRAIN_LIMIT_MS));
    return bus;
  }

  readonly #info = (text: string): void => {
    this.#options.onEvent({ event: 'setup', text });
  };

  readonly #warn = (text: string): void => {
    this.#options.onEvent({ event: 'trouble', text });
  };
}
