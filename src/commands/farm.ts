import { resolve } from 'node:path';
import { Args, Flags } from '@oclif/core';
import { watchSettings } from '../../actors/cast.js';
import { defaultDataDir, farmConfigFile, loadSettings, loadExplicitSettings } from '../config.js';
import { PiwError } from '../errors.js';
import { jsonDisplay, liveDisplay, plainDisplay } from '../farm/display.js';
import { Farm, isDemo } from '../farm/farm.js';
import { readWatchList } from '../pypi/watch-list.js';
import { parseRequirement } from '../wheels/names.js';
import { EXIT_CODES, PiwCommand, createShutdownSignal } from './base.js';
import { masterFlags } from './master-flags.js';
import { slaveFlags } from './slave-flags.js';

/** Returns these options as a group of their own in the help. */
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
  static override description = `It builds the packages that are named (the newest version if none is given), or a short list that shows
what it can do, follows the index for new releases of them, and goes on until Ctrl+C. With --once it ends when they
are published. Everything that it needs and that is not on the machine, it brings along; what it
keeps is in the data folder, where the next start finds it.

Building a package runs its authors' code, here on the master's own machine: this is for trying out, and for
packages that you trust.

It takes every option of piw master and piw slave, for its own master and slaves. Unlike other commands it reads no
configuration file but the one named with -c, where every key holds that a master or a slave knows.

${EXIT_CODES} With --once: 0 if all of them were published, 1 if any was not.`;
  static override examples = [
    '<%= config.bin %> farm',
    '<%= config.bin %> farm --once --output-path ./wheels six markupsafe==3.0.2',
    '<%= config.bin %> farm -c my-farm.conf --timeout 30m --sandbox required',
    '<%= config.bin %> farm --slaves 2 --port 8000 --index-url https://pypi.org/simple numpy',
  ];
  static override strict = false;
  static override args = {
    packages: Args.string({ ignoreStdin: true, description: 'NAME or NAME==VERSION; any number of them' }),
  };
  static override flags = {
    ...withHelpGroup('MASTER', masterFlags),
    ...withHelpGroup('SLAVE', slaveFlags),
    once: Flags.boolean({
      default: false,
      description: 'end when the packages are published, or can not be',
    }),
    port: Flags.integer({
      min: 0,
      max: 65_535,
      description: 'where the web server listens (default: 8080, or another that is free)',
    }),
    slaves: Flags.integer({
      min: 0,
      max: 64,
      default: 1,
      description: 'how many slaves build here; 0: only those elsewhere, see piw slaves add',
    }),
    'output-path': Flags.string({
      char: 'o',
      helpValue: 'DIR',
      description: 'where the site and the wheels are written',
    }),
    'data-dir': Flags.string({ helpValue: 'DIR', description: 'where the farm keeps its data' }),
    'index-url': Flags.string({
      helpValue: 'URL',
      description: 'the index to follow and build from (default: the one that pip uses)',
    }),
    dsn: Flags.string({
      char: 'd',
      helpValue: 'DSN',
      description: 'a PostgreSQL to use instead of a private one',
    }),
    nats: Flags.string({ helpValue: 'URL', description: 'a nats-server to use instead of a private one' }),
    'nats-listen': Flags.string({
      helpValue: 'HOST',
      description: 'where the private nats-server listens, for slaves elsewhere (default: this machine only)',
      exclusive: ['nats'],
    }),
    json: Flags.boolean({ default: false, description: 'print one JSON object a line' }),
  };

  async run(): Promise<void> {
    const { argv, flags } = await this.parse(FarmCommand);
    const requirements = (argv as string[]).map(parseRequirement);
    const explicitSettings = loadExplicitSettings(flags, flags.configuration);
    const demonstration = isDemo({ requirements, userSettings: explicitSettings });
    if (flags.once && requirements.length === 0 && !demonstration) {
      throw new PiwError(
        'PIW_USAGE',
        '--once waits for the packages that are named on the command line, not for those of watch; name at least one',
      );
    }
    // The master would refuse it, and be started again.
    readWatchList(watchSettings(loadSettings({ ...explicitSettings }, '/dev/null')));
    const verbosity = flags.verbose ? ['-v'] : flags.quiet ? ['-q'] : [];
    const shutdown = new AbortController();
    const signal = AbortSignal.any([createShutdownSignal(), shutdown.signal]);
    const interrupted = new Promise<never>((_, reject) => {
      const stop = () => {
        reject(new PiwError('PIW_INTERRUPTED', 'interrupted'));
      };
      if (signal.aborted) stop();
      signal.addEventListener('abort', stop, { once: true });
    });
    interrupted.catch(() => undefined);
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
        ...(flags.debug ?? []).flatMap((task) => ['--debug', task]),
      ],
      slaveArgs: verbosity,
      root: this.config.root,
      signal,
      onEvent: (event) => {
        display.show(event);
      },
    });
    const configFile = dataDir === defaultDataDir() ? undefined : farmConfigFile(dataDir);
    const work = this.#work(farm, { once: flags.once, demonstration, configFile }, signal, (text) => {
      display.show({ event: 'setup', text });
    });
    try {
      await Promise.race([work, farm.failed, interrupted]);
    } catch (error) {
      // Ctrl+C is how a farm that goes on is ended: that is no fault.
      if (!(this.#started && !flags.once && error instanceof PiwError && error.code === 'PIW_INTERRUPTED'))
        throw error;
    } finally {
      display.close();
      // Of a farm that has failed nothing more is waited for.
      shutdown.abort();
      // What was begun is finished before what it began is ended.
      await work.catch(() => undefined);
      await farm.stop();
    }
    if (!flags.once && !flags.json) this.log('The farm has ended; npm start goes on where it was.');
  }

  #started = false;

  async #work(
    farm: Farm,
    options: {
      readonly once: boolean;
      readonly demonstration: boolean;
      readonly configFile: string | undefined;
    },
    signal: AbortSignal,
    say: (text: string) => void,
  ): Promise<void> {
    const { wanted, url, bus } = await farm.start();
    this.#started = true;
    await farm.waitForRequested(bus, url, wanted);
    if (signal.aborted) return;
    const failed = wanted.filter(({ state }) => state !== 'published');
    if (options.demonstration)
      say('That was the demonstration. Next: npm start -- PACKAGE, or npx piw --help.');
    if (options.once) {
      if (failed.length === 0) return;
      throw new PiwError(
        'PIW_NOT_BUILT',
        `${String(failed.length)} of ${String(wanted.length)} packages were not built`,
      );
    }
    if (options.configFile !== undefined)
      say(`Its commands are told where it is: npx piw queue -c ${options.configFile}`);
    say('The farm goes on following the index. Ctrl+C ends it.');
    await new Promise<void>((done) => {
      signal.addEventListener(
        'abort',
        () => {
          done();
        },
        { once: true },
      );
    });
  }
}
