import type { ActorSpec } from '../src/actor/run.js';
import type { Settings } from '../src/config.js';
import { PiwError } from '../src/errors.js';
import { nearest } from '../src/nearest.js';
import type { WatchSettings } from '../src/pypi/watch-list.js';
import type { SupervisorHooks } from './control-desk.js';

/** Limits of one build: bytes of its log, bytes of one wheel. */
const MAX_LOG_BYTES = 16 * 1024 * 1024;
const MAX_WHEEL_BYTES = 2 * 1024 ** 3;
/** MB of V8 semi-space for a Scribe: its pages are megabytes of small strings. */
export const SCRIBE_SEMI_SPACE_MB = 16;

/**
 * The cast: every task of the farm, in the order in which a master starts them. All are restarted alike:
 * after 0.5 s, then with growing delays; a task that fails six times in a row ends the master
 * (src/actor/child.ts). They are stopped in waves, highest first: the tasks that take in work, then those
 * that grant builds, then the Secretary while there are still Scribes to write for it, then the Scribes and
 * the File Juggler, and last the Oracles, which all the others use.
 */
export const CAST: readonly ActorSpec<Settings>[] = [
  {
    task: 'the-oracle',
    kind: 'pool',
    pausing: 'ignores',
    count: 2,
    wave: 1,
    load: async () => {
      const { TheOracle } = await import('./the-oracle.js');
      const { Database } = await import('../src/database/pool.js');
      return async (context, settings) =>
        new TheOracle(context, await Database.open(settings.dsn, context.task, { lazy: true }), {
          offersRemoved: settings.removed === 'keep',
          backlogOrder: settings['backlog-order'] === 'oldest' ? 'oldest' : 'newest',
          retryDelayS: settings['retry-delay'],
        });
    },
  },
  {
    task: 'file-juggler',
    kind: 'pool',
    pausing: 'ignores',
    count: 1,
    wave: 2,
    load: async () => {
      const { FileJuggler } = await import('./file-juggler.js');
      return (context, settings) =>
        new FileJuggler(context, {
          outputPath: settings['output-path'],
          onDuplicateFilename: settings['on-duplicate-filename'],
        });
    },
  },
  {
    task: 'the-scribe',
    kind: 'pool',
    pausing: 'stops',
    count: 1,
    wave: 2,
    // The database keeps what is to be written; slaves must not wait for it.
    nice: 10,
    semiSpaceMb: SCRIBE_SEMI_SPACE_MB,
    load: async () => {
      const { TheScribe } = await import('./the-scribe.js');
      const { SimpleIndexWriter } = await import('../src/site/simple/index-writer.js');
      const { Site } = await import('../src/site/site.js');
      return (context, settings) => {
        const { 'output-path': outputPath, 'public-url': publicUrl } = settings;
        return new TheScribe(
          context,
          new SimpleIndexWriter(outputPath, publicUrl),
          new Site({ outputPath, publicUrl }),
        );
      };
    },
  },
  {
    task: 'the-secretary',
    kind: 'single',
    pausing: 'stops',
    count: 1,
    wave: 3,
    nice: 10,
    load: async () => {
      const { TheSecretary } = await import('./the-secretary.js');
      return (context, settings) => new TheSecretary(context, { bufferS: settings['dev-mode'] ? 1 : 60 });
    },
  },
  {
    task: 'the-architect',
    kind: 'single',
    pausing: 'stops',
    count: 1,
    wave: 4,
    load: async () => {
      const { TheArchitect } = await import('./the-architect.js');
      const { Database } = await import('../src/database/pool.js');
      return async (context, settings) => {
        const database = await Database.open(settings.dsn, context.task, {
          relaxed: true,
          byKey: true,
          lazy: true,
        });
        return new TheArchitect(context, database, {
          backlogOrder: settings['backlog-order'],
          weights: [settings['weight-requests'], settings['weight-releases'], settings['weight-backlog']],
        });
      };
    },
  },
  {
    task: 'slave-driver',
    kind: 'single',
    pausing: 'answers',
    count: 1,
    wave: 4,
    load: async () => {
      const { SlaveDriver } = await import('./slave-driver.js');
      return (context, settings) =>
        new SlaveDriver(context, {
          indexUrl: settings['index-url'] ?? settings['pypi-simple'],
          extraIndexUrl: extraIndexUrls(settings),
          registerTargets: settings['register-targets'],
          limits: [settings.timeout, MAX_LOG_BYTES, MAX_WHEEL_BYTES],
          refuseIncomplete: settings.incomplete === 'refuse',
        });
    },
  },
  {
    task: 'mr-chase',
    kind: 'single',
    pausing: 'answers',
    count: 1,
    wave: 5,
    load: async () => {
      const { MrChase } = await import('./mr-chase.js');
      return (context, settings) =>
        new MrChase(context, {
          removalGraceS: settings.removed === 'delete' ? settings['removal-grace'] : null,
        });
    },
  },
  {
    task: 'big-brother',
    kind: 'single',
    pausing: 'stops',
    count: 1,
    wave: 5,
    load: async () => {
      const { BigBrother } = await import('./big-brother.js');
      return (context, settings) =>
        new BigBrother(context, { intervalS: settings['dev-mode'] ? 5 : 30, tasks: CAST });
    },
  },
  {
    task: 'lumberjack',
    kind: 'pool',
    pausing: 'stops',
    count: 1,
    wave: 5,
    load: async () => {
      const { Lumberjack } = await import('./lumberjack.js');
      return (context, settings) => new Lumberjack(context, { keepMonths: settings['keep-downloads'] });
    },
  },
  {
    task: 'cloud-gazer',
    kind: 'single',
    pausing: 'stops',
    count: 1,
    wave: 5,
    load: async () => {
      const { CloudGazer } = await import('./cloud-gazer.js');
      const { SimpleIndexClient } = await import('../src/pypi/index-reader.js');
      const { Changelog } = await import('../src/pypi/changelog.js');
      return (context, settings) => {
        const { contact, history } = settings;
        const { simple, xmlrpc, json } = pypiUrls(settings);
        return new CloudGazer(context, {
          index: new SimpleIndexClient(simple, { contact }),
          changelog: xmlrpc === null ? undefined : new Changelog(xmlrpc, { contact }),
          json,
          watch: watchSettings(settings),
          history,
          pollS: settings['poll-interval'],
          pagesPerSecond: settings['pypi-rate'],
          removalDelayS: settings['removal-delay'],
          removalShare: settings['removal-share'],
          contact,
        });
      };
    },
  },
];

