import { systemClock } from '../src/concurrency/clock.js';
import { HEARTBEAT_INTERVAL_S } from '../src/actor/identity.js';
import { ProtocolClient } from '../src/actor/client.js';
import { Membership } from '../src/actor/membership.js';
import { installationRegistry } from '../src/database/installation.js';
import { PiwError } from '../src/errors.js';
import { farmIdentity } from '../src/protocols/farm.js';
import { Actor, type ActorContext } from '../src/actor/actor.js';
import { StaleWhileRevalidate } from '../src/concurrency/stale-while-revalidate.js';
import * as builds from '../src/database/builds.js';
import * as control from '../src/database/control.js';
import * as downloads from '../src/database/downloads.js';
import { publishedSiblings } from '../src/database/files.js';
import * as feeds from '../src/database/feed.js';
import { applyEvents } from '../src/database/feed-events.js';
import * as feedPages from '../src/database/feed-pages.js';
import { findLogs } from '../src/database/logs.js';
import * as packages from '../src/database/packages.js';
import * as pages from '../src/database/pages.js';
import type { Database } from '../src/database/pool.js';
import * as projects from '../src/database/projects.js';
import { findLease } from '../src/database/queue.js';
import { countQueue, estimateQueue, queueActivity, type QueueCount } from '../src/database/queue-count.js';
import { packageQueue, type QueueOrder } from '../src/database/queue-report.js';
import { homePageData } from '../src/database/front.js';
import { endRemovals, pendingRemovals } from '../src/database/removals.js';
import { retryBuilds } from '../src/database/retries.js';
import * as health from '../src/database/slave-health.js';
import { registerSlave, setSlaves } from '../src/database/slaves.js';
import { readStatistics } from '../src/database/statistics.js';
import { sumUp } from '../src/database/sums.js';
import * as targets from '../src/database/targets.js';
import * as versions from '../src/database/versions.js';
import { feed, projectFromTuple, versionFromTuple } from '../src/protocols/feed.js';
import type { DuePage } from '../src/model/page.js';
import { oracle } from '../src/protocols/oracle.js';
import { secretary } from '../src/protocols/web.js';

const DONE = { verb: 'DONE' } as const;
/** The answer for a lease that does not exist. */
const NO_LEASE = { package: null, version: null, abi: null, platform: null };

interface OracleSettings {
  /** Whether wheels of versions that were removed from the index are still offered. */
  readonly offersRemoved: boolean;
  /** Which end of the backlog comes first: the Architect's own setting, for positions in the queue. */
  readonly backlogOrder: QueueOrder;
  /** Seconds for which a build is held back after its first temporary failure. */
  readonly retryDelayS: number;
}

/**
 * Serves every query and change of the database for the other actors. It holds no state; any number of
 * Oracles share the work behind one queue group, so there is no Seraph.
 */
export class TheOracle extends Actor {
  readonly #db: Database;
  readonly #membership: Membership;
  #cancelHeartbeat: () => void = () => undefined;

  readonly #queueCount: StaleWhileRevalidate<QueueCount>;
  readonly #settings: OracleSettings;

