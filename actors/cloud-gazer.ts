import { Actor, type ActorContext } from '../src/actor/actor.js';
import { Client } from '../src/actor/client.js';
import { PiwError } from '../src/errors.js';
import { feed, projectToTuple, versionToTuple } from '../src/protocols/feed.js';
import { PRIORITY, oracle, type Release } from '../src/protocols/oracle.js';
import type { ChangeEvent, Changelog, ReadEvent } from '../src/pypi/changelog.js';
import { fold } from '../src/pypi/fold.js';
import { Throttled } from '../src/pypi/http.js';
import type { IndexRoot, SimpleIndex } from '../src/pypi/index-reader.js';
import { Pace } from '../src/pypi/pace.js';
import { readProject, readReleaseList } from '../src/pypi/project-page.js';
import { releases, type Release as IndexRelease } from '../src/pypi/releases.js';
import { Reorder } from '../src/pypi/reorder.js';
import { select, type Watched } from '../src/pypi/watch.js';
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
/** Further behind than so many events, history is read: without a look at each project on the way. */
const BEHIND = 2000;
/** How many events go to the database at once. */
const BATCH = 10_000;
/** How many pages are asked for at the same time, and how long a release waits for its project's page. */
const AT_ONCE = 4;
const PAGE_WAIT_MS = 5000;
/** How many seconds' pages are listed at once, and how many at most: what becomes urgent waits for no more. */
const LIST = { seconds: 5, most: 1000 };
/** Fewer packages than this never wait for a word. */
const FEW = 10;
/** An index that says nothing of what has changed is read again and again only if it is no larger. */
const SMALL = 200;
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
  readonly #missing = new Set<string>();
  readonly #ending = new AbortController();
  readonly #pace: Pace;
  #watch = new WatchList([], { empty: 'nothing', contents: null });
  /** What was wrong with the watch list when it was last read. */
  #badList: string | undefined;
  /** The watch list for which everything was last compared with the root. */
  #comparedFor: WatchList | undefined;
  #reorder: Reorder<ReadEvent> | undefined;
  #rootEtag: string | undefined;
  #hasSerials = false;
  /** It was said that changes are missed. */
  #saidBlind = false;
  /** The highest serial that the database knows to be read. */
  #saved = -1;

  constructor(context: ActorContext, settings: CloudGazerSettings) {
    super(context);
    this.#settings = settings;
    this.#pace = new Pace(this.clock, settings.rate);
    const patient = { timeoutMs: 30_000, patienceMs: 60_000 };
    this.#database = new Client(this.bus, oracle, undefined, patient);
    this.#feed = new Client(this.bus, feed, undefined, patient);
  }

  override start(): void {
    const { pollS, changelog } = this.#settings;
    this.every(pollS, () => {
      this.#lookAtList();
    });
    this.every(pollS, () => this.#poll());
    this.every(1, () => this.#ofIndex('pages', () => this.#readPages()));
    if (changelog) this.every(600, () => this.#ofIndex('root', () => this.#compareDaily()), 60);
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
    if (this.#watch.follows === 'names') await this.#carefully('names', () => this.#lookAtNames());
    const { changelog } = this.#settings;
    await this.#ofIndex('log', () => (changelog ? this.#readLog(changelog) : this.#readRoot()));
    if (this.#isNewList()) await this.#ofIndex('root', () => this.#compareDaily());
  }

  /** Does it if it takes more than a look at each of a few names to follow what is watched. */
  async #ofIndex(which: string, what: () => Promise<void>): Promise<void> {
    const { follows } = this.#watch;
    if (follows === 'patterns' || follows === 'all') await this.#carefully(which, what);
  }

  /** Whether what it names may be unknown although it isn't new. */
  #isNewList(): boolean {
    return this.#watch.follows === 'patterns' && this.#watch !== this.#comparedFor;
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

  async #position(): Promise<Reorder<ReadEvent>> {
    if (this.#reorder) return this.#reorder;
    const { position } = await this.#feed.ask('POSITION', {});
    const { serial, read, cut_time, cut_serial } = position;
    return (this.#reorder = new Reorder({ serial, read, cutTime: cut_time, cutSerial: cut_serial }));
  }

  /** Reads the log to its end. */
  async #readLog(changelog: Changelog): Promise<void> {
    const reorder = await this.#position();
    const last = await changelog.lastSerial(this.#ending.signal);
    if (last < reorder.position.read) {
      const read = String(reorder.position.read);
      throw new PiwError(
        'PIW_INDEX',
        `the last serial is ${String(last)}, and events up to ${read} are known`,
      );
    }
    const { serial: settled, read: known } = reorder.position;
    if (last === known && settled === known) {
      await this.#settle(reorder, 'end');
      return;
    }
    const history = last - known > BEHIND;
    // Near the end what is not settled yet is read again: a serial may turn up after higher ones.
    let from = history ? known : settled;
    const page = () => {
      const asked = changelog.since(from, this.#ending.signal);
      // It is asked for ahead of need: what is wrong with it is seen when it is looked at.
      asked.catch(() => undefined);
      return asked;
    };
    let next = page();
    while (from < last && this.#goesOn()) {
      const events = await next;
      if (events.length === 0) {
        const text = `the changelog gave no event after ${String(from)}, and it ends at ${String(last)}`;
        throw new PiwError('PIW_INDEX', text);
      }
      from = events.reduce((highest, { serial }) => Math.max(highest, serial), from);
      if (from < last) next = page();
      const fresh = reorder
        .push(events)
        .filter(isChange)
        .filter(({ name }) => this.#watch.has(name));
      const late = reorder
        .takeLate()
        .filter(isChange)
        .filter(({ name }) => this.#watch.has(name));
      await this.#live(late, true);
      if (!history) await this.#live(fresh);
      await this.#settle(reorder, from >= last ? 'end' : history ? 'history' : 'near');
      if (history) this.log.info(`events up to ${String(from)} of ${String(last)} are read`);
    }
  }

  /** Acts upon what nothing can come before any more, in its order. */
  async #settle(reorder: Reorder<ReadEvent>, where: 'history' | 'near' | 'end'): Promise<void> {
    for (;;) {
      const before = reorder.position;
      const ripe = reorder.ripe(BATCH, this.clock.now() / 1000, where);
      const { serial, read, cutTime, cutSerial } = ripe.position;
      if (ripe.events.length === 0 && serial === before.serial && this.#saved === read) return;
      const { projects, versions } = fold(
        ripe.events.filter(isChange).filter(({ name }) => this.#watch.has(name)),
      );
      await this.#feed.ask('EVENTS', {
        fence: this.context.fence(),
        position: [serial, read, cutTime, cutSerial],
        projects: projects.map(projectToTuple),
        versions: versions.map(versionToTuple),
      });
      reorder.done(ripe);
      this.#saved = read;
      if (ripe.events.length < BATCH || this.isStopping()) return;
    }
  }

  /**
   * Acts upon events the moment they are seen: first the pages of their projects, which say all that there
   * is to know of a release, and then the events themselves, for what no page says and in case it couldn't
   * be read. They come once more in their order, when they have settled.
   *
   * What comes too `late` for that is acted upon now and never again. A page that couldn't be read now is the
   * next to be: it settles which event was the last.
   */
  async #live(events: readonly ChangeEvent[], late = false): Promise<void> {
    if (events.length === 0) return;
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
    const fence = this.context.fence();
    const unread = names.filter((name) => !read.has(name));
    await this.#wantLooks(unread, true);
    const inOrder = [...events].sort((a, b) => a.time - b.time || a.serial - b.serial);
    const { projects, versions } = fold(inOrder);
    const { position } = await this.#feed.ask('POSITION', {});
    await this.#feed.ask('EVENTS', {
      fence,
      position: [position.serial, position.read, position.cut_time, position.cut_serial],
      projects: projects.map(projectToTuple),
      versions: versions.map(versionToTuple),
    });
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

  /** An index without a changelog: its root says what has changed. */
  async #readRoot(): Promise<void> {
    const { index } = this.#settings;
    const root = await index.root({ etag: this.#rootEtag, signal: this.#ending.signal });
    if ('notModified' in root) await this.#compareDaily();
    else {
      await this.#compare(root);
      this.#rootEtag = root.etag;
      this.#hasSerials = [...root.projects.values()].some((serial) => serial > 0);
    }
    if (!this.#hasSerials) await this.#inTurn();
  }

  /** No serial says what has changed: the pages, longest not looked at first, as many as one interval has time for. */
  async #inTurn(): Promise<void> {
    const { rate, pollS } = this.#settings;
    const known = (await this.#known()).filter(({ name }) => this.#watch.has(name));
    // Without an ETag each look costs a whole page: that is for a few, or for what somebody wants.
    const atAnyCost = this.#watch.follows !== 'all' || known.length <= SMALL;
    const isPassed = ({ looked, cheap }: Known) => !atAnyCost && !cheap && looked !== 0;
    const idle = known.flatMap((one) =>
      one.looked === null || isPassed(one) ? [] : [{ name: one.name, looked: one.looked }],
    );
    idle.sort((a, b) => a.looked - b.looked);
    await this.#wantLooks(
      idle.slice(0, Math.ceil(rate * pollS)).map(({ name }) => name),
      false,
    );
    if (this.#saidBlind || !known.some((one) => one.looked !== null && isPassed(one))) return;
    this.#saidBlind = true;
    this.log.warning(
      'the index has neither serials nor ETags: of what it has, only new names are seen; watch the others ' +
        'by name or pattern',
    );
  }

  async #compareDaily(): Promise<void> {
    const { position } = await this.#feed.ask('POSITION', {});
    // Not before the log was read to its end: until then there is nothing to compare with.
    if (this.#settings.changelog && (this.#saved < 0 || position.read === 0)) return;
    const { compared, held, accepted } = position;
    const isDue = compared === null || this.clock.now() - compared >= DAY_MS || held !== null;
    if (!this.#isNewList() && (!isDue || (held !== null && accepted < held))) return;
    const root = await this.#settings.index.root({ signal: this.#ending.signal });
    if (!('notModified' in root)) await this.#compare(root);
  }

  async #known(): Promise<readonly Known[]> {
    const known: Known[] = [];
    for (let after = ''; ;) {
      const { projects } = await this.#feed.ask('KNOWN', { after, limit: KNOWN });
      for (const [name, serial, looked, cheap] of projects) known.push({ name, serial, looked, cheap });
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

  /** Finds what the root has and we don't, what has changed, and what it has no more. */
  async #compare(root: IndexRoot): Promise<void> {
    const watch = this.#watch;
    const known = new Map((await this.#known()).map(({ name, serial }) => [name, serial] as const));
    const due: string[] = [];
    for (const [name, serial] of root.projects) {
      const its = known.get(name);
      if ((its === undefined || serial > its) && this.#watch.has(name)) due.push(name);
      known.delete(name);
    }
    await this.#wantLooks(due, !this.#settings.changelog);
    await this.#vanished(
      [...known.keys()].filter((name) => this.#watch.has(name)),
      root.projects.size,
    );
    this.#comparedFor = watch;
  }

  /** A project that the root has no more is gone if its page is, too. Many at once wait for a word. */
  async #vanished(names: readonly string[], all: number): Promise<void> {
    const { position } = await this.#feed.ask('POSITION', {});
    const most = Math.max(FEW, (all * this.#settings.removalShare) / 100, position.accepted);
    if (names.length > most) {
      this.log.error(
        `the index has ${String(names.length)} packages no more: none is removed unless you say so with ` +
          `piw feed --accept ${String(names.length)}`,
      );
      await this.#feed.ask('COMPARED', { fence: this.context.fence(), held: names.length });
      return;
    }
    for (const name of names) {
      if (this.isStopping()) return;
      await this.#readPage(name, { agreed: true, signal: this.#ending.signal });
    }
    await this.#feed.ask('COMPARED', { fence: this.context.fence(), held: null });
  }

  /** A farm of a few packages: each one's page, at every interval. */
  async #lookAtNames(): Promise<void> {
    for (const watched of this.#watch.names.values()) {
      if (!this.#goesOn()) return;
      try {
        await this.#project(watched);
      } catch (error) {
        if (this.isStopping()) return;
        if (!(error instanceof PiwError)) throw error;
        if (error instanceof Throttled) this.#rest('names', error);
        else this.log.warning(`${watched.name}: ${error.message}`);
      }
    }
  }

  async #project(watched: Watched): Promise<void> {
    await this.#pace.turn(this.#ending.signal);
    const answer = await this.#settings.index.project(watched.name, {
      signal: this.#ending.signal,
      ...(watched.etag === undefined ? {} : { etag: watched.etag }),
    });
    if (answer === undefined) {
      if (!this.#missing.has(watched.name)) this.log.warning(`the index has no project ${watched.name}`);
      this.#missing.add(watched.name);
      return;
    }
    this.#missing.delete(watched.name);
    if ('notModified' in answer) return;
    const { wanted, missing } = select(watched, releases(answer), this.#settings.history);
    for (const version of missing) this.log.warning(`the index has no ${watched.name} ${version}`);
    this.context.fence();
    const { created } = await this.#database.ask('NEWVER', {
      package: watched.name,
      origin: 'feed',
      releases: wanted.map(({ release, requested }) => this.#release(release, requested)),
    });
    if (created > 0) this.log.info(`${watched.name}: ${String(created)} new releases`);
    // Only now: had the database refused them, the next look must see them again.
    watched.etag = answer.etag;
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

/** What the database has of a project: see KNOWN. */
interface Known {
  readonly name: string;
  readonly serial: number;
  readonly looked: number | null;
  readonly cheap: boolean;
}

const isChange = (event: ReadEvent): event is ChangeEvent => event.kind !== null;

/** Does it for each, some at a time. */
async function each<T>(items: readonly T[], atOnce: number, what: (item: T) => Promise<void>): Promise<void> {
  const waiting = [...items];
  const work = async () => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await what(item);
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, work));
}
