import { systemClock } from '../src/actor/clock.js';
import { BEAT_INTERVAL_S } from '../src/actor/identity.js';
import { Membership } from '../src/actor/membership.js';
import { registryOf } from '../src/database/installation.js';
import { PiwError } from '../src/errors.js';
import { farmIdentity } from '../src/protocols/farm.js';
import { Actor, type ActorContext } from '../src/actor/actor.js';
import { Aged } from '../src/database/aged.js';
import * as builds from '../src/database/builds.js';
import * as control from '../src/database/control.js';
import * as downloads from '../src/database/downloads.js';
import { publishedLike } from '../src/database/files.js';
import * as feeds from '../src/database/feed.js';
import { applyEvents } from '../src/database/feed-events.js';
import * as feedPages from '../src/database/feed-pages.js';
import { logsOf } from '../src/database/logs.js';
import * as packages from '../src/database/packages.js';
import * as pages from '../src/database/pages.js';
import type { Database } from '../src/database/pool.js';
import * as projects from '../src/database/projects.js';
import { leaseOf } from '../src/database/queue.js';
import { countQueue, estimateQueue, queuePace, type QueueCount } from '../src/database/queue-count.js';
import { packageQueue, type QueueOrder } from '../src/database/queue-report.js';
import { front } from '../src/database/front.js';
import { retryBuilds } from '../src/database/retries.js';
import * as health from '../src/database/slave-health.js';
import { helloSlave, setSlaves } from '../src/database/slaves.js';
import { statistics } from '../src/database/statistics.js';
import { sumUp } from '../src/database/sums.js';
import * as targets from '../src/database/targets.js';
import * as versions from '../src/database/versions.js';
import { feed, projectFromTuple, versionFromTuple } from '../src/protocols/feed.js';
import { oracle } from '../src/protocols/oracle.js';

const DONE = { verb: 'DONE' } as const;
/** What no lease is about. */
const NO_LEASE = { package: null, version: null, abi: null, platform: null };

export interface OracleSettings {
  /** Wheels of what the index has no more are offered all the same. */
  readonly offersGone: boolean;
  /** Which of the backlog comes first: the Architect's own setting, for the places in the queue. */
  readonly first: QueueOrder;
  /** How long a build is held back after the first failure that passes, seconds. */
  readonly retryDelayS: number;
}

/**
 * Answers every question and makes every change that the other actors want of the database. It
 * holds nothing itself; any number of Oracles share the work behind one queue group, so there is no
 * Seraph.
 */
export class TheOracle extends Actor {
  readonly #db: Database;
  readonly #farm: Membership;
  #cancelBeat: () => void = () => undefined;

  readonly #count: Aged<QueueCount>;
  readonly #settings: OracleSettings;