  constructor(context: ActorContext, database: Database, settings: Partial<OracleSettings> = {}) {
    super(context);
    this.#db = database;
    this.#membership = new Membership(this.bus, installationRegistry(database));
    this.#settings = {
      offersRemoved: false,
      backlogOrder: 'newest',
      retryDelayS: builds.RETRY_DELAY_S,
      ...settings,
    };
    this.#queueCount = new StaleWhileRevalidate(
      () => countQueue(database),
      () => estimateQueue(database),
    );
  }

  override start(): void {
    this.#db.reportTo(this.conditions);
    void this.runInBackground(() => this.#join());
  }

  /** Starts serving, once the database is known to be this farm's. */
  async #join(): Promise<void> {
    const membership = this.#membership;
    try {
      if (!(await membership.join(() => this.isStopping()))) return;
    } catch (error) {
      this.context.crash(error);
      return;
    }
    const crashOnOtherFarm = async (action: () => Promise<void> | void): Promise<void> => {
      try {
        await action();
      } catch (error) {
        if (error instanceof PiwError && error.code !== 'PIW_OTHER_FARM') throw error;
        this.context.crash(error);
      }
    };
    this.serve(farmIdentity, { WHO: ({ version }) => membership.who(version) }, { verb: 'WHO', queue: null });
    this.serve(
      farmIdentity,
      {
        HERE: (here) =>
          crashOnOtherFarm(() => {
            membership.onHere(here);
          }),
      },
      { verb: 'HERE', queue: null },
    );
    // The system clock, because the heartbeats of other farms have clocks of their own.
    const heartbeat = (): void => {
      this.#cancelHeartbeat = systemClock.after(HEARTBEAT_INTERVAL_S * 1000, () => {
        void this.runInBackground(() => crashOnOtherFarm(() => membership.heartbeat())).then(heartbeat);
      });
      if (this.isStopping()) this.#cancelHeartbeat();
    };
    heartbeat();
    this.#serve();
  }

  #serve(): void {
    const db = this.#db;
    const { offersRemoved, backlogOrder, retryDelayS } = this.#settings;
    const secretaryClient = new ProtocolClient(this.bus, secretary);
    const done = async (change: Promise<unknown>): Promise<typeof DONE> => {
      await change;
      return DONE;
    };
    const filesAnswer = async (filenames: Promise<readonly string[]>) => {
      return { verb: 'FILES' as const, filenames: [...(await filenames)] };
    };
    this.serve(
      oracle,
      {
        ALLPKGS: async () => ({ verb: 'PACKAGES', names: [...(await packages.allPackages(db))] }),
        PKGEXISTS: async (m) => ({ verb: 'EXISTS', exists: await packages.packageExists(db, m.package) }),
        VEREXISTS: async (m) => ({
          verb: 'EXISTS',
          exists: await versions.versionExists(db, m.package, m.version),
        }),
        PKGFILES: async (m) => ({
          verb: 'FILES',
          ...(await projects.packageFiles(db, m.package, offersRemoved)),
        }),
        INDEX: async (m) => ({
          verb: 'PACKAGES',
          names: [...(await packages.offeredPackages(db, m, offersRemoved))],
        }),
        FILEORIGIN: async (m) => ({ verb: 'ORIGIN', origin: await projects.fileOrigin(db, m.filename) }),
        PUBLISHED: async (m) => ({ verb: 'PUBLISHED', files: await publishedSiblings(db, m.filename) }),
        PROJECT: async (m) => ({ verb: 'PROJECT', project: await projects.projectDetails(db, m.package) }),
        SEARCHINDEX: async (m) => ({ verb: 'INDEX', packages: [...(await packages.searchIndex(db, m))] }),
        GETHOME: async () => ({ verb: 'HOME', front: await homePageData(db) }),
        GETBUILD: async (m) => ({ verb: 'BUILD', ...(await builds.buildRecord(db, m.build_id)) }),
        GETABIS: async () => ({ verb: 'ABIS', targets: [...(await targets.listTargets(db))] }),
        ADDABI: (m) => done(targets.addTarget(db, m)),
        DELABI: (m) => done(targets.removeTarget(db, m.abi, m.platform)),
        SUMUP: async (m) => ({ verb: 'SUMMED', more: await sumUp(db, m.fence) }),
        GETSTATS: async () => ({ verb: 'STATS', statistics: await readStatistics(db) }),
        QUEUE: async () => {
          const { value, ageMs } = await this.#queueCount.get();
          return { verb: 'QUEUE', ...value, age_s: ageMs / 1000, ...(await queueActivity(db)) };
        },
        OUTCOMES: async () => ({ verb: 'OUTCOMES', outcomes: await health.recentOutcomes(db) }),
        SETASIDE: ({ slave_id, reason, since }) =>
          done(
            reason === null
              ? health.clearSetAside(db, slave_id)
              : health.setAside(db, { slave_id, reason, since }),
          ),
        REVIEW: async (m) => ({ verb: 'REVIEWED', slaves: await health.reviewSlaves(db, m.slave_ids) }),
        RETRY: async (m) => ({ verb: 'RETRIED', ...(await retryBuilds(db, m)) }),
        QUEUEPKG: async (m) => ({
          verb: 'STATES',
          exists: await packages.packageExists(db, m.package),
          versions: await packageQueue(db, m.package, backlogOrder),
        }),
        REMOVED: async (m) => ({
          verb: 'REMOVED',
          versions: [...(await feeds.removedVersions(db, m.grace_s, m.limit))],
        }),
        NEWPKG: async (m) => ({
          verb: 'NEW',
          created: await db.transaction((within) => packages.upsertPackage(within, m)),
        }),
        NEWVER: async (m) => ({
          verb: 'NEW',
          created: await versions.addReleases(db, m.package, m.origin, m.releases),
        }),
        SKIPPKG: (m) => done(packages.skipPackage(db, m.package, m.skip)),
        SKIPVER: (m) => done(versions.skipVersion(db, m.package, m.version, m.skip)),
        YANKVER: (m) => done(versions.yankVersion(db, m.package, m.version, m.yanked)),
        UNYANKVER: (m) => done(versions.yankVersion(db, m.package, m.version, null)),
        DELBUILD: (m) => filesAnswer(versions.deleteBuilds(db, m.package, m.version)),
        DELVER: (m) => filesAnswer(versions.deleteVersion(db, m.package, m.version)),
        DELPKG: (m) => filesAnswer(packages.deletePackage(db, m.package)),
        UNLISTED: async (m) => ({
          verb: 'FILES',
          files: (await pendingRemovals(db, m.package, m.limit)).map((removal) => [...removal]),
        }),
        FILESGONE: (m) => done(endRemovals(db, m.filenames)),
        HELLOSLAVE: async (m) => ({ verb: 'SLAVE', ...(await registerSlave(db, m)) }),
        SETSLAVES: (m) => done(setSlaves(db, m.slave_ids, m)),
        LEASEBUILD: async (m) => ({ verb: 'LEASEBUILD', build_id: await builds.buildOfLease(db, m.lease) }),
        GETLEASE: async (m) => ({
          verb: 'LEASE',
          ...((await findLease(db, m.lease, m.slave_id)) ?? NO_LEASE),
        }),
        LOGBUILD: async (m) => {
          const outcomes = await builds.logBuilds(db, m.builds, retryDelayS);
          const duePages = outcomes.flatMap(({ pageRevision }, n): DuePage[] =>
            pageRevision === null ? [] : [['PKG', m.builds[n]?.package ?? '', pageRevision]],
          );
          if (duePages.length > 0) await secretaryClient.publish('DUE', { pages: duePages });
          return {
            verb: 'LOGGED',
            outcomes: outcomes.map(({ outcome, buildId, retryAfterS }) => [outcome, buildId, retryAfterS]),
          };
        },
        LOGS: async (m) => ({ verb: 'POSITIONS', positions: [...(await findLogs(db, m.head, m.fresh))] }),
        LOGENTRIES: async (m) => ({ verb: 'COUNTED', ...(await downloads.logEntries(db, m)) }),
        DROPLOGS: (m) => done(downloads.dropLogs(db, m.months)),
        LISTED: async (m) => ({ verb: 'LISTED', projects: await pages.listedPackages(db, m) }),
        NEWSERIALS: async (m) => ({ verb: 'SERIALS', ...(await pages.allocateSerials(db, m.fence)) }),
        SAVEPAGES: async (m) => ({
          verb: 'SAVED',
          revisions: [...(await pages.savePages(db, m))],
        }),
        LOADPAGES: async (m) => ({
          verb: 'PAGES',
          pages: [...(await pages.loadPages(db, m.priority, m.after))],
        }),
        GETPAUSED: async () => ({ verb: 'PAUSED', tasks: [...(await control.pausedTasks(db))] }),
        SETPAUSED: (m) => done(control.setPaused(db, m.task, m.paused)),
      },
      { concurrency: 16 },
    );
    this.#serveFeed();
  }

  /** Serves the requests of the Cloud Gazer. */
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
        EVENTS: ({ fence, position, projects, versions: versionTuples }) =>
          done(
            applyEvents(db, {
              fence,
              position,
              projects: projects.map(projectFromTuple),
              versions: versionTuples.map(versionFromTuple),
            }),
          ),
        QUEUEFETCH: (m) => done(feeds.queuePageFetches(db, m.fence, m.names, m.urgent)),
        CANCELFETCH: (m) => done(feeds.cancelPageFetches(db, m.fence, m.names)),
        DUEFETCHES: async (m) => ({
          verb: 'FETCHES',
          fetches: [...(await feeds.duePageFetches(db, m.limit))],
        }),
        PAGE: async (m) => ({ verb: 'PAGED', ...(await feedPages.applyPage(db, m)) }),
        SAME: async (m) => ({ verb: 'SAME', ...(await feedPages.markPageUnchanged(db, m.fence, m.package)) }),
        LIST: (m) => done(feedPages.resolveMissingVersions(db, m)),
        MISSING: (m) => done(feedPages.markPageMissing(db, m.fence, m.package, m.confirmed)),
        FAILED: (m) => done(feeds.recordFailedPageFetch(db, m.fence, m.package)),
        KNOWN: async (m) => ({
          verb: 'KNOWN',
          projects: [...(await feeds.knownProjects(db, m.after, m.limit))],
        }),
        COMPARED: (m) => done(feeds.recordComparison(db, m.fence, m.held)),
        ACCEPT: (m) => done(feeds.acceptRemoval(db, m.count)),
      },
      { concurrency: 8 },
    );
  }

  protected override async onStopped(): Promise<void> {
    this.#cancelHeartbeat();
    await this.#db.close();
  }
}
