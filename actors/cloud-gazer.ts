import { Actor, type ActorContext } from '../src/actor/actor.js';
import { Client } from '../src/actor/client.js';
import { PiwError } from '../src/errors.js';
import { feed, projectToTuple, versionToTuple } from '../src/protocols/feed.js';
import { PRIORITY, oracle, type Release } from '../src/protocols/oracle.js';
import type { ChangeEvent, Changelog } from '../src/pypi/changelog.js';
import type { Known } from '../src/pypi/compare.js';
import { fold } from '../src/pypi/fold.js';
import { Throttled } from '../src/pypi/http.js';
import type { SimpleIndex } from '../src/pypi/index-reader.js';
import { LogReader } from '../src/pypi/log-reader.js';
import { NamesReader } from '../src/pypi/names-reader.js';
import { Pace, each } from '../src/pypi/pace.js';
import { readProject, readReleaseList } from '../src/pypi/project-page.js';
import type { Release as IndexRelease } from '../src/pypi/releases.js';
import type { Position } from '../src/pypi/reorder.js';
import { RootReader, type RootFollower } from '../src/pypi/root-reader.js';
import type { Wanted } from '../src/pypi/watch.js';
import { WatchList, readWatchList, type WatchSettings } from '../src/pypi/watch-list.js';

export interface CloudGazerSettings {
  readonly index: SimpleIndex;
  /** PyPI's own; any other index has none, and its root is read instead. */
  readonly changelog: Changelog | undefined;
  /** The address of PyPI's JSON API. */
  readonly json: string | null;
  readonly watch: WatchSettings;
  /** Of a name without a version: all releases, or the newest and those that come after it. */
  readonly history: 'all' | 'newest';
  readonly pollS: number;
  /** Pages of projects in a second, at most. */
  readonly rate: number;
  readonly removalDelayS: number;
  /** Of a hundred packages no more than so many go at once without a word. */
  readonly removalShare: number;
  readonly contact: string | null;
}

