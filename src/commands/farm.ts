import { resolve } from 'node:path';
import { Args, Flags } from '@oclif/core';
import { actorSpecOf, watchSettings } from '../../actors/cast.js';
import { defaultDataDir } from '../servers/running-farms.js';
import { loadSettings, loadExplicitSettings } from '../settings/load.js';
import { PiwError, hasCode } from '../errors.js';
import { aborted, unlessAborted } from '../concurrency/abort.js';
import { jsonDisplay, liveDisplay, plainDisplay } from '../farm/display.js';
import { Farm } from '../farm/farm.js';
import { isDemo } from '../farm/index-source.js';
import { readWatchList } from '../pypi/watch-list.js';
import { parseRequirement } from '../wheels/names.js';
import { EXIT_CODES, PiwCommand, createShutdownSignal } from './base.js';
import { masterFlags } from './master-flags.js';
import { slaveFlags } from './slave-flags.js';
import { formatQuantity } from '../units.js';

/** Returns these options as a separate group of the help. */
function withHelpGroup<Options extends Readonly<Record<string, object>>>(
  helpGroup: string,
  options: Options,
): Options {
  return Object.fromEntries(
    Object.entries(options).map(([name, option]) => [name, { ...option, helpGroup }]),
  ) as Options;
}

export default class FarmCommand extends PiwCommand {
  static override summary = 'Run a whole farm on this machine: servers, master, slaves and a web server.';
  static override description = `Builds the given packages (the newest version if you give none), or a short
demonstration, then follows the index for their new releases until Ctrl+C.
With --once it exits when they are published. Servers that are not installed
on this machine are downloaded. All state is kept in the data folder, so that
the next start continues from there.

Building a package runs its authors' code, here on the master's own machine:
use this command to try piw out, or for packages that you trust.

It accepts every option of piw master and piw slave, for its own master and
slaves. Unlike other commands it reads no configuration file except the one
given with -c, which may contain any key of a master or a slave.

With --once the exit code is 0 if all packages were published, and 1 if any was
not.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> farm',
    '<%= config.bin %> farm --once --output-path ./wheels six markupsafe==3.0.2',
    '<%= config.bin %> farm -c my-farm.conf --timeout 30m --sandbox required',
    '<%= config.bin %> farm --slaves 2 --port 8000 --index-url https://pypi.org/simple numpy',
  ];
  static override strict = false;
  static override args = {
    packages: Args.string({
      ignoreStdin: true,
      description: 'packages to build, each as NAME or NAME==VERSION',
    }),
  };
  static override flags = {
    ...withHelpGroup('MASTER', masterFlags),
    ...withHelpGroup('SLAVE', slaveFlags),
    once: Flags.boolean({
      default: false,
      description: 'exit when the packages are published or have failed',
    }),
    port: Flags.integer({
      min: 0,
      max: 65_535,
      helpValue: 'NUMBER',
      description: 'port of the web server; 0: any free port (default: 8080, or a free port if it is taken)',
    }),
    slaves: Flags.integer({
      min: 0,
      max: 64,
      default: 1,
      helpValue: 'NUMBER',
      description: 'number of slaves on this machine; 0: use only slaves elsewhere, see piw slaves add',
    }),
    'output-path': Flags.string({
      char: 'o',
      helpValue: 'DIR',
      description: 'folder of the site and the wheels (default: www in the data folder)',
    }),
    'data-dir': Flags.string({
      helpValue: 'DIR',
      description:
        "folder of the farm's data (default: /var/lib/piw/farm for root, otherwise ~/.local/share/piw)",
    }),
    'index-url': Flags.string({
      helpValue: 'URL',
      description: "index to follow and build from (default: pip's configured index)",
    }),
    dsn: Flags.string({
      char: 'd',
      helpValue: 'DSN',
      description: 'PostgreSQL database to use instead of a private server',
    }),
    nats: Flags.string({ helpValue: 'URL', description: 'nats-server to use instead of a private one' }),
    'nats-listen': Flags.string({
      helpValue: 'HOST',
      description:
        'address for the private nats-server to listen on, for slaves elsewhere (default: loopback only)',
      exclusive: ['nats'],
    }),
    json: Flags.boolean({ default: false, description: 'print events as JSON, one object per line' }),
  };

  async run(): Promise<void> {
    const { argv, flags } = await this.parse(FarmCommand);
    const requirements = (argv as string[]).map(parseRequirement);
    const debugTasks = (flags.debug ?? []).map((task) => actorSpecOf(task).task);
    const explicitSettings = loadExplicitSettings(flags, flags.configuration);
    const demonstration = isDemo({ requirements, userSettings: explicitSettings });
    if (flags.once && requirements.length === 0 && !demonstration) {
      throw new PiwError(
        'PIW_USAGE',
        '--once waits for the packages on the command line, not for watched ones; name at least one',
      );
    }
    // Fail early: the master would reject a bad list, and be restarted again and again.
    readWatchList(watchSettings(loadSettings({ ...explicitSettings }, '/dev/null')));
    const verbosity = flags.verbose ? ['-v'] : flags.quiet ? ['-q'] : [];
    const shutdown = new AbortController();
    const signal = AbortSignal.any([createShutdownSignal(), shutdown.signal]);
    const display = flags.json ? jsonDisplay() : process.stdout.isTTY ? liveDisplay() : plainDisplay();
    const dataDir = resolve(flags['data-dir'] ?? defaultDataDir());
    const farm = new Farm({
      requirements,
      once: flags.once,
      port: flags.port,
      slaves: flags.slaves,
      userSettings: explicitSettings,
      dataDir,
      natsListen: flags['nats-listen'],
      masterArgs: [
        ...verbosity,
        ...(flags['one-process'] ? ['--one-process'] : []),
        ...debugTasks.flatMap((task) => ['--debug', task]),
      ],
      slaveArgs: verbosity,
      root: this.config.root,
      signal,
      onEvent: (event) => {
        display.show(event);
      },
    });
    const work = this.#work(farm, { once: flags.once, demonstration }, signal, (text) => {
      display.show({ event: 'setup', text });
    });
    try {
      await unlessAborted(Promise.race([work, farm.failed, this.#untilQuit(farm, flags.once)]), signal);
    } catch (error) {
      // Without --once, Ctrl+C is how the user ends a running farm: not an error.
      if (!(this.#started && !flags.once && hasCode(error, 'PIW_INTERRUPTED'))) throw error;
    } finally {
      display.close();
      // Stop waiting for packages of a farm that has failed.
      shutdown.abort();
      // Let start() finish before stop() ends what it has started.
      await work.catch(() => undefined);
      await farm.stop();
    }
    if (!flags.once && !flags.json) this.log('The farm has stopped. npm start continues where it left off.');
  }

  #started = false;

  /** Resolves when the farm was ended with piw quit; with --once, which waits for packages, throws PIW_INTERRUPTED. */
  async #untilQuit(farm: Farm, once: boolean): Promise<void> {
    await farm.ended;
    if (once) throw new PiwError('PIW_INTERRUPTED', 'the farm was ended with piw quit');
  }

  async #work(
    farm: Farm,
    options: {
      readonly once: boolean;
      readonly demonstration: boolean;
    },
    signal: AbortSignal,
    say: (text: string) => void,
  ): Promise<void> {
    const running = await farm.start();
    this.#started = true;
    await farm.waitForRequested(running);
    if (signal.aborted) return;
    const { wanted } = running;
    const failed = wanted.filter(({ state }) => state !== 'published');
    if (options.demonstration)
      say('The demonstration is complete. Next: npm start -- PACKAGE, or npx piw --help.');
    if (options.once) {
      if (failed.length === 0) return;
      throw new PiwError(
        'PIW_NOT_BUILT',
        `${failed.length} of ${formatQuantity(wanted.length, 'package')} ${failed.length === 1 ? 'was' : 'were'} not built`,
      );
    }
    say('The farm keeps following the index. Press Ctrl+C to stop it.');
    await aborted(signal);
  }
}
