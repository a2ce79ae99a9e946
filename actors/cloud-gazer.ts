import { Actor, type ActorContext } from '../src/actor/actor.js';
import { ProtocolClient } from '../src/actor/client.js';
import { PiwError } from '../src/errors.js';
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
import { IndexRateLimiter, forEachConcurrently } from '../src/pypi/pace.js';
import { readProject, readReleaseList } from '../src/pypi/project-page.js';
import type { ProjectRelease as IndexRelease } from '../src/pypi/releases.js';
import type { ChangelogPosition } from '../src/pypi/reorder.js';
import { RootReader, type RootFollower } from '../src/pypi/root-reader.js';
import type { WantedRelease } from '../src/pypi/watch.js';
import { WatchList, readWatchList, type WatchSettings } from '../src/pypi/watch-list.js';

export interface CloudGazerSettings {
  readonly index: SimpleIndexClient;
  /** PyPI's own; any other index has none, and its root is read instead. */
  readonly changelog: Changelog | undefined;
  /** The address of PyPI's JSON API. */
  readonly json: string | null;
  readonly watch: WatchSettings;
  /** Of a name without a version: all releases, or the newest and those that come after it. */
  readonly history: 'all' | 'newest';
  readonly pollS: number;
  /** Pages of projects in a second, at most. */
  readonly pagesPerSecond: number;
  readonly removalDelayS: number;
  /** Of a hundred packages no more than so many go at once without a word. */
  readonly removalShare: number;
  readonly contact: string | null;
}

const DAY_MS = 24 * 3_600_000;
/** How many pages are asked for at the same time, and how long a release waits for its project's page. */
const MAX_CONCURRENT_PAGES = 4;
const LIVE_PAGE_TIMEOUT_MS = 5000;
/** How many seconds' pages are listed at once, and how many at most: what becomes urgent waits for no more. */
const PAGE_BATCH = { seconds: 5, max: 1000 };
/** How many projects one message names. */
const MAX_PROJECTS_PER_MESSAGE = 50_000;

/**
 * Follows an index, or what a watch list says of it, in the way that both allow:
 *
 *   names      the watch list only names packages: each one's page is read at every interval, by its ETag
 *   changelog  PyPI: the events since the serial in the database. Live ones are acted upon as they come,
 *              and all of them once more in the order in which they happened (src/pypi/reorder.ts,
 *              src/pypi/fold.ts); each touched project's page is read for what events leave out
 *   root       any other index: the pages of those projects whose serial in the root has grown; where it
 *              has no serials all pages in turn by their ETags, and where they have none only those that a
 *              watch list asks for, and new ones
 *
 * Once a day everything is compared with the index's root, and what was missed is repaired; and also when
 * the watch list has changed, for what it names now may be old news. What it names no more is not followed,
 * and nothing else happens to it.
 *
 * An index that can't be reached, or whose answer makes no sense, changes nothing, and is left alone for
 * longer and longer. That a list came back short takes nothing away: see feed-pages.ts in src/database.
 */
