import { homedir, hostname, userInfo } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { Flags } from '@oclif/core';
import { BuildSlave } from '../slave/build-slave.js';
import { systemClock } from '../concurrency/clock.js';
import { Builder } from '../builder/build.js';
import { parseVariables, wipeLeftovers } from '../builder/environment.js';
import { findExposures } from '../builder/exposed.js';
import type { BuildLimits } from '../builder/limits.js';
import { probeInterpreter } from '../builder/interpreter.js';
import { MISSING_TOOL_MESSAGES, findMissingTools } from '../builder/toolchain.js';
import { confine, type Confinement } from '../builder/sandbox.js';
import { prepareWorkFolder } from '../builder/work-folder.js';
import { redactAddress } from '../bus/address.js';
import { Bus, type BusOptions } from '../bus/bus.js';
import type { Settings } from '../config.js';
import { defaultDataDir, farmConfigFile } from '../servers/running-farms.js';
import { defaultConfigFiles } from '../settings/load.js';
import { slaveConnection } from '../connection.js';
import { PiwError } from '../errors.js';
import type { Log } from '../log.js';
import { SLAVE_PROTOCOL_VERSION, VERSION } from '../version.js';
import { EXIT_CODES, PiwCommand, createShutdownSignal } from './base.js';
import { sendToParent } from './parent.js';
import { slaveFlags } from './slave-flags.js';

