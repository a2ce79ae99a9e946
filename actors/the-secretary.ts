import { Actor, type ActorContext } from '../src/actor/actor.js';
import { ProtocolClient } from '../src/actor/client.js';
import { PiwError } from '../src/errors.js';
import { PAGE_PRIORITIES, type PagePriority } from '../src/model/page.js';
import { oracle } from '../src/protocols/oracle.js';
import type { Statistics } from '../src/protocols/statistics.js';
import { scribe, secretary } from '../src/protocols/web.js';
import { Backlog, type BacklogUpdate } from './the-secretary/backlog.js';
import {
  SITE_WIDE_KINDS,
  PendingPage,
  ROOT_PAGE,
  packageOf,
  pageKeyOf,
  verbFor,
  type PageKind,
  type PageRequest,
} from './the-secretary/pages.js';
import { SerialAllocator } from './the-secretary/serials.js';

export interface SecretarySettings {
  /** A page is written at most once in so many seconds, and never later than that. */
  readonly bufferS: number;
}

/** How long it goes on writing when it is told to end, milliseconds: less than an actor has to finish. */
const SHUTDOWN_BUDGET_MS = 7000;
/** How often the backlog in the database is looked at, seconds: what a crash left, and failed builds. */
const BACKLOG_POLL_INTERVAL_S = 2;
/** With so many pages in mind whose time has come, or of which it has not, the backlog isn't looked at. */
const MAX_LOADED_PAGES = { ready: 500, waiting: 20_000 };
/** Pages that are in Scribes' hands at once: those that people install from. */
const FRONT_WORKERS = 8;
/** The rest are written one at a time, with a pause so many times as long as each took, but for no longer than this. */
const LOW_PRIORITY_PAUSE = { factor: 4, maxMs: 500 };
/** The root of the simple index is written at most this often, milliseconds, and no later than that after a change. */
const ROOT_INTERVAL_MS = 10_000;
/** What shows all packages at once may take long: it is written so rarely that it takes no more than this share of the time. */
const SITE_WIDE_TIME_SHARE = 1 / 50;
/**
 * How long a Scribe may take, milliseconds: for a package's pages; for the root at least; and for what shows all
 * packages at most. The root may take so many times as long as the last time: whoever installs is not to wait
 * long for a Scribe that was killed at it.
 */
