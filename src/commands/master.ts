import { join } from 'node:path';
import { Flags } from '@oclif/core';
import { CAST, actorSpecOf, controlDesk, watchSettings } from '../../actors/cast.js';
import type { Bus } from '../bus/bus.js';
import { joinFarm, type FarmIdentity } from '../actor/identity.js';
import { releaseInstallation, installationRegistry } from '../database/installation.js';
import { runActor } from '../actor/run.js';
import { SingleProcessRunner } from '../actor/one-process.js';
import { Supervisor, type ChildSpec } from '../actor/supervisor.js';
import { SETTINGS_ENV, type Settings } from '../config.js';
import { masterConnection } from '../connection.js';
import { checkSchemaVersion } from '../database/migrations.js';
import { Database } from '../database/pool.js';
import { refuseReadOnly, refuseSuperuser } from '../database/role.js';
import { systemClock } from '../concurrency/clock.js';
import { withTimeLimit } from '../concurrency/time-limit.js';
import { PiwError } from '../errors.js';
import { createLog, type Log, fileSink } from '../log.js';
import { nodeFlags } from '../node-flags.js';
import { readWatchList } from '../pypi/watch-list.js';
import { checkWritable } from '../files/disk.js';
import { EXIT_CODES, PiwCommand, createShutdownSignal } from './base.js';
import { masterFlags } from './master-flags.js';
import { sendToParent } from './parent.js';
import { allQueueFlags } from './piwheels-queues.js';

/** How long sending the last messages may take at the end, milliseconds: NATS may be down. */
const DRAIN_LIMIT_MS = 1000;
const NATS_CONNECT_TIMEOUT_MS = 60_000;

export default class Master extends PiwCommand {
  static override summary = 'Run all tasks of a farm on this machine, under one supervisor.';
  static override description = `Each task runs in a process of its own, which is restarted if it exits. NATS
and the database must already be running; piw initdb creates the tables.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> master -v',
    '<%= config.bin %> master -d postgres:///piwheels -o /var/www/piwheels',
  ];
  static override flags = {
    dsn: Flags.string({
      char: 'd',
      helpValue: 'DSN',
      description: "the farm's database (default: postgres:///piwheels)",
    }),
    'output-path': Flags.string({
      char: 'o',
      helpValue: 'PATH',
      description: 'folder of the site and the wheels (default: /var/www/piwheels)',
    }),
    nats: Flags.string({
      helpValue: 'ADDRESS',
      description: "address of the farm's NATS servers (default: localhost)",
    }),
    ...masterFlags,
    ...allQueueFlags,
    'allow-root': Flags.boolean({ description: 'allow running as root' }),
  };

  protected override readonly usesRunningFarm = false;

  async run(): Promise<void> {
    const { flags } = await this.parse(Master);
    const debugTasks = (flags.debug ?? []).map((task) => actorSpecOf(task).task);
    const settings = this.settings(flags);
    const sink = fileSink(settings['log-file']);
    const logOf = (task: string, level = this.logLevel(flags)): Log =>
      createLog(task, level, sink, settings['log-format']);
    const log = logOf('master');
    if (process.getuid?.() === 0 && !settings['allow-root']) {
      throw new PiwError('PIW_ROOT', 'the master does not run as root unless --allow-root is given');
    }
    // Check all that can be checked before anything starts. The Cloud Gazer would only warn about a bad watch list,
    // because that may be edited at any time.
    readWatchList(watchSettings(settings));
    checkWritable(settings['output-path']);
    const signal = createShutdownSignal();
    const { bus, identity } = await this.#joinFarm(settings, log, signal);
    const quitController = new AbortController();
    const stopSignal = AbortSignal.any([signal, quitController.signal]);
    let starting = !flags['one-process'];
    const supervisor = flags['one-process']
      ? new SingleProcessRunner({
          specs: CAST,
          settings,
          connection: masterConnection(settings),
          log: (task) => logOf(task, debugTasks.includes(task) ? 'trace' : undefined),
        })
      : new Supervisor({
          children: childSpecs(settings, debugTasks, this.config.root, this.logLevel(flags)),
          env: { ...process.env, [SETTINGS_ENV]: JSON.stringify(settings) },
          log,
          bus,
          onProgress: (progress) => {
            starting = progress.ready < progress.of;
            sendToParent({ starting: progress });
          },
        });
    const desk = runActor(
      controlDesk({
        quit: () => {
          sendToParent({ quit: true });
          quitController.abort();
        },
        isStarting: () => starting,
        identity,
      }),
      settings,
      {
        bus: { ...masterConnection(settings), name: 'master' },
        log,
        signal: stopSignal,
        supervised: true,
      },
    );
    const running = [supervisor.run(stopSignal), desk];
    try {
      await Promise.all(running);
    } finally {
      quitController.abort();
      // Whichever failed, this process outlives its children.
      await Promise.allSettled(running);
      await leaveFarm(settings.dsn, identity.holder, log);
      await bus.drain(DRAIN_LIMIT_MS);
    }
    log.info('stopped');
  }

  /** Checks both servers, and that this farm may use them, before anything is started or changed. */
  async #joinFarm(
    settings: Settings,
    log: Log,
    signal: AbortSignal,
  ): Promise<{ readonly bus: Bus; readonly identity: FarmIdentity }> {
    const database = await Database.open(settings.dsn, 'master');
    try {
      await refuseReadOnly(database);
      await checkSchemaVersion(database);
      if (!settings['allow-superuser']) await refuseSuperuser(database);
      // At boot, the servers may start later than their master.
      const bus = await this.connect(settings, NATS_CONNECT_TIMEOUT_MS, signal);
      try {
        const identity = await joinFarm(bus, installationRegistry(database), (text) => {
          log.warning(text);
        });
        return { bus, identity };
      } catch (error) {
        await bus.drain(DRAIN_LIMIT_MS);
        throw error;
      }
    } finally {
      await database.close();
    }
  }
}

/**
 * Releases the installation, so that the next master can start at once, even on other NATS servers. Gives up after
 * LEAVE_TIMEOUT_MS if the database is down.
 */
async function leaveFarm(dsn: string, holder: string, log: Log): Promise<void> {
  const database = await Database.open(dsn, 'master', { lazy: true, connections: 1 });
  const leaving = releaseInstallation(database, holder)
    .catch((error: unknown) => {
      log.warning('could not record in the database that this farm has stopped', {}, error);
    })
    .finally(() => database.close());
  await withTimeLimit(systemClock, LEAVE_TIMEOUT_MS, leaving);
}

const LEAVE_TIMEOUT_MS = 1000;

function childSpecs(
  settings: Settings,
  debugTasks: readonly string[],
  root: string,
  level: string,
): readonly ChildSpec[] {
  const program = join(root, 'dist', 'run', 'actor-process.js');
  const counts: Record<string, number> = {
    'the-oracle': settings.oracles,
    'the-scribe': settings.scribes,
    'file-juggler': settings.jugglers,
  };
  return CAST.flatMap(({ task, count, semiSpaceMb, wave = 0 }) => {
    const ofLevel = level === 'debug' ? ['-v'] : level === 'warning' ? ['-q'] : [];
    const verbosity = debugTasks.includes(task) ? ['--trace'] : ofLevel;
    const args = [...nodeFlags(semiSpaceMb), program, task, ...verbosity];
    return Array.from({ length: counts[task] ?? count }, (_, i) => ({
      name: i === 0 ? task : `${task}/${i + 1}`,
      command: process.execPath,
      args,
      wave,
    }));
  });
}
