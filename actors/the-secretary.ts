import { Actor, type ActorContext } from '../src/actor/actor.js';
import { Client } from '../src/actor/client.js';
import { PiwError } from '../src/errors.js';
import { PAGE_LANES, oracle, type PageLane } from '../src/protocols/oracle.js';
import type { Statistics } from '../src/protocols/statistics.js';
import { scribe, secretary } from '../src/protocols/web.js';
import { Backlog, type Saved } from './the-secretary/backlog.js';
import { ALL, Page, ROOT, packageOf, pageOf, verbFor, type Kind, type Wish } from './the-secretary/pages.js';
import { Serials } from './the-secretary/serials.js';

export interface SecretarySettings {
  /** A page is written at most once in so many seconds, and never later than that. */
  readonly bufferS: number;
}

/** How long it goes on writing when it is told to end, milliseconds: less than an actor has to finish. */
const LAST_MS = 7000;
/** How often the backlog in the database is looked at, seconds: what a crash left, and failed builds. */
const LOOK_S = 2;
/** With so many pages in mind whose time has come, or of which it has not, the backlog isn't looked at. */
const ENOUGH = { ready: 500, waiting: 20_000 };
/** Pages that are in Scribes' hands at once: those that people install from. */
const HANDS = 8;
/** The rest are written one at a time, with a pause so many times as long as each took, but for no longer than this. */
const REST = { times: 4, mostMs: 500 };
/** The root of the simple index is written at most this often, milliseconds, and no later than that after a change. */
const ROOT_MS = 10_000;
/** What shows all packages at once may take long: it is written so rarely that it takes no more than this share of the time. */
const SHARE_OF_ALL = 1 / 50;
/**
 * How long a Scribe may take, milliseconds: for a package's pages; for the root at least; and for what shows all
 * packages at most. The root may take so many times as long as the last time: whoever installs is not to wait
 * long for a Scribe that was killed at it.
 */
const PATIENCE_MS = { page: 20_000, root: 10_000, all: 600_000 };
const ROOT_TIMES = 4;
/** How often one page is tried while the disk that all of them are written to is full, milliseconds. */
const FULL_MS = 3000;
/** What could not be written is tried again after 2 s, twice as long at each further time, at most so long. */
const MOST_MS_BETWEEN_TRIES = 30_000;

/**
 * Buffers what is to be written. The first request for a page is written at once; those that come
 * within the buffer's time after that are written together at its end. DELPKG and DELVER are not
 * buffered, and answered when they are written: files that the index names no more can go then. What
 * is due is kept in the database's backlog until it is on the disk, so a crash of this process or of
 * a Scribe loses nothing.
 *
 * Whatever is wished for of one package is one page here (the-secretary/pages.ts), and in one Scribe's hands at
 * a time. Each gets a serial with it, higher than all before: a Scribe that comes too late sees by it that
 * somebody else was faster.
 *
 * The root of the simple index follows: it is due whenever what it says of a package has changed. A package comes
 * into it after its page is written; one that has nothing to offer any more keeps an empty page until a root
 * that doesn't name it is written.
 *
 * While the disk that the pages are written to is full or read-only, one page is tried every few seconds. The others
 * stay due, and are written at once when that one could be.
 *
 * Build logs, project pages alone, and what is to be compressed are written one at a time, with a pause after each: of a
 * storm of failed builds there are thousands, and they are not to slow down what gives out the next ones.
 */
export class TheSecretary extends Actor {
  readonly #pages = new Map<string, Page>();
  /** When each page was written last, for as long as that matters. */
  readonly #written = new Map<string, { at: number; bufferMs: number }>();
  readonly #backlog: Backlog;
  #scribe: Client<typeof scribe.verbs>;
  readonly #all: Client<typeof scribe.verbs>;
  readonly #serials: Serials;
  readonly #bufferMs: number;
  #statistics: Statistics | undefined;
  /** How long each of those that show all packages took the last time, milliseconds. */
  readonly #took = new Map<string, number>();
  #hands = HANDS;
  /** What is ready, each in its order. */
  readonly #lanes: Readonly<Record<PageLane, Page[]>> = { front: [], projects: [], rest: [] };
  /** The one hand for all that people don't install from; projects and the rest take turns. */
  #slowHand: { busy: boolean; turn: PageLane } = { busy: false, turn: 'projects' };
  /** What is not in the backlog gets its notes here: it is due again after every start. */
  #notes = 0;
  /** Why nothing can be written now, and when the next page is tried, milliseconds by the monotonic clock. */
  #stalled: { readonly began: number; nextAt: number } | undefined;
  /** How many roots were begun, and are written. */
  readonly #roots = { begun: 0, done: 0 };

