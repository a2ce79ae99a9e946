import { DAY_MS } from '../src/units.js';
import { Actor, type ActorContext } from '../src/actor/actor.js';
import { ProtocolClient } from '../src/actor/client.js';
import { forEachConcurrently } from '../src/concurrency/for-each-concurrently.js';
import { PiwError, hasCode, rethrowUnexpected } from '../src/errors.js';
import { feed, projectToTuple, versionToTuple } from '../src/protocols/feed.js';
import { PRIORITY, type Release } from '../src/model/release.js';
import { oracle } from '../src/protocols/oracle.js';
import type { ChangeEvent, Changelog } from '../src/pypi/changelog.js';
import type { KnownProject } from '../src/pypi/compare.js';
import { foldEvents } from '../src/pypi/fold.js';
import { ThrottledError } from '../src/pypi/http.js';
import type { SimpleIndexClient } from '../src/pypi/index-reader.js';
import { ChangelogReader } from '../src/pypi/log-reader.js';
import { NamesReader } from '../src/pypi/names-reader.js';
import { IndexRateLimiter } from '../src/pypi/rate-limiter.js';
import { readProject, readReleaseList } from '../src/pypi/project-page.js';
import type { ProjectRelease as IndexRelease } from '../src/pypi/releases.js';
import type { ChangelogPosition } from '../src/pypi/reorder.js';
import { RootReader, type RootFollower } from '../src/pypi/root-reader.js';
import type { WantedRelease } from '../src/pypi/watch.js';
import { WatchList, readWatchList, type WatchSettings } from '../src/pypi/watch-list.js';

export interface CloudGazerSettings {
  readonly index: SimpleIndexClient;
  /** PyPI's changelog. Any other index has none, and its root is read instead. */
  readonly changelog: Changelog | undefined;
  /** The address of PyPI's JSON API. */
  readonly json: string | null;
  readonly watch: WatchSettings;
  /** For a name without a version: build all releases, or the newest and later ones. */
  readonly history: 'all' | 'newest';
  readonly pollS: number;
  /** Maximum project pages fetched per second. */
  readonly pagesPerSecond: number;
  readonly removalDelayS: number;
  /** Percentage of packages that may vanish from the index at once without confirmation. */
  readonly removalShare: number;
  readonly contact: string | null;
}

/** Pages fetched concurrently, and milliseconds that a release waits for its project's page. */
const MAX_CONCURRENT_PAGES = 4;
const LIVE_PAGE_TIMEOUT_MS = 5000;
/**
 * Pages listed per batch: so many seconds' worth, and a maximum, because an urgent page waits for the rest of
 * the batch.
 */
const PAGE_BATCH = { seconds: 5, max: 1000 };
/** Maximum projects per message. */
const MAX_PROJECTS_PER_MESSAGE = 50_000;

/**
 * Follows an index, or the part of it that a watch list names, in the way that both allow:
 *
 *   names      the watch list only names packages: each one's page is fetched at every interval, by ETag
 *   changelog  PyPI: the events since the serial in the database. Live events are applied as they come, and
 *              all of them once more in the order in which they happened (src/pypi/reorder.ts,
 *              src/pypi/fold.ts); each affected project's page is fetched for what events leave out
 *   root       any other index: the pages of the projects whose serial in the root has grown; without
 *              serials, all pages in turn by their ETags; without ETags, only the new ones and those
 *              that a watch list names
 *
 * Once a day, and whenever the watch list has changed (a new name may be an old project), everything is
 * compared with the index's root, and what was missed is repaired. A name removed from the watch list is no
 * longer followed; nothing else happens to it.
 *
 * An index that is unreachable, or whose answer makes no sense, changes nothing, and is left alone with
 * growing delays. A truncated list removes nothing: see feed-pages.ts in src/database.
 */
export class CloudGazer extends Actor {
  readonly #settings: CloudGazerSettings;
  readonly #oracle: ProtocolClient<typeof oracle.verbs>;
  readonly #feed: ProtocolClient<typeof feed.verbs>;
  readonly #stopController = new AbortController();
  readonly #rateLimiter: IndexRateLimiter;
  #changelogReader: ChangelogReader | undefined;
  #rootReader: RootReader;
  readonly #namesReader: NamesReader;
  #watchList = new WatchList([], { empty: 'nothing', contents: null });
  /** What was wrong with the watch list when it was last read. */
  #watchListError: string | undefined;

