import { Command, Flags, type Interfaces } from '@oclif/core';
import { onParentGone } from '../actor/parent.js';
import { Bus } from '../bus/bus.js';
import { SETTING_DEFINITIONS, loadSettings, type RawSettings, type Settings } from '../config.js';
import { masterConnection } from '../connection.js';
import { PiwError, errorMessage } from '../errors.js';
import { createLog, fileSink, type LogLevel, type Log } from '../log.js';

/** What every command's help says about its exit code; the table is in src/errors.ts. */
export const EXIT_CODES = `Exit codes: 0 done; 1 something was not done, a line says what; 2 wrong options or
configuration; 3 something needed is missing here; 4 in use by somebody else; 5 out of reach;
6 another version; 70 a fault of piw's own; 130 interrupted.`;

/** How the servers and this command know that they are who they say. */
export const tlsFlags = {
  'tls-ca': Flags.string({ helpValue: 'FILE', description: 'who vouches for the NATS servers (PEM)' }),
  'tls-cert': Flags.string({
    helpValue: 'FILE',
    description: 'our own certificate, where they want one (PEM)',
  }),
  'tls-key': Flags.string({ helpValue: 'FILE', description: 'the key of that certificate (PEM)' }),
};

export const prefixFlag = Flags.string({
  helpValue: 'NAME',
  description: "the first token of the farm's subjects",
});

/** Where the farm is, for the commands of an administrator. */
export const natsFlags = {
  nats: Flags.string({ helpValue: 'ADDRESS', description: 'the NATS servers of the farm' }),
  ...tlsFlags,
};

/** What the File Juggler does with a wheel whose name is taken. */
export const rebuiltFlag = Flags.string({
  helpValue: 'HOW',
  options: SETTING_DEFINITIONS.rebuilt.choices,
  description:
    "a wheel whose name stands for other contents: refuse it; tag-removed (default): give it the next build tag where the name's first wheel was removed; tag: also where that is still published",
});

type BaseFlags = Interfaces.InferredFlags<(typeof PiwCommand)['baseFlags']>;

/** The base of every command: its common options, its settings, its log, and how an error ends it. */
export abstract class PiwCommand extends Command {
  static override baseFlags = {
    help: Flags.help({ char: 'h', description: 'show this help' }),
    version: Flags.version({ description: 'show the version' }),
    configuration: Flags.string({
      char: 'c',
      helpValue: 'FILE',
      description: 'read this configuration file instead of the default ones',
    }),
    quiet: Flags.boolean({ char: 'q', description: 'say less', exclusive: ['verbose'] }),
    verbose: Flags.boolean({ char: 'v', description: 'say more' }),
    'log-file': Flags.string({ char: 'l', helpValue: 'FILE', description: 'write the log to this file' }),
    stack: Flags.boolean({ description: 'print where an unexpected error came from', hidden: true }),
  };

  /** The command as it is typed: `abi add`. */
  protected get commandName(): string {
    return (this.id ?? '').replaceAll(':', ' ');
  }

  /** The settings: the options that were given, then the configuration, then the defaults. */
  protected settings(flags: BaseFlags & RawSettings): Settings {
    return loadSettings(flags, flags.configuration);
  }

  protected logLevel(flags: BaseFlags): LogLevel {
    if (flags.verbose) return 'debug';
    return flags.quiet ? 'warning' : 'info';
  }

  protected createLog(who: string, flags: BaseFlags): Log {
    return createLog(who, this.logLevel(flags), fileSink(flags['log-file']));
  }

  /** A connection for one command; it is given up after `patienceMs`. */
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

  protected override catch(error: Error & { exitCode?: number; oclif?: { exit?: number } }): Promise<void> {
    if (error instanceof PiwError) {
      printToStderr(`piw: ${error.message}. ${error.advice}`);
      return this.exit(error.exitCode);
    }
    // What oclif says of the command line; it also raises the end of --help so.
    const exit = error.oclif?.exit;
    if (exit === 0) throw error;
    if (exit !== undefined) {
      // Of a missing flag it says first only that there is an error.
      const lines = error.message.split('\n').map((line) => line.trim());
      const line = lines.find((said) => said !== '' && !said.startsWith('The following error')) ?? '';
      printToStderr(`piw: ${line.replace(/\.?$/, '.')} See piw ${this.commandName} --help.`);
      return this.exit(2);
    }
    printToStderr(`piw: this should not have happened: ${errorMessage(error)}. --stack prints where.`);
    if (this.argv.includes('--stack')) printToStderr(error.stack ?? '');
    return this.exit(70);
  }
}

/** Also with --json, where oclif's own way is silent. */
function printToStderr(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** npm passes Ctrl+C on to what it runs, which has got it from the terminal as well. */
const DUPLICATE_SIGNAL_MS = 1000;

/** The first signal aborts; a second one, which is no echo of it, ends the process at once. */
export function createShutdownSignal(): AbortSignal {
  const controller = new AbortController();
  let first = 0;
  const stop = (): void => {
    if (controller.signal.aborted && performance.now() - first > DUPLICATE_SIGNAL_MS) process.exit(130);
    if (!controller.signal.aborted) first = performance.now();
    controller.abort();
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  process.on('SIGHUP', stop);
  onParentGone(stop);
  return controller.signal;
}