  constructor(context: ActorContext, database: Database, settings: Partial<OracleSettings> = {}) {
    super(context);
    this.#db = database;
    this.#farm = new Membership(this.bus, registryOf(database));
    this.#settings = { offersGone: false, first: 'newest', retryDelayS: builds.RETRY_DELAY_S, ...settings };
    this.#count = new Aged(
      () => countQueue(database),
      () => estimateQueue(database),
    );
  }

  override start(): void {
    this.#db.tellTo(this.conditions);
    void this.track(() => this.#join());
  }

  /** Nobody is answered from a database that may be another farm's. */
  async #join(): Promise<void> {
    const farm = this.#farm;
    try {
      if (!(await farm.join(() => this.isStopping()))) return;
    } catch (error) {
      this.context.crash(error);
      return;
    }
    const obey = async (what: () => Promise<void> | void): Promise<void> => {
      try {
        await what();
      } catch (error) {
        if (error instanceof PiwError && error.code !== 'PIW_OTHER_FARM') throw error;
        this.context.crash(error);
      }
    };
    this.serve(farmIdentity, { WHO: ({ version }) => farm.who(version) }, { verb: 'WHO', queue: null });
    this.serve(
      farmIdentity,
      {
        HERE: (here) =>
          obey(() => {
            farm.heard(here);
          }),
      },
      { verb: 'HERE', queue: null },
    );
    // Other farms have clocks of their own.
    const beat = (): void => {
      this.#cancelBeat = systemClock.after(BEAT_INTERVAL_S * 1000, () => {
        void this.track(() => obey(() => farm.beat())).then(beat);
      });
      if (this.isStopping()) this.#cancelBeat();
    };
    beat();
    this.#serve();
  }

  #serve(): void {
    const db = this.#db;
    const { offersGone, first, retryDelayS } = this.#settings;
    const done = async (change: Promise<unknown>): Promise<typeof DONE> => {
      await change;
      return DONE;
    };
    const freed = async (filenames: Promise<readonly string[]>) => {
      return { verb: 'FILES' as const, filenames: [...(await filenames)] };
    };
    this.serve(
      oracle,
      {
        ALLPKGS: async () => ({ verb: 'PACKAGES', names: [...(await packages.allPackages(db))] }),
        ALLVERS: async () => ({ verb: 'VERSIONS', versions: [...(await versions.allVersions(db))] }),
        PKGEXISTS: async (m) => ({ verb: 'EXISTS', exists: await packages.packageExists(db, m.package) }),
        VEREXISTS: async (m) => ({
          verb: 'EXISTS',
          exists: await versions.versionExists(db, m.package, m.version),
        }),
        PKGFILES: async (m) => ({
          verb: 'FILES',
          ...(await projects.packageFiles(db, m.package, offersGone)),
        }),
        INDEX: async (m) => ({
          verb: 'PACKAGES',
          names: [...(await packages.offeredPackages(db, m, offersGone))],
        }),
        VERFILES: (m) => freed(projects.versionFiles(db, m.package, m.version)),
        FILEORIGIN: async (m) => ({ verb: 'ORIGIN', origin: await projects.fileOrigin(db, m.filename) }),
        PUBLISHED: async (m) => ({ verb: 'PUBLISHED', files: await publishedLike(db, m.filename) }),
        PROJECT: async (m) => ({ verb: 'PROJECT', project: await projects.project(db, m.package) }),
        SEARCHINDEX: async (m) => ({ verb: 'INDEX', packages: [...(await packages.searchIndex(db, m))] }),
        GETHOME: async () => ({ verb: 'HOME', front: await front(db) }),
        GETBUILD: async (m) => ({ verb: 'BUILD', ...(await builds.build(db, m.build_id)) }),
        GETABIS: async () => ({ verb: 'ABIS', targets: [...(await targets.targets(db))] }),
        ADDABI: (m) => done(targets.addTarget(db, m)),
        DELABI: (m) => done(targets.removeTarget(db, m.abi, m.platform)),
        GETSKIP: async (m) => ({ verb: 'SKIP', skip: await versions.skipReason(db, m.package, m.version) }),
        GETPYPI: async () => ({ verb: 'PYPI', serial: await control.pypiSerial(db) }),
        SETPYPI: (m) => done(control.setPypiSerial(db, m.serial, m.fence)),
        SUMUP: async (m) => ({ verb: 'SUMMED', more: await sumUp(db, m.fence) }),
        GETSTATS: async () => ({ verb: 'STATS', statistics: await statistics(db) }),
        QUEUE: async () => {
          const { value, ageMs } = await this.#count.get();
          return { verb: 'QUEUE', ...value, age_s: ageMs / 1000, ...(await queuePace(db)) };
        },
        OUTCOMES: async () => ({ verb: 'OUTCOMES', outcomes: await health.recentOutcomes(db) }),
        SETASIDE: ({ slave_id, reason, since }) =>
          done(
            reason === null
              ? health.endSetAside(db, slave_id)
              : health.setAside(db, { slave_id, reason, since }),
          ),
        REVIEW: async (m) => ({ verb: 'REVIEWED', slaves: await health.reviewSlaves(db, m.slave_ids) }),
        RETRY: async (m) => ({ verb: 'RETRIED', ...(await retryBuilds(db, m)) }),
        QUEUEPKG: async (m) => ({
          verb: 'STANDS',
          exists: await packages.packageExists(db, m.package),
          versions: await packageQueue(db, m.package, first),
        }),
        GONE: async (m) => ({
          verb: 'GONE',
          versions: [...(await feeds.goneVersions(db, m.grace_s, m.limit))],
        }),
        NEWPKG: async (m) => ({
          verb: 'NEW',
          created: await db.transaction((within) => packages.newPackage(within, m)),
        }),
        NEWVER: async (m) => ({
          verb: 'NEW',
          created: await versions.newVersions(db, m.package, m.origin, m.releases),
        }),
        SKIPPKG: (m) => done(packages.skipPackage(db, m.package, m.skip)),
        SKIPVER: (m) => done(versions.skipVersion(db, m.package, m.version, m.skip)),
        YANKVER: (m) => done(versions.yankVersion(db, m.package, m.version, m.yanked)),
        UNYANKVER: (m) => done(versions.yankVersion(db, m.package, m.version, null)),
        QUARANTINE: (m) => done(packages.quarantine(db, m.package, m.version, m.quarantined)),
        DELBUILD: (m) => freed(versions.deleteBuilds(db, m.package, m.version)),
        DELVER: (m) => freed(versions.deleteVersion(db, m.package, m.version)),
        DELPKG: (m) => freed(packages.deletePackage(db, m.package)),
        HELLOSLAVE: async (m) => ({ verb: 'SLAVE', ...(await helloSlave(db, m)) }),
        SETSLAVES: (m) => done(setSlaves(db, m.slave_ids, m)),
        GETLEASE: async (m) => ({ verb: 'LEASE', ...((await leaseOf(db, m.lease, m.slave_id)) ?? NO_LEASE) }),
        LOGBUILD: async (m) => {
          const outcomes = await builds.logBuilds(db, m.builds, retryDelayS);
          return {
            verb: 'LOGGED',
            outcomes: outcomes.map(({ outcome, buildId, againS }) => [outcome, buildId, againS]),
          };
        },
        LOGS: async (m) => ({ verb: 'POSITIONS', positions: [...(await logsOf(db, m.head, m.fresh))] }),
        LOGENTRIES: async (m) => ({ verb: 'COUNTED', ...(await downloads.logEntries(db, m)) }),
        DROPLOGS: (m) => done(downloads.dropLogs(db, m.months)),
        LISTED: async (m) => ({ verb: 'LISTED', projects: await pages.listedPackages(db, m) }),
        NEWSERIALS: async (m) => ({ verb: 'SERIALS', ...(await pages.newSerials(db, m.fence)) }),
        SAVEPAGES: async (m) => ({
          verb: 'NOTED',
          notes: [...(await pages.savePages(db, m))],
        }),
        LOADPAGES: async (m) => ({
          verb: 'PAGES',
          pages: [...(await pages.loadPages(db, m.lane, m.after))],
        }),
        GETPAUSED: async () => ({ verb: 'PAUSED', tasks: [...(await control.pausedTasks(db))] }),
        SETPAUSED: (m) => done(control.setPaused(db, m.task, m.paused)),
      },
      { concurrency: 16 },
    );
    this.#serveFeed();
  }

  /** What the Cloud Gazer learns of the index. */
  #serveFeed(): void {
    const db = this.#db;
    const done = async (change: Promise<unknown>): Promise<typeof DONE> => {
      await change;
      return DONE;
    };
    this.serve(
      feed,
      {
        POSITION: async () => ({ verb: 'POSITION', position: await feeds.feedPosition(db) }),
        EVENTS: ({ fence, position, projects, versions: its }) =>
          done(
            applyEvents(db, {
              ...{ fence, position },
              projects: projects.map(projectFromTuple),
              versions: its.map(versionFromTuple),
            }),
          ),
        LOOK: (m) => done(feeds.wantLooks(db, m.fence, m.names, m.urgent)),
        FORGET: (m) => done(feeds.forgetLooks(db, m.fence, m.names)),
        LOOKS: async (m) => ({ verb: 'LOOKS', looks: [...(await feeds.nextLooks(db, m.limit))] }),
        PAGE: async (m) => ({ verb: 'PAGED', ...(await feedPages.applyPage(db, m)) }),
        SAME: async (m) => ({ verb: 'SAME', ...(await feedPages.samePage(db, m.fence, m.package)) }),
        LIST: (m) => done(feedPages.settleVersions(db, m)),
        MISSING: (m) => done(feedPages.missingPage(db, m.fence, m.package, m.agreed)),
        FAILED: (m) => done(feeds.failedLook(db, m.fence, m.package)),
        KNOWN: async (m) => ({
          verb: 'KNOWN',
          projects: [...(await feeds.knownProjects(db, m.after, m.limit))],
        }),
        COMPARED: (m) => done(feeds.compared(db, m.fence, m.held)),
        ACCEPT: (m) => done(feeds.acceptRemoval(db, m.count)),
      },
      { concurrency: 8 },
    );
  }

  protected override async stopped(): Promise<void> {
    this.#cancelBeat();
    await this.#db.close();
  }
}