const DAY_MS = 24 * 3_600_000;
/** How many pages are asked for at the same time, and how long a release waits for its project's page. */
const AT_ONCE = 4;
const PAGE_WAIT_MS = 5000;
/** How many seconds' pages are listed at once, and how many at most: what becomes urgent waits for no more. */
const LIST = { seconds: 5, most: 1000 };
/** How many projects one message names. */
const KNOWN = 50_000;

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
  readonly #database: Client<typeof oracle.verbs>;
  readonly #feed: Client<typeof feed.verbs>;
  readonly #ending = new AbortController();
  readonly #pace: Pace;
  #reader: LogReader | undefined;
  #root: RootReader;
  readonly #names: NamesReader;
  #watch = new WatchList([], { empty: 'nothing', contents: null });
  /** What was wrong with the watch list when it was last read. */
  #badList: string | undefined;

  constructor(context: ActorContext, settings: CloudGazerSettings) {
    super(context);
    this.#settings = settings;
    this.#pace = new Pace(this.clock, settings.rate);
    const patient = { timeoutMs: 30_000, patienceMs: 60_000 };
    this.#database = new Client(this.bus, oracle, undefined, patient);
    this.#feed = new Client(this.bus, feed, undefined, patient);
    this.#reader = settings.changelog && this.#logReader(settings.changelog);
    this.#root = this.#rootReader();
    this.#names = new NamesReader(settings.index, settings.history, this.#pace, {
      goesOn: () => this.#goesOn(),
      found: (name, wanted) => this.#found(name, wanted),
      failed: (name, error) => {
        if (error instanceof Throttled) this.#rest('names', error);
        else this.log.warning(`${name}: ${error.message}`);
      },
      warn: (text) => {
        this.log.warning(text);
      },
    });
  }

  #logReader(changelog: Changelog): LogReader {
    return new LogReader(changelog, {
      now: () => this.clock.now(),
      goesOn: () => this.#goesOn(),
      watches: (name) => this.#watch.has(name),
      position: () => this.#position(),
      seen: (events, late) => this.#live(events, late),
      settled: (events, position) => this.#act(events, position),
      say: (text) => {
        this.log.info(text);
      },
    });
  }

  #rootReader(): RootReader {
    const { index, rate, pollS, removalShare } = this.#settings;
    const follower: RootFollower = {
      now: () => this.clock.now(),
      known: () => this.#known(),
      compared: async () => (await this.#feed.ask('POSITION', {})).position,
      keep: async (held) => {
        if (held !== null)
          this.log.error(
            `the index has ${String(held)} packages no more: none is removed unless you say so with ` +
              `piw feed --accept ${String(held)}`,
          );
        await this.#feed.ask('COMPARED', { fence: this.context.fence(), held });
      },
      want: (names, urgent) => this.#wantLooks(names, urgent),
      vanished: async (name) => {
        await this.#readPage(name, { agreed: true, signal: this.#ending.signal });
      },
      warn: (text) => {
        this.log.warning(text);
      },
    };
    return new RootReader(index, follower, {
      urgent: this.#reader === undefined,
      removalShare,
      pages: Math.ceil(rate * pollS),
    });
  }

  override start(): void {
    const { pollS } = this.#settings;
    this.every(pollS, () => {
      this.#lookAtList();
    });
    this.every(pollS, () => this.#poll());
    this.every(1, () => this.#ofIndex('pages', () => this.#readPages()));
    if (this.#reader) this.every(600, () => this.#ofIndex('root', () => this.#compareDaily()), 60);
  }

  protected override stopped(): void {
    this.#ending.abort();
  }

  override async stop(): Promise<void> {
    this.#ending.abort();
    await super.stop();
  }

  /** A list that can't be read leaves the old one in force: somebody may just be writing it. */
  #lookAtList(): void {
    const before = this.#watch;
    try {
      this.#watch = readWatchList(this.#settings.watch, before);
      if (this.#watch !== before) this.log.info(`what is followed: ${String(this.#watch)}`);
      this.#badList = undefined;
    } catch (error) {
      if (!(error instanceof PiwError)) throw error;
      if (error.message !== this.#badList)
        this.log.warning(`${error.message}; until it is corrected, what is followed is ${String(before)}`);
      this.#badList = error.message;
    }
  }

  async #poll(): Promise<void> {
    const { signal } = this.#ending;
    if (this.#watch.follows === 'names')
      await this.#carefully('names', () => this.#names.read(this.#watch.names.values(), signal));
    await this.#ofIndex('log', () => this.#follow(signal));
    if (this.#root.isNew(this.#watch)) await this.#ofIndex('root', () => this.#compareDaily());
  }

  /** Reads on in the changelog; or, of an index that has none, its root. */
  async #follow(signal: AbortSignal): Promise<void> {
    if (this.#reader) {
      try {
        await this.#reader.read(signal);
        return;
      } catch (error) {
        await this.#giveUpLog(error);
      }
    }
    await this.#root.poll(this.#watch, signal);
  }

  /** Does without a changelog where there is none; raises what else was wrong. One that was followed is only away. */
  async #giveUpLog(error: unknown): Promise<void> {
    const isMissing = error instanceof PiwError && error.code === 'PIW_NO_CHANGELOG';
    if (!isMissing || (await this.#position()).read > 0) throw error;
    this.log.warning(
      `${error.message}: there is no changelog (pypi-xmlrpc); the pages of ${this.#settings.index.url} are followed instead`,
    );
    this.#reader = undefined;
    this.#root = this.#rootReader();
  }

  async #compareDaily(): Promise<void> {
    // Not before the log was read: until then there is nothing to compare with.
    if (this.#reader?.hasRead ?? true) await this.#root.daily(this.#watch, this.#ending.signal);
  }

  /** Does it if it takes more than a look at each of a few names to follow what is watched. */
  async #ofIndex(which: string, what: () => Promise<void>): Promise<void> {
    const { follows } = this.#watch;
    if (follows === 'patterns' || follows === 'all') await this.#carefully(which, what);
  }

  /** What goes wrong with the index is said, and the index is left alone for a while. */
  async #carefully(which: string, what: () => Promise<void>): Promise<void> {
    if (this.#pace.isResting()) return;
    try {
      await what();
      if (!this.#pace.isResting()) this.#pace.well(which);
    } catch (error) {
      if (this.isStopping()) return;
      if (!(error instanceof PiwError)) throw error;
      this.#rest(which, error);
    }
  }

  #rest(which: string, error: PiwError): void {
    const ms = this.#pace.rest(which, error);
    this.log.warning(`${error.message}; left alone for ${(ms / 1000).toFixed(0)} s`);
  }

  /** Whether the index may be asked for more. */
  #goesOn(): boolean {
    return !this.isStopping() && !this.paused && !this.#pace.isResting();
  }

  async #position(): Promise<Position> {
    const { serial, read, cut_time, cut_serial } = (await this.#feed.ask('POSITION', {})).position;
    return { serial, read, cutTime: cut_time, cutSerial: cut_serial };
  }

  /** Acts upon events, and keeps how far they reach. */
  async #act(events: readonly ChangeEvent[], position: Position): Promise<void> {
    const { projects, versions } = fold(events);
    await this.#feed.ask('EVENTS', {
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
  async #live(events: readonly ChangeEvent[], late: boolean): Promise<void> {
    const names = [...new Set(events.map(({ name }) => name))];
    const soon = AbortSignal.any([this.#ending.signal, AbortSignal.timeout(PAGE_WAIT_MS)]);
    const read = new Set<string>();
    const removed = new Set(events.filter(({ kind }) => kind === 'remove project').map(({ name }) => name));
    await each(names, AT_ONCE, async (name) => {
      if (soon.aborted || this.#pace.isResting()) return;
      try {
        if (await this.#readPage(name, { describe: true, agreed: removed.has(name), signal: soon }))
          read.add(name);
      } catch (error) {
        if (!(error instanceof PiwError)) throw error;
        if (error instanceof Throttled) this.#rest('pages', error);
        else this.log.debug(`${name}: ${error.message}`);
      }
    });
    await this.#wantLooks(
      names.filter((name) => !read.has(name)),
      true,
    );
    const inOrder = [...events].sort((a, b) => a.time - b.time || a.serial - b.serial);
    await this.#act(inOrder, await this.#position());
    this.log.info(
      `${String(events.length)} ${late ? 'late ' : ''}events of ${String(names.length)} projects`,
    );
  }

  /** Reads the pages that are due, as fast as the index may be asked for them. */
  async #readPages(): Promise<void> {
    const limit = Math.min(this.#settings.rate * LIST.seconds, LIST.most);
    for (let listed = limit; listed === limit && this.#goesOn();) {
      const { looks } = await this.#feed.ask('LOOKS', { limit });
      listed = looks.length;
      const dropped = looks.map(([name]) => name).filter((name) => !this.#watch.has(name));
      if (dropped.length > 0) await this.#feed.ask('FORGET', { fence: this.context.fence(), names: dropped });
      await each(looks, AT_ONCE, async ([name, etag, described]) => {
        if (!this.#goesOn() || !this.#watch.has(name)) return;
        try {
          await this.#readPage(name, { etag, describe: !described, signal: this.#ending.signal });
        } catch (error) {
          if (this.isStopping()) return;
          if (!(error instanceof PiwError)) throw error;
          await this.#feed.ask('FAILED', { fence: this.context.fence(), package: name });
          if (error instanceof Throttled) this.#rest('pages', error);
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
    how: { etag?: string | null; describe?: boolean; agreed?: boolean; signal: AbortSignal },
  ): Promise<boolean> {
    const { index, json, contact, removalDelayS } = this.#settings;
    await this.#pace.turn(how.signal);
    const page = await readProject(index, name, {
      ...{ etag: how.etag ?? null, json: how.describe ? json : null, contact, signal: how.signal },
    });
    const fence = this.context.fence();
    if (page === 'missing') {
      await this.#feed.ask('MISSING', { fence, package: name, agreed: how.agreed ?? false });
    } else if (page === 'same') {
      const { unsettled } = await this.#feed.ask('SAME', { fence, package: name });
      if (unsettled) await this.#readList(name, how.signal);
    } else {
      const { stale, unsettled } = await this.#feed.ask('PAGE', {
        ...{ fence, package: name, serial: page.serial, status: page.status, etag: page.etag },
        description: page.description,
        releases: page.releases.map((release) => this.#release(release, false)),
        removal_delay_s: removalDelayS,
      });
      if (unsettled) await this.#readList(name, how.signal);
      return !stale;
    }
    return true;
  }

  async #readList(name: string, signal: AbortSignal): Promise<void> {
    const { json, contact } = this.#settings;
    const list = json === null ? undefined : await readReleaseList(json, name, { contact, signal });
    if (list === undefined) return;
    const { serial, versions } = list;
    await this.#feed.ask('LIST', {
      fence: this.context.fence(),
      package: name,
      serial,
      versions: [...versions],
    });
  }

  async #known(): Promise<readonly Known[]> {
    const known: Known[] = [];
    for (let after = ''; ;) {
      const { projects } = await this.#feed.ask('KNOWN', { after, limit: KNOWN });
      for (const [name, serial, looked, cheap, fed] of projects)
        known.push({ name, serial, looked, cheap, fed });
      const last = projects.at(-1);
      if (!last || projects.length < KNOWN) return known;
      after = last[0];
    }
  }

  async #wantLooks(names: readonly string[], urgent: boolean): Promise<void> {
    for (let at = 0; at < names.length; at += KNOWN) {
      const some = names.slice(at, at + KNOWN);
      await this.#feed.ask('LOOK', { fence: this.context.fence(), names: some, urgent });
    }
  }

  /** What is new of a package that was named. */
  async #found(name: string, wanted: readonly Wanted[]): Promise<void> {
    this.context.fence();
    const { created } = await this.#database.ask('NEWVER', {
      package: name,
      origin: 'feed',
      releases: wanted.map(({ release, requested }) => this.#release(release, requested)),
    });
    if (created > 0) this.log.info(`${name}: ${String(created)} new releases`);
  }

  #release(release: IndexRelease, requested: boolean): Release {
    const today = release.released !== null && this.clock.now() - release.released.getTime() < DAY_MS;
    return {
      version: release.version,
      released: release.released?.getTime() ?? null,
      yanked: release.yanked,
      has_sdist: release.hasSdist,
      sdist_url: release.sdistUrl,
      sdist_sha256: release.sdistSha256,
      requires_python: release.requiresPython,
      priority: requested ? PRIORITY.request : today ? PRIORITY.release : PRIORITY.backlog,
    };
  }
}
