import { Command, Errors, Flags, type Interfaces } from '@oclif/core';
import { onParentGone } from '../actor/parent.js';
import { Bus } from '../bus/bus.js';
import { SETTING_DEFINITIONS, type RawSettings, type Settings } from '../config.js';
import { runningFarms } from '../servers/running-farms.js';
import { queueKeysOf } from '../settings/config-file.js';
import { loadSettings, presentConfigFiles } from '../settings/load.js';
import { isQueueKey, queueNotice } from '../settings/piwheels-queues.js';
import { masterConnection } from '../connection.js';
import { PiwError, errorMessage } from '../errors.js';
import { createLog, fileSink, logsToFile, type LogLevel, type Log } from '../log.js';
import { checkCommandLine } from './command-line.js';

/** The last paragraph of every command's description. */
export const EXIT_CODES = 'The exit codes are those of all commands: piw help exit-codes.';

/** TLS options of the connection to NATS: how the servers and this command authenticate each other. */
export const tlsFlags = {
  'tls-ca': Flags.string({
    helpValue: 'FILE',
    description: 'CA certificate that verifies the NATS servers (PEM)',
  }),
  'tls-cert': Flags.string({
    helpValue: 'FILE',
    description: 'client certificate, if the NATS servers require one (PEM)',
  }),
  'tls-key': Flags.string({ helpValue: 'FILE', description: 'private key of the client certificate (PEM)' }),
};

export const prefixFlag = Flags.string({
  helpValue: 'NAME',
  description: "first token of the farm's NATS subjects (default: piw)",
});

/** Options of administrators' commands that say where the farm is. */
export const natsFlags = {
  nats: Flags.string({
    helpValue: 'ADDRESS',
    description: "address of the farm's NATS servers (default: localhost)",
  }),
  ...tlsFlags,
};

/** What the File Juggler does with a wheel whose filename was already published with different contents. */
export const duplicateFilenameFlag = Flags.string({
  // Its former name.
  aliases: ['rebuilt'],
  helpValue: 'HOW',
  options: SETTING_DEFINITIONS['on-duplicate-filename'].choices,
  description:
    'what to do with a wheel whose filename was already published with different contents: refuse it; tag-removed (default): publish it under the next build tag if the original wheel was removed; tag: do so even if the original is still published',
});

/** Variables that name NATS servers. */
const NATS_VARIABLES = ['PIW_NATS', 'PIW_NATS_FILE'];

type BaseFlags = Interfaces.InferredFlags<(typeof PiwCommand)['baseFlags']>;

/** Base class of all commands: common options, settings, the log, and how an error ends the command. */
export abstract class PiwCommand extends Command {
  static override baseFlags = {
    help: Flags.help({ char: 'h', description: 'show this help' }),
    version: Flags.version({ description: 'show the version' }),
    configuration: Flags.string({
      char: 'c',
      helpValue: 'FILE',
      description: 'read this configuration file instead of the default ones',
    }),
    quiet: Flags.boolean({
      char: 'q',
      description: 'log only warnings and errors',
      exclusive: ['verbose'],
    }),
    verbose: Flags.boolean({ char: 'v', description: 'log debug messages, too' }),
    'log-file': Flags.string({
      char: 'l',
      helpValue: 'FILE',
      description: 'append the log to this file instead of writing it to stderr',
    }),
    'log-format': Flags.string({
      helpValue: 'FORMAT',
      options: SETTING_DEFINITIONS['log-format'].choices,
      description: 'log text (default) or JSON, one object per line',
    }),
    stack: Flags.boolean({ description: 'print the stack trace of an internal error', hidden: true }),
  };

  /** Name of the command as the user types it: `abi add`. */
  protected get commandName(): string {
    return (this.id ?? '').replaceAll(':', ' ');
  }

  /** Whether the command is for a farm that this user runs on this machine, if there is one. Services are not. */
  protected readonly usesRunningFarm: boolean = true;

