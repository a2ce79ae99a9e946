import { homedir, hostname, userInfo } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { Flags } from '@oclif/core';
import { BuildSlave } from '../../actors/build-slave.js';
import { systemClock } from '../actor/clock.js';
import { Builder } from '../builder/build.js';
import { variablesOf, wipeLeftovers } from '../builder/environment.js';
import { exposed } from '../builder/exposed.js';
import type { Limits } from '../builder/limits.js';
import { probe } from '../builder/interpreter.js';
import { LACKS, lackingTools } from '../builder/toolchain.js';
import { confine, type Confinement } from '../builder/sandbox.js';
import { workFolder } from '../builder/work-folder.js';
import { Bus, type BusOptions } from '../bus/bus.js';
import { defaultFiles, type Settings } from '../config.js';
import { slaveConnection } from '../connection.js';
import { PiwError } from '../errors.js';
import type { Log } from '../log.js';
import { PROTOCOL, VERSION } from '../version.js';
import { EXIT_CODES, PiwCommand, untilSignal } from './base.js';
import { tellParent } from './parent.js';
import { slaveFlags } from './slave-flags.js';

export default class Slave extends PiwCommand {
  static override summary = 'Build packages for a farm, until it or the master is told to end.';
  static override description = `Run it as an unprivileged user on a machine of its own: building a package runs its authors' code.
Ctrl+C or SIGTERM gives the build back to the farm and ends it; a second one ends it at once.

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
      description: "the master's NATS server (default: localhost)",
    }),
    ...slaveFlags,
    'allow-root': Flags.boolean({ description: 'run as root all the same' }),
    once: Flags.boolean({ default: false, description: 'end after one build' }),
  };

  async run(): Promise<void> {
    const { flags } = await this.parse(Slave);
    const settings = this.settings(flags);
    const log = this.createLog('slave', flags);
    if (process.getuid?.() === 0 && !settings['allow-root']) {
      throw new PiwError('PIW_ROOT', 'a slave does not run as root unless --allow-root is given');
    }
    const signal = untilSignal();
    const { user, ...connection } = slaveConnection(settings);
    const workDir = await workFolder(settings['work-dir']);
    // Before anything else: they may be what fills the disk, so that no work would be asked for.
    for (const trouble of await wipeLeftovers(workDir)) log.warning(trouble);
    const pythons = settings.python.length > 0 ? settings.python : ['python3'];
    const passed = { ...environment(), ...variablesOf(settings['build-env']) };
    const programs = settings['build-path'].map((folder) => resolve(folder));
    const secrets = [
      ...secretsOf(flags.configuration),
      ...[settings['slave-key'], settings['tls-key']].filter((file) => file !== null),
    ];
    // What is wrong here is said at once, and not when the master can be reached.
    const builders = await Promise.all(
      pythons.map(async (python) => {
        const interpreter = await probe(python, passed);
        const confinement = await confine({
          mode: settings.sandbox,
          network: settings['sandbox-network'],
          ...{ interpreter, env: passed, programs, workDir },
          masked: [...secrets, this.config.root, ...homes()],
        });
        if (confinement.notice !== undefined) {
          this.#sayUnconfined(confinement, log, flags['log-file'] !== undefined);
          await this.#guard(secrets, log, settings['allow-exposed']);
        }
        const lacks = await lackingTools({
          ...{ interpreter, workDir, env: passed, programs, confinement },
          log: (line) => {
            log.warning(line);
          },
        });
        for (const lack of lacks) {
          const text = `${interpreter.path}: ${LACKS[lack]}; packages that need it are left to other slaves`;
          log.warning(text);
          if (flags['log-file'] !== undefined) process.stderr.write(`piw: ${text}\n`);
        }
        return { interpreter, confinement, lacks };
      }),
    );
    const bus = await this.#connect(connection, settings, log, signal);
    if (!bus) return this.exit(0);
    const out = new AbortController();
    void bus.closed().then(() => {
      out.abort();
    });
    const either = AbortSignal.any([signal, out.signal]);
    try {
      await together(either, builders, async ({ interpreter, confinement, lacks }, signal) => {
        const slave = new BuildSlave({
          bus,
          log,
          clock: systemClock,
          builder: new Builder({
            interpreter,
            workDir,
            env: passed,
            programs,
            confinement,
            lacks,
            limits: limitsOf(settings),
            log: (line) => {
              log.warning(line);
            },
          }),
          ...{ user, workDir, once: flags.once },
          thresholds: {
            diskFree: settings['min-disk-free'] * MB,
            memoryFree: settings['min-memory-free'] * MB,
            load: settings['max-load'],
            temperature: settings['max-temperature'],
          },
          onProgress: (progress) => {
            tellParent({ progress }, progress.state === 'building');
          },
          hello: {
            version: `${VERSION}/${String(PROTOCOL)}`,
            build_timeout_s: settings.timeout,
            busy_interval_s: settings['busy-interval'],
            py_version_tag: interpreter.pyVersionTag,
            abi_tag: interpreter.abiTag,
            platform_tag: interpreter.platformTag,
            label: line(settings.label ?? hostname()),
            os_name: line(interpreter.osName),
            os_version: line(interpreter.osVersion),
            board: interpreter.board === null ? null : line(interpreter.board),
            lacks: lacks.map((lack) => line(LACKS[lack])),
          },
        });
        await slave.run(signal);
      });
      if (out.signal.aborted)
        throw new PiwError('PIW_UNREACHABLE', 'the NATS servers let this slave in no more');
    } finally {
      await bus.drain();
    }
  }

  #saidUnconfined = false;

  /** Says once, for all interpreters, that builds are not sandboxed: in the log, at the terminal, and to the farm. */
  #sayUnconfined({ notice = '', unavailable }: Confinement, log: Log, hasLogFile: boolean): void {
    if (this.#saidUnconfined) return;
    this.#saidUnconfined = true;
    if (unavailable === undefined) {
      log.warning(notice);
      return;
    }
    const text = `builds run without a sandbox: ${unavailable}`;
    log.warning(text);
    if (hasLogFile) process.stderr.write(`piw: ${text}\n`);
    tellParent({ progress: { state: 'unconfined', text } });
  }

  /** Undefined if it was told to end meanwhile. */
  async #connect(
    connection: Omit<BusOptions, 'name'>,
    settings: Settings,
    log: Log,
    signal: AbortSignal,
  ): Promise<Bus | undefined> {
    const warn = (text: string): void => {
      log.warning(text);
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
   * Without a sandbox, what is built could speak to the master as this slave, or become it, or leave something in
   * its home. Raises PIW_CONFIG where that is so, unless it is allowed, for trying out.
   */
  async #guard(secrets: readonly string[], log: Log, allowed: boolean): Promise<void> {
    const { root } = this.config;
    const code = [root, join(root, 'dist'), process.execPath];
    const found = await exposed({ secrets, kept: [...code, ...homes()] });
    if (found.length === 0) return;
    const what = `this slave is at the mercy of what it builds: ${found.join(', ')}`;
    if (!allowed) {
      throw new PiwError('PIW_CONFIG', `${what}; install bubblewrap, or give --allow-exposed for trying out`);
    }
    log.warning(what);
  }
}

/** As a message has it (Line in protocols/fields.ts), whatever people or a system call themselves. */
const line = (text: string): string =>
  // eslint-disable-next-line no-control-regex
  text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').slice(0, 200);

/** What `piw farm` hands to its slaves for their builds: how pip reaches the index. */
export const BUILD_ENV = 'PIW_BUILD_ENV';

/**
 * Does it for all of the items at once. Where one fails, the others are told to end, and waited for, before that
 * is raised.
 */
async function together<T>(
  signal: AbortSignal,
  items: readonly T[],
  what: (item: T, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const failed = new AbortController();
  const errors: unknown[] = [];
  const either = AbortSignal.any([signal, failed.signal]);
  await Promise.all(
    items.map((item) =>
      what(item, either).catch((error: unknown) => {
        errors.push(error);
        failed.abort();
      }),
    ),
  );
  if (errors.length > 0) throw errors[0];
}

/**
 * Where the slave's key may be: the configuration, and the folder that it is in, for piw farm and people
 * have others there.
 */
function secretsOf(configuration: string | undefined): readonly string[] {
  const files = configuration === undefined ? defaultFiles() : [resolve(configuration)];
  return files.flatMap((file) => [file, dirname(file)]);
}

/** The slave's home as its environment and as the system has it. */
function homes(): readonly string[] {
  try {
    return [homedir(), userInfo().homedir];
  } catch {
    // A user that the system doesn't know, as in containers.
    return [homedir()];
  }
}

const MB = 1024 ** 2;

/** What a build may use, as the configuration says it. */
function limitsOf(settings: Settings): Limits {
  return {
    silenceMs: settings['silence-timeout'] * 1000,
    // A message holds 64 MB.
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

function environment(): Readonly<Record<string, string>> {
  const handed = process.env[BUILD_ENV];
  return handed === undefined ? {} : (JSON.parse(handed) as Record<string, string>);
}
