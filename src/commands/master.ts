import { join } from 'node:path';
import { Flags } from '@oclif/core';
import { CAST, watchSettings } from '../../actors/cast.js';
import { ControlDesk } from '../actor/control-desk.js';
import { runActor } from '../actor/run.js';
import { Supervisor, type ChildSpec } from '../actor/supervisor.js';
import { SETTINGS, type Settings } from '../config.js';
import { masterConnection } from '../connection.js';
import { checkVersion } from '../database/migrations.js';
import { Database, refuseSuperuser } from '../database/pool.js';
import { PiwError } from '../errors.js';
import type { Log } from '../log.js';
import { nodeFlags } from '../node-flags.js';
import { readWatchList } from '../pypi/watch-list.js';
import { EXIT_CODES, PiwCommand, untilSignal } from './base.js';
import { masterFlags } from './master-flags.js';

export default class Master extends PiwCommand {
  static override summary = 'Run the whole cast of a farm on this machine, and keep it running.';
  static override description = `Each task is a process of its own, which is started again if it ends. NATS and the database must
be there; piw initdb makes the tables.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> master -v',
    '<%= config.bin %> master -d postgres:///piwheels -o /var/www/piwheels --nats nats://master:secret@localhost',
  ];
  static override flags = {
    dsn: Flags.string({
      char: 'd',
      helpValue: 'DSN',
      description: 'the database (default: postgres:///piwheels)',
    }),
    'output-path': Flags.string({ char: 'o', helpValue: 'PATH', description: 'where the site is written' }),
    nats: Flags.string({ helpValue: 'ADDRESS', description: 'the NATS servers (default: localhost)' }),
    ...masterFlags,
    'allow-root': Flags.boolean({ description: 'run as root all the same' }),
  };

  async run(): Promise<void> {
    const { flags } = await this.parse(Master);
    const settings = this.settings(flags);
    const log = this.createLog('master', flags);
    if (process.getuid?.() === 0 && !settings['allow-root']) {
      throw new PiwError('PIW_ROOT', 'the master does not run as root unless --allow-root is given');
    }
    // The Cloud Gazer would only warn of it, for it may be edited at any time.
    readWatchList(watchSettings(settings));
    const signal = untilSignal();
    const database = await Database.open(settings.dsn, 'master');
    try {
      await checkVersion(database);
      if (!settings['allow-superuser']) await refuseSuperuser(database);
    } finally {
      await database.close();
    }
    const bus = await this.connect(settings);
    const quit = new AbortController();
    const ended = AbortSignal.any([signal, quit.signal]);
    const supervisor = flags['one-process']
      ? new OneProcess(settings, (task) => this.createLog(task, flags))
      : new Supervisor({
          children: children(
            settings,
            flags.debug ?? [],
            this.config.root,
            flags['log-file'],
            this.level(flags),
          ),
          env: { ...process.env, [SETTINGS]: JSON.stringify(settings) },
          log,
          bus,
        });
    const desk = runActor(
      {
        task: 'master',
        kind: 'pool',
        pausing: 'ignores',
        count: 1,
        load: () =>
          Promise.resolve(
            (context) =>
              new ControlDesk(
                context,
                () => {
                  quit.abort();
                },
                CAST,
              ),
          ),
      },
      settings,
      {
        bus: { ...masterConnection(settings), name: 'master' },
        log,
        signal: ended,
        supervised: true,
      },
    );
    try {
      await Promise.all([supervisor.run(ended), desk]);
    } finally {
      quit.abort();
      await bus.drain();
    }
    log.info('ended');
  }
}

/** The whole cast in this process. Nobody restarts a task here: if one fails, all end, and systemd decides. */
class OneProcess {
  readonly #settings: Settings;
  readonly #log: (task: string) => Log;

  constructor(settings: Settings, log: (task: string) => Log) {
    this.#settings = settings;
    this.#log = log;
  }

  async run(signal: AbortSignal): Promise<void> {
    const failed = new AbortController();
    const either = AbortSignal.any([signal, failed.signal]);
    const running = CAST.map(async (part) => {
      const bus = { ...masterConnection(this.#settings), name: part.task };
      try {
        await runActor(part, this.#settings, {
          bus,
          log: this.#log(part.task),
          signal: either,
          supervised: true,
        });
      } catch (error) {
        failed.abort();
        throw error;
      }
    });
    const first = (await Promise.allSettled(running)).find(({ status }) => status === 'rejected');
    if (first?.status === 'rejected') throw first.reason;
  }
}

function children(
  settings: Settings,
  debug: readonly string[],
  root: string,
  logFile: string | undefined,
  level: string,
): readonly ChildSpec[] {
  const program = join(root, 'dist', 'src', 'actor-process.js');
  const counts: Record<string, number> = {
    'the-oracle': settings.oracles,
    'the-scribe': settings.scribes,
    'file-juggler': settings.jugglers,
  };
  const detailed = debug.map((task) => task.replaceAll('_', '-'));
  return CAST.flatMap(({ task, count, roomMb }) => {
    const verbosity =
      level === 'debug' || detailed.includes(task) ? ['-v'] : level === 'warning' ? ['-q'] : [];
    const args = [
      ...nodeFlags(roomMb),
      program,
      task,
      ...verbosity,
      ...(logFile === undefined ? [] : ['-l', logFile]),
    ];
    return Array.from({ length: counts[task] ?? count }, (_, i) => ({
      name: i === 0 ? task : `${task}/${String(i + 1)}`,
      command: process.execPath,
      args,
    }));
  });
}