  /** Returns the settings: options override the environment, that the configuration, and that the defaults. */
  protected settings(flags: BaseFlags & RawSettings): Settings {
    const file = this.configFile(flags);
    const queueOptions = Object.keys(flags).filter(isQueueKey);
    if (queueOptions.length > 0) this.warn(queueNotice(queueOptions.map((name) => `--${name}`)));
    for (const each of file === undefined ? presentConfigFiles() : [file]) {
      const queueKeys = queueKeysOf(each);
      if (queueKeys.length > 0) this.warn(`${each}: ${queueNotice(queueKeys)}`);
    }
    return loadSettings(flags, file);
  }

  /**
   * Returns the one configuration file to read, or undefined for the default ones: the file that -c names, or that of
   * a farm of this user that runs on this machine, which it says on stderr. Whoever names NATS servers means those.
   */
  protected configFile(flags: BaseFlags & RawSettings): string | undefined {
    const isChosen = flags.nats !== undefined || NATS_VARIABLES.some((name) => name in process.env);
    if (flags.configuration !== undefined || isChosen || !this.usesRunningFarm) return flags.configuration;
    const [farm, ...others] = runningFarms();
    if (farm === undefined) return undefined;
    const choice = others.map(({ configFile }) => `; for another: -c ${configFile}`).join('');
    if (!flags.quiet)
      printToStderr(`piw: using the farm in ${farm.dataDir} (process ${farm.pid} on this machine)${choice}`);
    return farm.configFile;
  }

  protected logLevel(flags: BaseFlags): LogLevel {
    if (flags.verbose) return 'debug';
    return flags.quiet ? 'warning' : 'info';
  }

  protected createLog(name: string, flags: BaseFlags, settings: Settings): Log {
    return createLog(name, this.logLevel(flags), fileSink(settings['log-file']), settings['log-format']);
  }

  override warn<E extends Error | string>(warning: E): E {
    printToStderr(`piw: ${errorMessage(warning)}`);
    return warning;
  }

  /** Connects to NATS for the duration of one command. Throws PIW_UNREACHABLE after `patienceMs`. */
  protected async connect(settings: Settings, patienceMs = 3000, signal?: AbortSignal): Promise<Bus> {
    return await Bus.connect({
      ...masterConnection(settings),
      name: `piw ${this.commandName}`,
      patienceMs,
      ...(signal === undefined ? {} : { signal }),
      onWaiting: (text) => {
        printToStderr(`piw: ${text}`);
      },
    });
  }

  /** Checks the command line before run() has oclif parse it. */
  protected override async init(): Promise<void> {
    await super.init();
    const { args, flags, baseFlags, enableJsonFlag, strict } = this.ctor;
    const json = enableJsonFlag ? { json: Flags.boolean() } : {};
    const options = { ...json, ...baseFlags, ...flags };
    checkCommandLine(this.argv, { name: this.commandName, args, options, strict });
  }

  protected override catch(error: Error & { exitCode?: number }): Promise<void> {
    if (error instanceof PiwError) {
      printToStderr(
        error.code === 'PIW_USAGE'
          ? `piw: ${error.sentence} See piw ${this.commandName} --help.`
          : error.line,
      );
      return this.exit(error.exitCode);
    }
    // --help, --version and this.exit() end the command with an error.
    if (error instanceof Errors.ExitError) throw error;
    printToStderr(`piw: internal error: ${errorMessage(error)}. Use --stack to print the stack trace.`);
    if (this.argv.includes('--stack')) printToStderr(error.stack ?? '');
    return this.exit(70);
  }
}

/** Prints with --json, too, unlike oclif's own logToStderr(). */
function printToStderr(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** npm forwards Ctrl+C to its child, which has received it from the terminal as well. */
const DUPLICATE_SIGNAL_MS = 1000;

/**
 * Returns a signal that SIGINT, SIGTERM or the end of the parent process aborts, and SIGHUP unless the log goes to a file.
 * A second signal exits at once with 130, unless it is a duplicate of the first.
 */
export function createShutdownSignal(): AbortSignal {
  const controller = new AbortController();
  let firstAt = 0;
  const stop = (): void => {
    if (controller.signal.aborted && performance.now() - firstAt > DUPLICATE_SIGNAL_MS) process.exit(130);
    if (!controller.signal.aborted) firstAt = performance.now();
    controller.abort();
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  process.on('SIGHUP', () => {
    if (!logsToFile()) stop();
  });
  onParentGone(stop);
  return controller.signal;
}