  constructor(context: ActorContext, settings: CloudGazerSettings) {
    super(context);
    this.#settings = settings;
    this.#rateLimiter = new IndexRateLimiter(this.clock, settings.pagesPerSecond);
    const askOptions = { timeoutMs: 30_000, patienceMs: 60_000 };
    this.#oracle = new ProtocolClient(this.bus, oracle, undefined, askOptions);
    this.#feed = new ProtocolClient(this.bus, feed, undefined, askOptions);
    this.#changelogReader = settings.changelog && this.#createLogReader(settings.changelog);
    this.#rootReader = this.#createRootReader();
    this.#namesReader = new NamesReader(settings.index, settings.history, this.#rateLimiter, {
      shouldContinue: () => this.#canContinue(),
      onReleases: (name, wanted) => this.#addReleases(name, wanted),
      onError: (name, error) => {
        if (error instanceof ThrottledError) this.#backOff('names', error);
        else this.log.warning('page could not be read', { package: name }, error);
      },
      warn: this.log.warning,
    });
  }

  #createLogReader(changelog: Changelog): ChangelogReader {
    return new ChangelogReader(changelog, {
      now: () => this.clock.now(),
      shouldContinue: () => this.#canContinue(),
      watches: (name) => this.#watchList.has(name),
      position: () => this.#loadPosition(),
      onSeen: (events, late) => this.#applyLiveEvents(events, late),
      onSettled: (events, position) => this.#applyEvents(events, position),
      logInfo: this.log.info,
    });
  }

  #createRootReader(): RootReader {
    const { index, pagesPerSecond, pollS, removalShare } = this.#settings;
    const follower: RootFollower = {
      now: () => this.clock.now(),
      knownProjects: () => this.#loadKnownProjects(),
      comparisonState: async () => (await this.#feed.request('POSITION', {})).position,
      saveComparison: async (held) => {
        if (held !== null)
          this.log.error(
            'packages have vanished from the index at once: none is removed until you confirm it with ' +
              `piw feed --accept ${held}`,
            { count: held },
          );
        await this.#feed.request('COMPARED', { fence: this.context.assertLeader(), held });
      },
      requestPages: (names, urgent) => this.#queuePageFetches(names, urgent),
      onVanished: async (name) => {
        await this.#readPage(name, { agreed: true, signal: this.#stopController.signal });
      },
      warn: this.log.warning,
    };
    return new RootReader(index, follower, {
      urgent: this.#changelogReader === undefined,
      removalShare,
      pagesPerPoll: Math.ceil(pagesPerSecond * pollS),
    });
  }

  override start(): void {
    const { pollS } = this.#settings;
    this.every(pollS, () => {
      this.#reloadWatchList();
    });
    this.every(pollS, () => this.#poll());
    this.every(1, () => this.#ifFollowingIndex('pages', () => this.#readPages()));
    if (this.#changelogReader)
      this.every(600, () => this.#ifFollowingIndex('root', () => this.#compareDaily()), 60);
  }

  protected override onStopped(): void {
    this.#stopController.abort();
  }

  override async stop(): Promise<void> {
    this.#stopController.abort();
    await super.stop();
  }

  /**
   * Reloads the watch list. An unreadable list leaves the old one in force: somebody may be writing it right
   * now.
   */
  #reloadWatchList(): void {
    const previous = this.#watchList;
    try {
      this.#watchList = readWatchList(this.#settings.watch, previous);
      if (this.#watchList !== previous)
        this.log.info('watch list loaded', { follows: String(this.#watchList) });
      this.#watchListError = undefined;
    } catch (error) {
      rethrowUnexpected(error);
      if (error.message !== this.#watchListError)
        this.log.warning(
          'the watch list is invalid; until it is corrected, the previous one is used',
          { follows: String(previous) },
          error,
        );
      this.#watchListError = error.message;
    }
  }

  async #poll(): Promise<void> {
    const { signal } = this.#stopController;
    if (this.#watchList.scope === 'names')
      await this.#withBackOff('names', () => this.#namesReader.read(this.#watchList.names.values(), signal));
    await this.#ifFollowingIndex('log', () => this.#readFeed(signal));
    if (this.#rootReader.isUncompared(this.#watchList))
      await this.#ifFollowingIndex('root', () => this.#compareDaily());
  }

  /** Reads the changelog from the last position; the root of an index that has no changelog. */
  async #readFeed(signal: AbortSignal): Promise<void> {
    if (this.#changelogReader) {
      try {
        await this.#changelogReader.read(signal);
        return;
      } catch (error) {
        await this.#abandonChangelog(error);
      }
    }
    await this.#rootReader.poll(this.#watchList, signal);
  }

  /**
   * Falls back to the root if the index has no changelog. Throws any other error, and also this one if a
   * changelog has been followed before: then it is only down.
   */
  async #abandonChangelog(error: unknown): Promise<void> {
    const isMissing = hasCode(error, 'PIW_NO_CHANGELOG');
    if (!isMissing || (await this.#loadPosition()).read > 0) throw error;
    const { url } = this.#settings.index;
    this.log.warning("no changelog at pypi-xmlrpc; following the index's pages instead", { url }, error);
    this.#changelogReader = undefined;
    this.#rootReader = this.#createRootReader();
  }

  async #compareDaily(): Promise<void> {
    // Without the changelog read first, there is nothing to compare with.
    if (this.#changelogReader?.hasRead ?? true)
      await this.#rootReader.compareIfDue(this.#watchList, this.#stopController.signal);
  }

  /** Runs `action` unless fetching each of a few named pages suffices to follow the watch list. */
  async #ifFollowingIndex(source: string, action: () => Promise<void>): Promise<void> {
    const { scope } = this.#watchList;
    if (scope === 'patterns' || scope === 'all') await this.#withBackOff(source, action);
  }

  /** Runs `action`. If the index fails, logs the error and leaves the index alone for a while. */
  async #withBackOff(source: string, action: () => Promise<void>): Promise<void> {
    if (this.#rateLimiter.isBackingOff()) return;
    try {
      await action();
      if (!this.#rateLimiter.isBackingOff()) this.#rateLimiter.succeeded(source);
    } catch (error) {
      if (this.isStopping()) return;
      rethrowUnexpected(error);
      this.#backOff(source, error);
    }
  }

  #backOff(source: string, error: PiwError): void {
    const delayMs = this.#rateLimiter.backOff(source, error);
    this.log.warning('index failed, retrying', { source, delay_s: Math.round(delayMs / 1000) }, error);
  }

  /** Returns whether more may be requested from the index. */
  #canContinue(): boolean {
    return !this.isStopping() && !this.paused && !this.#rateLimiter.isBackingOff();
  }

  async #loadPosition(): Promise<ChangelogPosition> {
    const { serial, read, cut_time, cut_serial } = (await this.#feed.request('POSITION', {})).position;
    return { serial, read, cutTime: cut_time, cutSerial: cut_serial };
  }

  /** Applies events, and saves the position that they reach. */
  async #applyEvents(events: readonly ChangeEvent[], position: ChangelogPosition): Promise<void> {
    const { projects, versions } = foldEvents(events);
    await this.#feed.request('EVENTS', {
      fence: this.context.assertLeader(),
      position: [position.serial, position.read, position.cutTime, position.cutSerial],
      projects: projects.map(projectToTuple),
      versions: versions.map(versionToTuple),
    });
  }

  /**
   * Applies events as soon as they are seen: first the pages of their projects, which have all that there is
   * to know about a release, and then the events themselves, for what no page says and in case a page
   * couldn't be read. The events are applied once more, in their order, when they have settled.
   *
   * Events that are too `late` for that are applied only now. A page that couldn't be read now is queued as
   * urgent: it decides which event was the last.
   */
  async #applyLiveEvents(events: readonly ChangeEvent[], late: boolean): Promise<void> {
    const names = [...new Set(events.map(({ name }) => name))];
    const pageSignal = AbortSignal.any([
      this.#stopController.signal,
      AbortSignal.timeout(LIVE_PAGE_TIMEOUT_MS),
    ]);
    const namesRead = new Set<string>();
    const removedNames = new Set(
      events.filter(({ kind }) => kind === 'remove project').map(({ name }) => name),
    );
    await forEachConcurrently(names, MAX_CONCURRENT_PAGES, async (name) => {
      if (pageSignal.aborted || this.#rateLimiter.isBackingOff()) return;
      try {
        if (
          await this.#readPage(name, { describe: true, agreed: removedNames.has(name), signal: pageSignal })
        )
          namesRead.add(name);
      } catch (error) {
        rethrowUnexpected(error);
        if (error instanceof ThrottledError) this.#backOff('pages', error);
        else this.log.debug('page could not be read', { package: name }, error);
      }
    });
    await this.#queuePageFetches(
      names.filter((name) => !namesRead.has(name)),
      true,
    );
    const inOrder = [...events].sort((a, b) => a.time - b.time || a.serial - b.serial);
    await this.#applyEvents(inOrder, await this.#loadPosition());
    const counts = { count: events.length, projects: names.length };
    this.log.info(late ? 'late events applied' : 'events applied', counts);
  }

  /** Fetches the pages that are due, as fast as the rate limit allows. */
  async #readPages(): Promise<void> {
    const limit = Math.min(this.#settings.pagesPerSecond * PAGE_BATCH.seconds, PAGE_BATCH.max);
    for (let fetchedCount = limit; fetchedCount === limit && this.#canContinue();) {
      const { fetches: dueFetches } = await this.#feed.request('DUEFETCHES', { limit });
      fetchedCount = dueFetches.length;
      const unwatched = dueFetches.map(([name]) => name).filter((name) => !this.#watchList.has(name));
      if (unwatched.length > 0)
        await this.#feed.request('CANCELFETCH', { fence: this.context.assertLeader(), names: unwatched });
      await forEachConcurrently(dueFetches, MAX_CONCURRENT_PAGES, async ([name, etag, described]) => {
        if (!this.#canContinue() || !this.#watchList.has(name)) return;
        try {
          await this.#readPage(name, { etag, describe: !described, signal: this.#stopController.signal });
        } catch (error) {
          if (this.isStopping()) return;
          rethrowUnexpected(error);
          await this.#feed.request('FAILED', { fence: this.context.assertLeader(), package: name });
          if (error instanceof ThrottledError) this.#backOff('pages', error);
          else this.log.warning('page could not be read', { package: name }, error);
        }
      });
    }
  }

  /**
   * Fetches a project's page and applies it. Returns false if the page was outdated. `agreed` means that
   * another source confirms that the project is gone.
   */
  async #readPage(
    name: string,
    options: { etag?: string | null; describe?: boolean; agreed?: boolean; signal: AbortSignal },
  ): Promise<boolean> {
    const { index, json, contact, removalDelayS } = this.#settings;
    await this.#rateLimiter.acquire(options.signal);
    const page = await readProject(index, name, {
      etag: options.etag ?? null,
      json: options.describe ? json : null,
      contact,
      signal: options.signal,
    });
    const fence = this.context.assertLeader();
    if (page === 'missing') {
      await this.#feed.request('MISSING', { fence, package: name, confirmed: options.agreed ?? false });
    } else if (page === 'same') {
      const { unsettled } = await this.#feed.request('SAME', { fence, package: name });
      if (unsettled) await this.#readVersionList(name, options.signal);
    } else {
      const { stale, unsettled } = await this.#feed.request('PAGE', {
        fence,
        package: name,
        serial: page.serial,
        status: page.status,
        etag: page.etag,
        description: page.description,
        releases: page.releases.map((release) => this.#toRelease(release, false)),
        removal_delay_s: removalDelayS,
      });
      if (unsettled) await this.#readVersionList(name, options.signal);
      return !stale;
    }
    return true;
  }

  async #readVersionList(name: string, signal: AbortSignal): Promise<void> {
    const { json, contact } = this.#settings;
    const list = json === null ? undefined : await readReleaseList(json, name, { contact, signal });
    if (list === undefined) return;
    const { serial, versions } = list;
    await this.#feed.request('LIST', {
      fence: this.context.assertLeader(),
      package: name,
      serial,
      versions: [...versions],
    });
  }

  async #loadKnownProjects(): Promise<readonly KnownProject[]> {
    const allProjects: KnownProject[] = [];
    for (let after = ''; ;) {
      const { projects } = await this.#feed.request('KNOWN', { after, limit: MAX_PROJECTS_PER_MESSAGE });
      for (const [name, serial, looked, cheap, fed] of projects)
        allProjects.push({ name, serial, looked, cheap, fed });
      const last = projects.at(-1);
      if (!last || projects.length < MAX_PROJECTS_PER_MESSAGE) return allProjects;
      after = last[0];
    }
  }

  async #queuePageFetches(names: readonly string[], urgent: boolean): Promise<void> {
    for (let offset = 0; offset < names.length; offset += MAX_PROJECTS_PER_MESSAGE) {
      const batch = names.slice(offset, offset + MAX_PROJECTS_PER_MESSAGE);
      await this.#feed.request('QUEUEFETCH', { fence: this.context.assertLeader(), names: batch, urgent });
    }
  }

  /** Adds the new releases of a package that the watch list names. */
  async #addReleases(name: string, wanted: readonly WantedRelease[]): Promise<void> {
    this.context.assertLeader();
    const { created } = await this.#oracle.request('NEWVER', {
      package: name,
      origin: 'feed',
      releases: wanted.map(({ release, requested }) => this.#toRelease(release, requested)),
    });
    if (created > 0) this.log.info('releases added', { package: name, count: created });
  }

  #toRelease(release: IndexRelease, requested: boolean): Release {
    const isRecent = release.released !== null && this.clock.now() - release.released.getTime() < DAY_MS;
    return {
      version: release.version,
      released: release.released?.getTime() ?? null,
      yanked: release.yanked,
      has_sdist: release.hasSdist,
      sdist_url: release.sdistUrl,
      sdist_sha256: release.sdistSha256,
      requires_python: release.requiresPython,
      priority: requested ? PRIORITY.request : isRecent ? PRIORITY.release : PRIORITY.backlog,
    };
  }
}