export default class Slave extends PiwCommand {
  static override summary = 'Build packages for a farm, until this slave or the master is stopped.';
  static override description = `Run it as an unprivileged user on a machine of its own: building a package
runs its authors' code. Ctrl+C or SIGTERM returns the current build to the
farm and exits; a second one exits at once.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> slave -m 10.0.0.1 -t 3h',
    '<%= config.bin %> slave -c ~/pi4.conf --python /usr/bin/python3.11 --label "attic"',
    '<%= config.bin %> slave -m tls://10.0.0.1 --tls-ca ca.pem --slave-user pi4 --slave-key ~/pi4.nk',
  ];
  static override flags = {
    master: Flags.string({
      char: 'm',
      helpValue: 'HOST',
      description: "address of the farm's NATS servers (default: localhost)",
    }),
    ...slaveFlags,
    'allow-root': Flags.boolean({ description: 'allow running as root' }),
    once: Flags.boolean({ default: false, description: 'exit after one build' }),
  };

  protected override readonly usesRunningFarm = false;

  async run(): Promise<void> {
    const { flags } = await this.parse(Slave);
    const settings = this.settings(flags);
    const log = this.createLog('slave', flags, settings);
    if (process.getuid?.() === 0 && !settings['allow-root']) {
      throw new PiwError('PIW_ROOT', 'a slave does not run as root unless --allow-root is given');
    }
    const signal = createShutdownSignal();
    const { user, ...connection } = slaveConnection(settings);
    const workDir = await prepareWorkFolder(settings['work-dir']);
    // Before anything else: leftovers may fill the disk, and the slave would never ask for work.
    await wipeLeftovers(workDir, log.warning);
    const pythons = settings.python.length > 0 ? settings.python : ['python3'];
    const buildEnv = { ...inheritedBuildEnv(), ...parseVariables(settings['build-env']) };
    const programs = settings['build-path'].map((folder) => resolve(folder));
    const secrets = [
      ...secretPaths(flags.configuration),
      ...[settings['slave-key'], settings['tls-key']].filter((file) => file !== null),
    ];
    // Report what is wrong on this machine at once, not only when the master can be reached.
    const buildTargets = await Promise.all(
      pythons.map(async (python) => {
        const interpreter = await probeInterpreter(python, buildEnv);
        const confinement = await confine({
          mode: settings.sandbox,
          network: settings['sandbox-network'],
          interpreter,
          env: buildEnv,
          programs,
          workDir,
          masked: [...secrets, this.config.root, ...homeFolders()],
        });
        if (confinement.notice !== undefined) {
          this.#reportUnconfined(confinement, log, settings['log-file'] !== null);
          await this.#refuseExposed(secrets, log, settings['allow-exposed']);
        }
        const missingTools = await findMissingTools({
          interpreter,
          workDir,
          env: buildEnv,
          programs,
          confinement,
          log: log.warning,
        });
        for (const tool of missingTools) {
          const text = `${MISSING_TOOL_MESSAGES[tool]}; packages that need it are left to other slaves`;
          log.warning(text, { python: interpreter.path });
          if (settings['log-file'] !== null) process.stderr.write(`piw: ${interpreter.path}: ${text}\n`);
        }
        return { interpreter, confinement, missingTools };
      }),
    );
    const bus = await this.#connect(connection, settings, log, signal);
    if (!bus) return this.exit(0);
    const disconnected = new AbortController();
    void bus.closed().then(() => {
      disconnected.abort();
    });
    const stopSignal = AbortSignal.any([signal, disconnected.signal]);
    try {
      await runConcurrently(
        stopSignal,
        buildTargets,
        async ({ interpreter, confinement, missingTools }, signal) => {
          const slave = new BuildSlave({
            bus,
            log,
            clock: systemClock,
            builder: new Builder({
              interpreter,
              workDir,
              env: buildEnv,
              programs,
              confinement,
              missingTools,
              limits: buildLimits(settings),
              log: log.warning,
            }),
            user,
            workDir,
            once: flags.once,
            thresholds: {
              diskFree: settings['min-disk-free'] * MB,
              memoryFree: settings['min-memory-free'] * MB,
              load: settings['max-load'],
              temperature: settings['max-temperature'],
            },
            onProgress: (progress) => {
              sendToParent({ progress }, progress.state === 'building');
            },
            hello: {
              version: `${VERSION}/${SLAVE_PROTOCOL_VERSION}`,
              build_timeout_s: settings.timeout,
              busy_interval_s: settings['busy-interval'],
              py_version_tag: interpreter.pyVersionTag,
              abi_tag: interpreter.abiTag,
              platform_tag: interpreter.platformTag,
              label: singleLine(settings.label ?? hostname()),
              os_name: singleLine(interpreter.osName),
              os_version: singleLine(interpreter.osVersion),
              board: interpreter.board === null ? null : singleLine(interpreter.board),
              lacks: missingTools.map((tool) => singleLine(MISSING_TOOL_MESSAGES[tool])),
            },
          });
          await slave.run(signal);
        },
      );
      if (disconnected.signal.aborted)
        throw new PiwError('PIW_UNREACHABLE', 'the NATS servers no longer accept this slave');
    } finally {
      await bus.drain();
    }
  }

  #unconfinedReported = false;

  /** Reports once for all interpreters that builds are not sandboxed: in the log, at the terminal, and to `piw farm`. */
  #reportUnconfined({ notice = '', unavailableReason }: Confinement, log: Log, hasLogFile: boolean): void {
    if (this.#unconfinedReported) return;
    this.#unconfinedReported = true;
    if (unavailableReason === undefined) {
      log.warning(notice);
      return;
    }
    log.warning('builds run without a sandbox', { reason: unavailableReason });
    const text = `builds run without a sandbox: ${unavailableReason}`;
    if (hasLogFile) process.stderr.write(`piw: ${text}\n`);
    sendToParent({ progress: { state: 'unconfined', text } });
  }

  /** Connects to NATS. Returns undefined if the signal is aborted first. */
  async #connect(
    connection: Omit<BusOptions, 'name'>,
    settings: Settings,
    log: Log,
    signal: AbortSignal,
  ): Promise<Bus | undefined> {
    const warn = (text: string): void => {
      log.warning(text, { server: redactAddress(connection.address) });
    };
    try {
      return await Bus.connect({
        ...connection,
        name: `slave ${settings.label ?? hostname()}`,
        patienceMs: 60_000,
        signal,
        onStatus: warn,
        onWaiting: warn,
      });
    } catch (error) {
      if (signal.aborted) return undefined;
      throw error;
    }
  }

  /**
   * Throws PIW_CONFIG if builds without a sandbox could read this slave's key, change its code or write to its home:
   * they could then talk to the master as this slave, or take it over. Only warns if `allowed`.
   */
  async #refuseExposed(secrets: readonly string[], log: Log, allowed: boolean): Promise<void> {
    const { root } = this.config;
    const code = [root, join(root, 'dist'), process.execPath];
    const exposures = await findExposures({ secrets, readOnlyPaths: [...code, ...homeFolders()] });
    if (exposures.length === 0) return;
    const warning = `builds on this machine could ${exposures.join(', ')}`;
    if (!allowed) {
      throw new PiwError(
        'PIW_CONFIG',
        `${warning}; install bubblewrap to sandbox them, or pass --allow-exposed to accept the risk`,
      );
    }
    log.warning(warning);
  }
}

/** Makes text from outside fit a Line of src/model/fields.ts: no control characters, at most 200 characters. */
const singleLine = (text: string): string =>
  // eslint-disable-next-line no-control-regex
  text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').slice(0, 200);

/** Variable in which `piw farm` passes its slaves the environment of their builds (JSON): how pip reaches the index. */
export const BUILD_ENV_VARIABLE = 'PIW_FARM_BUILD_ENV';

/** Runs all items concurrently. If one fails, aborts the others, waits for them, and throws the first error. */
async function runConcurrently<T>(
  signal: AbortSignal,
  items: readonly T[],
  run: (item: T, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const failed = new AbortController();
  const errors: unknown[] = [];
  const stopSignal = AbortSignal.any([signal, failed.signal]);
  await Promise.all(
    items.map((item) =>
      run(item, stopSignal).catch((error: unknown) => {
        errors.push(error);
        failed.abort();
      }),
    ),
  );
  if (errors.length > 0) throw errors[0];
}

/**
 * Returns where the slave's key may be: the configuration files, and their folders, where piw farm and users keep
 * further ones.
 */
function secretPaths(configuration: string | undefined): readonly string[] {
  const files =
    configuration === undefined
      ? [...defaultConfigFiles(), farmConfigFile(defaultDataDir())]
      : [resolve(configuration)];
  return files.flatMap((file) => [file, dirname(file)]);
}

/** Returns the slave's home folder, as its environment and as the system's user database name it. */
function homeFolders(): readonly string[] {
  try {
    return [homedir(), userInfo().homedir];
  } catch {
    // The user is not in the system's database, as in containers.
    return [homedir()];
  }
}

const MB = 1024 ** 2;

/** Converts the configured limits of a build to bytes and milliseconds. */
function buildLimits(settings: Settings): BuildLimits {
  return {
    silenceMs: settings['silence-timeout'] * 1000,
    // The log must fit in a message, which holds 64 MB.
    log: Math.min(Math.max(settings['log-limit'], 1), 60) * MB,
    logFails: settings['log-limit-fails'],
    output: settings['output-limit'] * MB,
    memory: settings['build-memory'] * MB,
    addressSpace: settings['build-address-space'] * MB,
    processes: settings['build-processes'],
    openFiles: settings['build-open-files'],
    fileSize: settings['build-file-size'] * MB,
    diskFree: settings['build-disk-free'] * MB,
    niceness: Math.min(settings['build-niceness'], 19),
  };
}

function inheritedBuildEnv(): Readonly<Record<string, string>> {
  const inherited = process.env[BUILD_ENV_VARIABLE];
  return inherited === undefined ? {} : (JSON.parse(inherited) as Record<string, string>);
}