/**
 * Returns the spec of the ControlDesk, which is not of the cast: every entry of the cast is a child of the supervisor,
 * and the desk runs in the supervisor's own process (actors/control-desk.ts says why).
 */
export const controlDesk = (hooks: SupervisorHooks): ActorSpec<unknown> => ({
  task: 'master',
  kind: 'pool',
  pausing: 'ignores',
  count: 1,
  load: async () => {
    const { ControlDesk } = await import('./control-desk.js');
    return (context) => new ControlDesk(context, hooks, CAST);
  },
});

/** Returns which packages of the index to follow. */
export function watchSettings(settings: Settings): WatchSettings {
  return { entries: settings.watch, only: settings['watch-only'], file: settings['watch-file'] };
}

/**
 * Returns the additional indexes, separated by spaces, where slaves look for build requirements: those
 * configured, and the farm's own; null if there are none.
 */
export function extraIndexUrls(settings: Settings): string | null {
  const publicUrl = settings['public-url'];
  const ownIndexUrl =
    settings['own-index-url'] ?? (publicUrl === null ? 'none' : `${publicUrl.replace(/\/$/, '')}/simple/`);
  const configuredUrls = settings['extra-index-url']?.split(/\s+/).filter((url) => url !== '') ?? [];
  const urls = [...new Set([...configuredUrls, ...(ownIndexUrl === 'none' ? [] : [ownIndexUrl])])];
  return urls.length === 0 ? null : urls.join(' ');
}

/**
 * Returns the addresses of an index. PyPI's changelog and JSON API are the defaults for PyPI's simple API
 * only; another index has its own or none.
 */
function pypiUrls(settings: Settings): { simple: string; xmlrpc: string | null; json: string | null } {
  const simple = settings['pypi-simple'];
  const pypiUrl = /^https:\/\/pypi\.org\/simple\/?$/.test(simple) ? 'https://pypi.org/pypi' : '';
  const orPypi = (address: string | null) => (address ?? pypiUrl) || null;
  return { simple, xmlrpc: orPypi(settings['pypi-xmlrpc']), json: orPypi(settings['pypi-json']) };
}

/** Returns the spec of a task, in whose name `_` and `-` are equivalent. Throws PIW_UNKNOWN_TASK. */
export function actorSpecOf(task: string): ActorSpec<Settings> {
  const name = task.toLowerCase().replaceAll('_', '-');
  const spec = CAST.find((candidate) => candidate.task === name);
  if (spec) return spec;
  const tasks = CAST.map((candidate) => candidate.task);
  const similar = nearest(name, tasks);
  const hint = similar === undefined ? '.' : `; did you mean ${similar}?`;
  throw new PiwError('PIW_UNKNOWN_TASK', `there is no task ${task}${hint} The tasks are ${tasks.join(', ')}`);
}