const SCRIBE_TIMEOUT_MS = { page: 20_000, root: 10_000, siteWide: 600_000 };
const ROOT_TIMEOUT_FACTOR = 4;
/** How often one page is tried while the disk that all of them are written to is full, milliseconds. */
const STALLED_RETRY_INTERVAL_MS = 3000;
/** What could not be written is tried again after 2 s, twice as long at each further time, at most so long. */
const MAX_RETRY_DELAY_MS = 30_000;

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
  readonly #pages = new Map<string, PendingPage>();
  /** When each page was written last, for as long as that matters. */
  readonly #lastWrites = new Map<string, { at: number; bufferMs: number }>();
  readonly #backlog: Backlog;
  #scribe: ProtocolClient<typeof scribe.verbs>;
  readonly #siteWideScribe: ProtocolClient<typeof scribe.verbs>;
  readonly #serials: SerialAllocator;
  readonly #bufferMs: number;
  #statistics: Statistics | undefined;
  /** How long each of those that show all packages took the last time, milliseconds. */
  readonly #lastDurationsMs = new Map<string, number>();
  #freeWorkers = FRONT_WORKERS;
  /** What is ready, each in its order. */
  readonly #readyPages: Readonly<Record<PagePriority, PendingPage[]>> = { front: [], projects: [], rest: [] };
  /** The one hand for all that people don't install from; projects and the rest take turns. */
  #lowPriorityWorker: { busy: boolean; nextPriority: PagePriority } = {
    busy: false,
    nextPriority: 'projects',
  };
  /** What is not in the backlog gets its notes here: it is due again after every start. */
  #lastNote = 0;
  /** Why nothing can be written now, and when the next page is tried, milliseconds by the monotonic clock. */
  #stalled: { readonly began: number; nextAt: number } | undefined;
  /** How many roots were begun, and are written. */
  readonly #roots = { started: 0, done: 0 };

  constructor(context: ActorContext, settings: SecretarySettings) {
    super(context);
    this.#bufferMs = settings.bufferS * 1000;
    const database = new ProtocolClient(this.bus, oracle, undefined, {
      timeoutMs: 10_000,
      patienceMs: 30_000,
    });
    this.#backlog = new Backlog(database, () => this.context.fence());
    const scribeClient = (ms: number) =>
      new ProtocolClient(this.bus, scribe, undefined, { timeoutMs: ms, patienceMs: ms });
    this.#scribe = scribeClient(SCRIBE_TIMEOUT_MS.page);
    this.#siteWideScribe = scribeClient(SCRIBE_TIMEOUT_MS.siteWide);
    this.#serials = new SerialAllocator(async () =>
      database.request('NEWSERIALS', { fence: this.context.fence() }),
    );
  }

  override start(): void {
    const done = { verb: 'DONE' } as const;
    const saveAndEnqueue = async (kind: PageKind, argument: string) => {
      this.#enqueue(await this.#backlog.add(kind, argument));
      return done;
    };
    const writeNow = async (kind: PageKind, argument: string) => {
      const request = await this.#backlog.add(kind, argument);
      const page = this.#enqueue(request);
      await new Promise<void>((resolve) => {
        page.whenDone(request, resolve);
        page.dueAt = 0;
        this.#queueIfDue(page);
      });
      return done;
    };
    const enqueueUnsaved = (kind: PageKind) => {
      this.#enqueueUnsaved(kind);
      return done;
    };
    this.serve(secretary, {
      HOME: ({ statistics }) => {
        // The newest figures are the ones that count; a crash only waits for the next.
        this.#statistics = statistics;
        this.#enqueueUnsaved('HOME');
        return done;
      },
      PKG: ({ package: name }) => saveAndEnqueue('PKG', name),
      PROJECT: ({ package: name }) => saveAndEnqueue('PROJECT', name),
      LOG: ({ build_id }) => saveAndEnqueue('LOG', String(build_id)),
      SEARCH: () => enqueueUnsaved('SEARCH'),
      SITEMAP: () => enqueueUnsaved('SITEMAP'),
      ROOT: () => enqueueUnsaved('ROOT'),
      DELPKG: ({ package: name }) => writeNow('DELPKG', name),
      DELVER: ({ package: name, version }) => writeNow('DELVER', `${name} ${version}`),
    });
    for (const kind of ['ROOT', 'SEARCH', 'SITEMAP'] as const) this.#enqueueUnsaved(kind);
    this.every(BACKLOG_POLL_INTERVAL_S, () => this.#readBacklog());
    this.every(
      0.25,
      () => {
        for (const page of this.#pages.values()) this.#queueIfDue(page);
        if (this.#stalled) this.#dispatch();
      },
      0.25,
    );
    this.every(60, () => {
      this.#backlog.rewind();
      const now = this.clock.monotonicMs();
      for (const [key, { at, bufferMs }] of this.#lastWrites)
        if (at + bufferMs < now) this.#lastWrites.delete(key);
    });
  }

  /**
   * What is due is written before it ends, as far as there is time: a farm that was told to build something, and to end
   * then, leaves a whole site. The rest is kept, and found by the next Secretary.
   */
  protected override async onStopped(): Promise<void> {
    const deadline = this.clock.monotonicMs() + SHUTDOWN_BUDGET_MS;
    try {
      // Another Secretary may be at work by now.
      this.context.fence();
      await this.#readBacklog();
    } catch (error) {
      if (!(error instanceof PiwError)) throw error;
      return;
    }
    // Where there is no Scribe any more, it is not waited for.
    this.#scribe = new ProtocolClient(this.bus, scribe, undefined, {
      timeoutMs: SHUTDOWN_BUDGET_MS,
      once: true,
    });
    // What shows all packages comes last, and only if it is soon done.
    const siteWideKeys = [ROOT_PAGE, 'SEARCH', 'SITEMAP'];
    const rank = (page: PendingPage): number => siteWideKeys.indexOf(page.key);
    const due = [...this.#pages.values()].sort((a, b) => rank(a) - rank(b));
    for (const page of due) {
      const { hasRequests, attempts, afterRoot, key } = page;
      if (this.clock.monotonicMs() + (this.#lastDurationsMs.get(key) ?? 0) > deadline) return;
      if (hasRequests && attempts === 0 && afterRoot === 0 && verbFor(page.requests()) !== 'PACK')
        await this.#write(page, () => undefined);
      if (page.attempts > attempts || this.#stalled) return;
    }
  }

  async #readBacklog(): Promise<void> {
    for (const priority of PAGE_PRIORITIES) {
      for (let more = true; more && !this.#hasEnough(priority);) {
        const requests = await this.#backlog.readNext(priority);
        for (const wish of requests) this.#enqueue(wish);
        more = requests.length > 0;
      }
    }
  }

  #hasEnough(priority: PagePriority): boolean {
    let ready = 0;
    let waiting = 0;
    for (const page of this.#pages.values()) {
      if (page.priority !== priority) continue;
      if (page.state === 'ready') ready += 1;
      else waiting += 1;
    }
    return ready >= MAX_LOADED_PAGES.ready || waiting >= MAX_LOADED_PAGES.waiting;
  }

  /** The same for what isn't kept in the backlog. */
  #enqueueUnsaved(kind: PageKind): void {
    this.#lastNote += 1;
    this.#enqueue({ kind, argument: '', note: this.#lastNote });
  }

  #enqueue(request: PageRequest): PendingPage {
    const key = pageKeyOf(request.kind, request.argument);
    const lastWrite = this.#lastWrites.get(key);
    const page =
      this.#pages.get(key) ??
      new PendingPage(key, lastWrite === undefined ? 0 : lastWrite.at + lastWrite.bufferMs);
    this.#pages.set(key, page);
    page.add(request);
    this.#queueIfDue(page);
    return page;
  }

  #queueIfDue(page: PendingPage): void {
    if (page.state === 'waiting') {
      if (page.dueAt > this.clock.monotonicMs() || page.afterRoot > this.#roots.done) return;
      page.state = 'ready';
      page.queuedPriority = undefined;
    }
    if (page.state !== 'ready') return;
    const { priority } = page;
    // What was only to be compressed may be wished for by those who install while it waits for its turn.
    if (page.queuedPriority === priority) return;
    page.queuedPriority = priority;
    this.#readyPages[priority].push(page);
    this.#dispatch();
  }

  /** The next of a lane. */
  #nextReady(priority: PagePriority): PendingPage | undefined {
    let page = this.#readyPages[priority].shift();
    while (page && (page.state !== 'ready' || page.queuedPriority !== priority))
      page = this.#readyPages[priority].shift();
    return page;
  }

  #dispatch(): void {
    // What is due at the end is written one by one.
    if (this.isStopping()) return;
    while (this.#freeWorkers > 0 && this.#mayDispatch()) {
      const page = this.#nextReady('front');
      if (!page) break;
      this.#delayNextTry();
      this.#freeWorkers -= 1;
      void this.runInBackground(async () => {
        await this.#write(page, () => {
          // The Scribe can have the next one, while this one is noted as written.
          this.#freeWorkers += 1;
          this.#dispatch();
        });
      });
    }
    if (this.#lowPriorityWorker.busy || !this.#mayDispatch()) return;
    const { nextPriority } = this.#lowPriorityWorker;
    const other = nextPriority === 'rest' ? 'projects' : 'rest';
    const page = this.#nextReady(nextPriority) ?? this.#nextReady(other);
    if (!page) return;
    this.#delayNextTry();
    this.#lowPriorityWorker = { busy: true, nextPriority: other };
    const began = this.clock.monotonicMs();
    void this.runInBackground(() =>
      this.#write(page, () => {
        this.clock.after(
          Math.min(LOW_PRIORITY_PAUSE.factor * (this.clock.monotonicMs() - began), LOW_PRIORITY_PAUSE.maxMs),
          () => {
            this.#lowPriorityWorker.busy = false;
            this.#dispatch();
          },
        );
      }),
    );
  }

  /** `done` is called once, when the Scribe is done with it, or it came to no Scribe. */
  async #write(page: PendingPage, onScribeFree: () => void): Promise<void> {
    let isScribeBusy = true;
    const releaseScribe = (): void => {
      if (isScribeBusy) onScribeFree();
      isScribeBusy = false;
    };
    const requests = page.requests();
    const verb = verbFor(requests);
    page.state = 'writing';
    const began = this.clock.monotonicMs();
    try {
      await this.#askScribe(page, verb, requests, releaseScribe);
      this.#endStall();
      const now = this.clock.monotonicMs();
      const bufferMs = this.#bufferMsFor(verb, now - began);
      if (SITE_WIDE_KINDS.has(verb)) this.#lastDurationsMs.set(page.key, now - began);
      if (verb !== 'PACK') this.#lastWrites.set(page.key, { at: now, bufferMs });
      page.attempts = 0;
      page.markDone(requests);
      page.dueAt = page.hasWaiters || page.afterRoot > 0 ? 0 : now + bufferMs;
      if (!page.hasRequests) this.#pages.delete(page.key);
    } catch (error) {
      if (!(error instanceof PiwError)) throw error;
      if (this.#stall(error)) {
        page.dueAt = this.clock.monotonicMs();
        return;
      }
      page.attempts += 1;
      // It may have been too little time: the next one gets twice as much.
      if (page.key === ROOT_PAGE)
        this.#lastDurationsMs.set(
          ROOT_PAGE,
          Math.max(
            this.#lastDurationsMs.get(ROOT_PAGE) ?? 0,
            ((this.clock.monotonicMs() - began) * 2) / ROOT_TIMEOUT_FACTOR,
          ),
        );
      page.dueAt = this.clock.monotonicMs() + Math.min(1000 * 2 ** page.attempts, MAX_RETRY_DELAY_MS);
      this.log.warning(`${page.key} is not written yet: ${error.message}`);
    } finally {
      releaseScribe();
      page.state = 'waiting';
      this.#queueIfDue(page);
    }
  }

  /** Whether an error is about the disk of all pages: then only one of them is tried from now on, every few seconds. */
  #stall(error: PiwError): boolean {
    if (error.code !== 'PIW_DISK_FULL' && error.code !== 'PIW_DISK_READ_ONLY') return false;
    if (!this.#stalled) this.log.warning(`pages wait: ${error.message}`);
    const now = this.clock.monotonicMs();
    this.#stalled = { began: this.#stalled?.began ?? now, nextAt: now + STALLED_RETRY_INTERVAL_MS };
    return true;
  }

  /** A page could be written: so can the others. */
  #endStall(): void {
    if (!this.#stalled) return;
    const seconds = (this.clock.monotonicMs() - this.#stalled.began) / 1000;
    this.log.info(`pages are written again, after ${seconds.toFixed(0)} s`);
    this.#stalled = undefined;
  }

  /** Whether a page may be handed out now. While nothing can be written, that is so for one page at a time. */
  #mayDispatch(): boolean {
    return !this.#stalled || this.clock.monotonicMs() >= this.#stalled.nextAt;
  }

  /** A page is handed out. */
  #delayNextTry(): void {
    if (this.#stalled) this.#stalled.nextAt = this.clock.monotonicMs() + STALLED_RETRY_INTERVAL_MS;
  }

  /** How long a page that took so long isn't written again. */
  #bufferMsFor(verb: PageKind, durationMs: number): number {
    // A log is written once, and removed once.
    if (verb === 'LOG') return 0;
    if (verb === 'ROOT') return Math.min(ROOT_INTERVAL_MS, this.#bufferMs);
    if (verb === 'SEARCH' || verb === 'SITEMAP')
      return Math.max(this.#bufferMs, durationMs / SITE_WIDE_TIME_SHARE);
    return this.#bufferMs;
  }

  /** Has a page written, and notes that it is. */
  async #askScribe(
    page: PendingPage,
    verb: PageKind,
    requests: readonly PageRequest[],
    releaseScribe: () => void,
  ): Promise<void> {
    const name = packageOf(requests[0]?.argument ?? '');
    switch (verb) {
      case 'PKG':
        await this.#writePackage(page, name, requests, releaseScribe);
        return;
      case 'PROJECT':
        await this.#withSerial(async (serial) => {
          await this.#scribe.request('PROJECT', { package: name, serial }).finally(releaseScribe);
          await this.#saveUpdate({ written: requests, next: ['PACK', name] });
        });
        return;
      case 'ROOT':
        await this.#writeRoot().finally(releaseScribe);
        return;
      case 'HOME':
        if (this.#statistics)
          await this.#scribe.request('HOME', { statistics: this.#statistics }).finally(releaseScribe);
        return;
      case 'LOG':
        await this.#scribe.request('LOG', { build_id: Number(name) }).finally(releaseScribe);
        break;
      case 'PACK':
        if (name === '')
          await this.#scribe.request('PACK', { package: null }, this.#rootTimeout()).finally(releaseScribe);
        else await this.#scribe.request('PACK', { package: name }).finally(releaseScribe);
        break;
      case 'SEARCH':
      case 'SITEMAP':
        await this.#siteWideScribe.request(verb, {}).finally(releaseScribe);
        break;
      default:
        throw new Error(`nobody writes ${verb}`);
    }
    await this.#saveUpdate({ written: requests });
  }

  async #writePackage(
    page: PendingPage,
    name: string,
    requests: readonly PageRequest[],
    releaseScribe: () => void,
  ): Promise<void> {
    const leave = page.afterRoot > 0;
    await this.#withSerial(async (serial) => {
      const written = await this.#scribe
        .request('PKG', { package: name, serial, leave })
        .finally(releaseScribe);
      const removalDue = written.serial === null && written.stands;
      await this.#saveUpdate({
        written: requests,
        listed: [name, written.serial],
        next: [removalDue ? 'PKG' : 'PACK', name],
      });
      page.afterRoot = removalDue ? this.#roots.started + 1 : 0;
      const changed = written.serial === serial || (written.serial === null && !leave);
      if (changed) for (const kind of ['ROOT', 'SEARCH', 'SITEMAP'] as const) this.#enqueueUnsaved(kind);
    });
  }

  /** One at a time, as all that is one page. */
  async #writeRoot(): Promise<void> {
    this.#roots.started += 1;
    const rootNumber = this.#roots.started;
    await this.#scribe.request('ROOT', { serial: await this.#serials.settledSerial() }, this.#rootTimeout());
    this.#roots.done = rootNumber;
    this.#enqueueUnsaved('PACK');
  }

  #rootTimeout(): { timeoutMs: number; patienceMs: number } {
    const wantedMs = ROOT_TIMEOUT_FACTOR * (this.#lastDurationsMs.get(ROOT_PAGE) ?? 0);
    const ms = Math.min(Math.max(wantedMs, SCRIBE_TIMEOUT_MS.root), SCRIBE_TIMEOUT_MS.siteWide);
    return { timeoutMs: ms, patienceMs: ms };
  }

  async #withSerial(write: (serial: number) => Promise<void>): Promise<void> {
    const serial = await this.#serials.allocate();
    try {
      await write(serial);
    } finally {
      this.#serials.complete(serial);
    }
  }

  async #saveUpdate(update: BacklogUpdate): Promise<void> {
    const next = await this.#backlog.record(update);
    if (next) this.#enqueue(next);
  }
}