export class CloudGazer extends Actor {
  readonly #settings: CloudGazerSettings;
  readonly #database: ProtocolClient<typeof oracle.verbs>;
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
    this.#database = new ProtocolClient(this.bus, oracle, undefined, askOptions);
    this.#feed = new ProtocolClient(this.bus, feed, undefined, askOptions);
    this.#changelogReader = settings.changelog && this.#createLogReader(settings.changelog);
    this.#rootReader = this.#createRootReader();
    this.#namesReader = new NamesReader(settings.index, settings.history, this.#rateLimiter, {
      shouldContinue: () => this.#canContinue(),
      onReleases: (name, wanted) => this.#addReleases(name, wanted),
      onError: (name, error) => {
        if (error instanceof ThrottledError) this.#backOff('names', error);
        else this.log.warning(`${name}: ${error.message}`);
      },
      warn: (text) => {
        this.log.warning(text);
      },
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
      logInfo: (text) => {
        this.log.info(text);
      },
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
            `the index has ${String(held)} packages no more: none is removed unless you say so with ` +
              `piw feed --accept ${String(held)}`,
          );
        await this.#feed.request('COMPARED', { fence: this.context.fence(), held });
      },
      requestPages: (names, urgent) => this.#queuePageFetches(names, urgent),
      onVanished: async (name) => {
        await this.#readPage(name, { agreed: true, signal: this.#stopController.signal });
      },
      warn: (text) => {
        this.log.warning(text);
      },
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

  /** A list that can't be read leaves the old one in force: somebody may just be writing it. */
  #reloadWatchList(): void {
    const previous = this.#watchList;
    try {
      this.#watchList = readWatchList(this.#settings.watch, previous);
      if (this.#watchList !== previous) this.log.info(`what is followed: ${String(this.#watchList)}`);
      this.#watchListError = undefined;
    } catch (error) {
      if (!(error instanceof PiwError)) throw error;
      if (error.message !== this.#watchListError)
        this.log.warning(`${error.message}; until it is corrected, what is followed is ${String(previous)}`);
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

  /** Reads on in the changelog; or, of an index that has none, its root. */
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

  /** Does without a changelog where there is none; raises what else was wrong. One that was followed is only away. */
  async #abandonChangelog(error: unknown): Promise<void> {
    const isMissing = error instanceof PiwError && error.code === 'PIW_NO_CHANGELOG';
    if (!isMissing || (await this.#loadPosition()).read > 0) throw error;
    this.log.warning(
      `${error.message}: there is no changelog (pypi-xmlrpc); the pages of ${this.#settings.index.url} are followed instead`,
    );
    this.#changelogReader = undefined;
    this.#rootReader = this.#createRootReader();
  }

  async #compareDaily(): Promise<void> {
    // Not before the log was read: until then there is nothing to compare with.
    if (this.#changelogReader?.hasRead ?? true)
      await this.#rootReader.compareIfDue(this.#watchList, this.#stopController.signal);
  }

  /** Does it if it takes more than a look at each of a few names to follow what is watched. */
  async #ifFollowingIndex(source: string, action: () => Promise<void>): Promise<void> {
    const { scope } = this.#watchList;
    if (scope === 'patterns' || scope === 'all') await this.#withBackOff(source, action);
  }

  /** What goes wrong with the index is said, and the index is left alone for a while. */
  async #withBackOff(source: string, action: () => Promise<void>): Promise<void> {
    if (this.#rateLimiter.isBackingOff()) return;
    try {
      await action();
      if (!this.#rateLimiter.isBackingOff()) this.#rateLimiter.succeeded(source);
    } catch (error) {
      if (this.isStopping()) return;
      if (!(error instanceof PiwError)) throw error;
      this.#backOff(source, error);
    }
  }

  #backOff(source: string, error: PiwError): void {
    const delayMs = this.#rateLimiter.backOff(source, error);
    this.log.warning(`${error.message}; left alone for ${(delayMs / 1000).toFixed(0)} s`);
  }

  /** Whether the index may be asked for more. */
  #canContinue(): boolean {
    return !this.isStopping() && !this.paused && !this.#rateLimiter.isBackingOff();
  }

  async #loadPosition(): Promise<ChangelogPosition> {
    const { serial, read, cut_time, cut_serial } = (await this.#feed.request('POSITION', {})).position;
    return { serial, read, cutTime: cut_time, cutSerial: cut_serial };
  }

  /** Acts upon events, and keeps how far they reach. */
  async #applyEvents(events: readonly ChangeEvent[], position: ChangelogPosition): Promise<void> {
    const { projects, versions } = foldEvents(events);
    await this.#feed.request('EVENTS', {
      fence: this.context.fence(),
      position: [position.serial, position.read, position.cutTime, position.cutSerial],
      projects: projects.map(projectToTuple),
      versions: versions.map(versionToTuple),
    });
  }

  /**
   * Acts upon events the moment they are seen: first the pages of their projects, which say all that there
   * is to know of a release, and then the events themselves, for what no page says and in case it couldn't
   * be read. They come once more in their order, when they have settled.
   *
   * What comes too `late` for that is acted upon now and never again. A page that couldn't be read now is the
   * next to be: it settles which event was the last.
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
        if (!(error instanceof PiwError)) throw error;
        if (error instanceof ThrottledError) this.#backOff('pages', error);
        else this.log.debug(`${name}: ${error.message}`);
      }
    });
    await this.#queuePageFetches(
      names.filter((name) => !namesRead.has(name)),
      true,
    );
    const inOrder = [...events].sort((a, b) => a.time - b.time || a.serial - b.serial);
    await this.#applyEvents(inOrder, await this.#loadPosition());
    this.log.info(
      `${String(events.length)} ${late ? 'late ' : ''}events of ${String(names.length)} projects`,
    );
  }

  /** Reads the pages that are due, as fast as the index may be asked for them. */
  async #readPages(): Promise<void> {
    const limit = Math.min(this.#settings.pagesPerSecond * PAGE_BATCH.seconds, PAGE_BATCH.max);
    for (let fetchedCount = limit; fetchedCount === limit && this.#canContinue();) {
      const { looks } = await this.#feed.request('LOOKS', { limit });
      fetchedCount = looks.length;
      const unwatched = looks.map(([name]) => name).filter((name) => !this.#watchList.has(name));
      if (unwatched.length > 0)
        await this.#feed.request('FORGET', { fence: this.context.fence(), names: unwatched });
      await forEachConcurrently(looks, MAX_CONCURRENT_PAGES, async ([name, etag, described]) => {
        if (!this.#canContinue() || !this.#watchList.has(name)) return;
        try {
          await this.#readPage(name, { etag, describe: !described, signal: this.#stopController.signal });
        } catch (error) {
          if (this.isStopping()) return;
          if (!(error instanceof PiwError)) throw error;
          await this.#feed.request('FAILED', { fence: this.context.fence(), package: name });
          if (error instanceof ThrottledError) this.#backOff('pages', error);
          else this.log.warning(`${name}: ${error.message}`);
        }
      });
    }
  }

  /**
   * Reads a project's page and acts upon it; false if it was too old. `agreed`: something else says that the
   * project is gone.
   */
  async #readPage(
    name: string,
    options: { etag?: string | null; describe?: boolean; agreed?: boolean; signal: AbortSignal },
  ): Promise<boolean> {
    const { index, json, contact, removalDelayS } = this.#settings;
    await this.#rateLimiter.acquire(options.signal);
    const page = await readProject(index, name, {
      ...{
        etag: options.etag ?? null,
        json: options.describe ? json : null,
        contact,
        signal: options.signal,
      },
    });
    const fence = this.context.fence();
    if (page === 'missing') {
      await this.#feed.request('MISSING', { fence, package: name, agreed: options.agreed ?? false });
    } else if (page === 'same') {
      const { unsettled } = await this.#feed.request('SAME', { fence, package: name });
      if (unsettled) await this.#readVersionList(name, options.signal);
    } else {
      const { stale, unsettled } = await this.#feed.request('PAGE', {
        ...{ fence, package: name, serial: page.serial, status: page.status, etag: page.etag },
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
      fence: this.context.fence(),
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
      await this.#feed.request('LOOK', { fence: this.context.fence(), names: batch, urgent });
    }
  }

  /** What is new of a package that was named. */
  async #addReleases(name: string, wanted: readonly WantedRelease[]): Promise<void> {
    this.context.fence();
    const { created } = await this.#database.request('NEWVER', {
      package: name,
      origin: 'feed',
      releases: wanted.map(({ release, requested }) => this.#toRelease(release, requested)),
    });
    if (created > 0) this.log.info(`${name}: ${String(created)} new releases`);
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