  constructor(context: ActorContext, settings: SecretarySettings) {
    super(context);
    this.#bufferMs = settings.bufferS * 1000;
    const database = new Client(this.bus, oracle, undefined, { timeoutMs: 10_000, patienceMs: 30_000 });
    this.#backlog = new Backlog(database, () => this.context.fence());
    const patient = (ms: number) =>
      new Client(this.bus, scribe, undefined, { timeoutMs: ms, patienceMs: ms });
    this.#scribe = patient(PATIENCE_MS.page);
    this.#all = patient(PATIENCE_MS.all);
    this.#serials = new Serials(async () => database.ask('NEWSERIALS', { fence: this.context.fence() }));
  }

  override start(): void {
    const done = { verb: 'DONE' } as const;
    const noted = async (kind: Kind, argument: string) => {
      this.#wish(await this.#backlog.keep(kind, argument));
      return done;
    };
    const urgent = async (kind: Kind, argument: string) => {
      const wish = await this.#backlog.keep(kind, argument);
      const page = this.#wish(wish);
      await new Promise<void>((resolve) => {
        page.whenMet(wish, resolve);
        page.at = 0;
        this.#makeReady(page);
      });
      return done;
    };
    const again = (kind: Kind) => {
      this.#wishAgain(kind);
      return done;
    };
    this.serve(secretary, {
      HOME: ({ statistics }) => {
        // The newest figures are the ones that count; a crash only waits for the next.
        this.#statistics = statistics;
        this.#wishAgain('HOME');
        return done;
      },
      PKG: ({ package: name }) => noted('PKG', name),
      PROJECT: ({ package: name }) => noted('PROJECT', name),
      LOG: ({ build_id }) => noted('LOG', String(build_id)),
      SEARCH: () => again('SEARCH'),
      SITEMAP: () => again('SITEMAP'),
      ROOT: () => again('ROOT'),
      DELPKG: ({ package: name }) => urgent('DELPKG', name),
      DELVER: ({ package: name, version }) => urgent('DELVER', `${name} ${version}`),
    });
    for (const kind of ['ROOT', 'SEARCH', 'SITEMAP'] as const) this.#wishAgain(kind);
    this.every(LOOK_S, () => this.#look());
    this.every(
      0.25,
      () => {
        for (const page of this.#pages.values()) this.#makeReady(page);
        if (this.#stalled) this.#handOut();
      },
      0.25,
    );
    this.every(60, () => {
      this.#backlog.reread();
      const now = this.clock.monotonicMs();
      for (const [key, { at, bufferMs }] of this.#written) if (at + bufferMs < now) this.#written.delete(key);
    });
  }

  /**
   * What is due is written before it ends, as far as there is time: a farm that was told to build something, and to end
   * then, leaves a whole site. The rest is kept, and found by the next Secretary.
   */
  protected override async stopped(): Promise<void> {
    const end = this.clock.monotonicMs() + LAST_MS;
    try {
      // Another Secretary may be at work by now.
      this.context.fence();
      await this.#look();
    } catch (error) {
      if (!(error instanceof PiwError)) throw error;
      return;
    }
    // Where there is no Scribe any more, it is not waited for.
    this.#scribe = new Client(this.bus, scribe, undefined, { timeoutMs: LAST_MS, once: true });
    // What shows all packages comes last, and only if it is soon done.
    const all = [ROOT, 'SEARCH', 'SITEMAP'];
    const rank = (page: Page): number => all.indexOf(page.key);
    const due = [...this.#pages.values()].sort((a, b) => rank(a) - rank(b));
    for (const page of due) {
      const { unmet, tries, afterRoot, key } = page;
      if (this.clock.monotonicMs() + (this.#took.get(key) ?? 0) > end) return;
      if (unmet && tries === 0 && afterRoot === 0 && verbFor(page.wishes()) !== 'PACK')
        await this.#write(page, () => undefined);
      if (page.tries > tries || this.#stalled) return;
    }
  }

  async #look(): Promise<void> {
    for (const lane of PAGE_LANES) {
      for (let more = true; more && !this.#isEnough(lane);) {
        const wishes = await this.#backlog.more(lane);
        for (const wish of wishes) this.#wish(wish);
        more = wishes.length > 0;
      }
    }
  }

  #isEnough(lane: PageLane): boolean {
    let ready = 0;
    let waiting = 0;
    for (const page of this.#pages.values()) {
      if (page.lane !== lane) continue;
      if (page.state === 'ready') ready += 1;
      else waiting += 1;
    }
    return ready >= ENOUGH.ready || waiting >= ENOUGH.waiting;
  }

  /** The same for what isn't kept in the backlog. */
  #wishAgain(kind: Kind): void {
    this.#notes += 1;
    this.#wish({ kind, argument: '', note: this.#notes });
  }

  #wish(wish: Wish): Page {
    const key = pageOf(wish.kind, wish.argument);
    const last = this.#written.get(key);
    const page = this.#pages.get(key) ?? new Page(key, last === undefined ? 0 : last.at + last.bufferMs);
    this.#pages.set(key, page);
    page.wish(wish);
    this.#makeReady(page);
    return page;
  }

  #makeReady(page: Page): void {
    if (page.state === 'waiting') {
      if (page.at > this.clock.monotonicMs() || page.afterRoot > this.#roots.done) return;
      page.state = 'ready';
      page.queued = undefined;
    }
    if (page.state !== 'ready') return;
    const { lane } = page;
    // What was only to be compressed may be wished for by those who install while it waits for its turn.
    if (page.queued === lane) return;
    page.queued = lane;
    this.#lanes[lane].push(page);
    this.#handOut();
  }

  /** The next of a lane. */
  #next(lane: PageLane): Page | undefined {
    let page = this.#lanes[lane].shift();
    while (page && (page.state !== 'ready' || page.queued !== lane)) page = this.#lanes[lane].shift();
    return page;
  }

  #handOut(): void {
    // What is due at the end is written one by one.
    if (this.isStopping()) return;
    while (this.#hands > 0 && this.#mayTry()) {
      const page = this.#next('front');
      if (!page) break;
      this.#tries();
      this.#hands -= 1;
      void this.track(async () => {
        await this.#write(page, () => {
          // The Scribe can have the next one, while this one is noted as written.
          this.#hands += 1;
          this.#handOut();
        });
      });
    }
    if (this.#slowHand.busy || !this.#mayTry()) return;
    const { turn } = this.#slowHand;
    const other = turn === 'rest' ? 'projects' : 'rest';
    const page = this.#next(turn) ?? this.#next(other);
    if (!page) return;
    this.#tries();
    this.#slowHand = { busy: true, turn: other };
    const began = this.clock.monotonicMs();
    void this.track(() =>
      this.#write(page, () => {
        this.clock.after(Math.min(REST.times * (this.clock.monotonicMs() - began), REST.mostMs), () => {
          this.#slowHand.busy = false;
          this.#handOut();
        });
      }),
    );
  }

  /** `done` is called once, when the Scribe is done with it, or it came to no Scribe. */
  async #write(page: Page, done: () => void): Promise<void> {
    let held = true;
    const free = (): void => {
      if (held) done();
      held = false;
    };
    const wishes = page.wishes();
    const verb = verbFor(wishes);
    page.state = 'writing';
    const began = this.clock.monotonicMs();
    try {
      await this.#meet(page, verb, wishes, free);
      this.#goesOn();
      const now = this.clock.monotonicMs();
      const bufferMs = this.#bufferOf(verb, now - began);
      if (ALL.has(verb)) this.#took.set(page.key, now - began);
      if (verb !== 'PACK') this.#written.set(page.key, { at: now, bufferMs });
      page.tries = 0;
      page.met(wishes);
      page.at = page.urgent || page.afterRoot > 0 ? 0 : now + bufferMs;
      if (!page.unmet) this.#pages.delete(page.key);
    } catch (error) {
      if (!(error instanceof PiwError)) throw error;
      if (this.#stall(error)) {
        page.at = this.clock.monotonicMs();
        return;
      }
      page.tries += 1;
      // It may have been too little time: the next one gets twice as much.
      if (page.key === ROOT)
        this.#took.set(
          ROOT,
          Math.max(this.#took.get(ROOT) ?? 0, ((this.clock.monotonicMs() - began) * 2) / ROOT_TIMES),
        );
      page.at = this.clock.monotonicMs() + Math.min(1000 * 2 ** page.tries, MOST_MS_BETWEEN_TRIES);
      this.log.warning(`${page.key} is not written yet: ${error.message}`);
    } finally {
      free();
      page.state = 'waiting';
      this.#makeReady(page);
    }
  }

  /** Whether an error is about the disk of all pages: then only one of them is tried from now on, every few seconds. */
  #stall(error: PiwError): boolean {
    if (error.code !== 'PIW_DISK_FULL' && error.code !== 'PIW_DISK_READ_ONLY') return false;
    if (!this.#stalled) this.log.warning(`pages wait: ${error.message}`);
    const now = this.clock.monotonicMs();
    this.#stalled = { began: this.#stalled?.began ?? now, nextAt: now + FULL_MS };
    return true;
  }

  /** A page could be written: so can the others. */
  #goesOn(): void {
    if (!this.#stalled) return;
    const seconds = (this.clock.monotonicMs() - this.#stalled.began) / 1000;
    this.log.info(`pages are written again, after ${seconds.toFixed(0)} s`);
    this.#stalled = undefined;
  }

  /** Whether a page may be handed out now. While nothing can be written, that is so for one page at a time. */
  #mayTry(): boolean {
    return !this.#stalled || this.clock.monotonicMs() >= this.#stalled.nextAt;
  }

  /** A page is handed out. */
  #tries(): void {
    if (this.#stalled) this.#stalled.nextAt = this.clock.monotonicMs() + FULL_MS;
  }

  /** How long a page that took so long isn't written again. */
  #bufferOf(verb: Kind, tookMs: number): number {
    // A log is written once, and removed once.
    if (verb === 'LOG') return 0;
    if (verb === 'ROOT') return Math.min(ROOT_MS, this.#bufferMs);
    if (verb === 'SEARCH' || verb === 'SITEMAP') return Math.max(this.#bufferMs, tookMs / SHARE_OF_ALL);
    return this.#bufferMs;
  }

  /** Has a page written, and notes that it is. */
  async #meet(page: Page, verb: Kind, wishes: readonly Wish[], free: () => void): Promise<void> {
    const name = packageOf(wishes[0]?.argument ?? '');
    switch (verb) {
      case 'PKG':
        await this.#package(page, name, wishes, free);
        return;
      case 'PROJECT':
        await this.#underSerial(async (serial) => {
          await this.#scribe.ask('PROJECT', { package: name, serial }).finally(free);
          await this.#note({ written: wishes, next: ['PACK', name] });
        });
        return;
      case 'ROOT':
        await this.#root().finally(free);
        return;
      case 'HOME':
        if (this.#statistics) await this.#scribe.ask('HOME', { statistics: this.#statistics }).finally(free);
        return;
      case 'LOG':
        await this.#scribe.ask('LOG', { build_id: Number(name) }).finally(free);
        break;
      case 'PACK':
        if (name === '')
          await this.#scribe.ask('PACK', { package: null }, this.#rootPatience()).finally(free);
        else await this.#scribe.ask('PACK', { package: name }).finally(free);
        break;
      case 'SEARCH':
      case 'SITEMAP':
        await this.#all.ask(verb, {}).finally(free);
        break;
      default:
        throw new Error(`nobody writes ${verb}`);
    }
    await this.#note({ written: wishes });
  }

  async #package(page: Page, name: string, wishes: readonly Wish[], free: () => void): Promise<void> {
    const leave = page.afterRoot > 0;
    await this.#underSerial(async (serial) => {
      const there = await this.#scribe.ask('PKG', { package: name, serial, leave }).finally(free);
      const leaves = there.serial === null && there.stands;
      await this.#note({
        written: wishes,
        listed: [name, there.serial],
        next: [leaves ? 'PKG' : 'PACK', name],
      });
      page.afterRoot = leaves ? this.#roots.begun + 1 : 0;
      const changed = there.serial === serial || (there.serial === null && !leave);
      if (changed) for (const kind of ['ROOT', 'SEARCH', 'SITEMAP'] as const) this.#wishAgain(kind);
    });
  }

  /** One at a time, as all that is one page. */
  async #root(): Promise<void> {
    this.#roots.begun += 1;
    const number = this.#roots.begun;
    await this.#scribe.ask('ROOT', { serial: await this.#serials.settled() }, this.#rootPatience());
    this.#roots.done = number;
    this.#wishAgain('PACK');
  }

  #rootPatience(): { timeoutMs: number; patienceMs: number } {
    const wanted = ROOT_TIMES * (this.#took.get(ROOT) ?? 0);
    const ms = Math.min(Math.max(wanted, PATIENCE_MS.root), PATIENCE_MS.all);
    return { timeoutMs: ms, patienceMs: ms };
  }

  async #underSerial(what: (serial: number) => Promise<void>): Promise<void> {
    const serial = await this.#serials.take();
    try {
      await what(serial);
    } finally {
      this.#serials.done(serial);
    }
  }

  async #note(saved: Saved): Promise<void> {
    const next = await this.#backlog.note(saved);
    if (next) this.#wish(next);
  }
}
