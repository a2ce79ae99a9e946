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

interface SecretarySettings {
  /** Seconds between two writes of a page, at least; a requested page waits no longer than that. */
  readonly bufferS: number;
}

/** Milliseconds for which it keeps writing on shutdown: less than an actor has to finish. */
const SHUTDOWN_BUDGET_MS = 7000;
/** Seconds between polls of the backlog in the database, for what a crash left and for failed builds. */
const BACKLOG_POLL_INTERVAL_S = 2;
/** Maximum pages in memory, due and not yet due, above which the backlog isn't read. */
const MAX_LOADED_PAGES = { ready: 500, waiting: 20_000 };
/** Pages of priority front, which people install from, that are with Scribes at once. */
const FRONT_WORKERS = 8;
/** Low-priority pages get one worker at a 1:4 duty cycle, pausing at most 500 ms. */
const LOW_PRIORITY_PAUSE = { factor: 4, maxMs: 500 };
/**
 * Milliseconds between two writes of the simple index's root, which is also the maximum delay after a change.
 */
const ROOT_INTERVAL_MS = 10_000;
/**
 * Site-wide pages can take long. They are written so rarely that they take at most this share of the time.
 */
const SITE_WIDE_TIME_SHARE = 1 / 50;
/**
 * Milliseconds that a Scribe may take: for a package's pages; for the root, at least; and for a site-wide
 * page, at most. The root gets `ROOT_TIMEOUT_FACTOR` times its last duration, so that installers don't wait
 * long for a Scribe that was killed while writing it.
 */
const SCRIBE_TIMEOUT_MS = { page: 20_000, root: 10_000, siteWide: 600_000 };
const ROOT_TIMEOUT_FACTOR = 4;
/** Milliseconds between attempts to write one page while the disk of all pages is full. */
const STALLED_RETRY_INTERVAL_MS = 3000;
/** A failed write is retried after 2 s, doubled each time up to this. */
const MAX_RETRY_DELAY_MS = 30_000;

/**
 * Buffers page writes. The first request for a page is written at once; requests that come within the buffer
 * time after that are written together at its end. DELPKG and DELVER are not buffered, and are answered once
 * written: then the files that the index no longer lists can be removed. The database's backlog keeps what is
 * due until it is on the disk, so a crash of this process or of a Scribe loses nothing.
 *
 * All requests for one package are one page here (the-secretary/pages.ts), with one Scribe at a time. Each
 * write gets a serial, higher than all before, by which a Scribe that is late sees that another was faster.
 *
 * The root of the simple index follows: it is due whenever its entry for a package has changed. A package
 * enters it after its own page is written; a package that no longer offers anything keeps an empty page until
 * a root without it is written.
 *
 * While the disk of the pages is full or read-only, one page is tried every few seconds. The others stay due,
 * and are written at once when that one succeeds.
 *
 * Build logs, project pages alone, and compression are done one at a time, with a pause after each: a storm
 * of failed builds makes thousands of them, and they must not slow down the next grants.
 */
export class TheSecretary extends Actor {
  readonly #pages = new Map<string, PendingPage>();
  /** When each page was last written, for as long as that matters. */
  readonly #lastWrites = new Map<string, { at: number; bufferMs: number }>();
  readonly #backlog: Backlog;
  #scribe: ProtocolClient<typeof scribe.verbs>;
  readonly #siteWideScribe: ProtocolClient<typeof scribe.verbs>;
  readonly #serials: SerialAllocator;
  readonly #bufferMs: number;
  #statistics: Statistics | undefined;
  /** The last duration of each site-wide page, milliseconds. */
  readonly #lastDurationsMs = new Map<string, number>();
  #freeWorkers = FRONT_WORKERS;
  /** Pages that are ready, in order, by priority. */
  readonly #readyPages: Readonly<Record<PagePriority, PendingPage[]>> = { front: [], projects: [], rest: [] };
  /** The one worker for pages that people don't install from; projects and the rest take turns. */
  #lowPriorityWorker: { busy: boolean; nextPriority: PagePriority } = {
    busy: false,
    nextPriority: 'projects',
  };
  /** Notes for pages that are not in the backlog: they are due again after every start. */
  #lastNote = 0;
  /**
   * Set while nothing can be written: since when, and when the next page is tried (monotonic clock,
   * milliseconds).
   */
  #stalled: { readonly began: number; nextAt: number } | undefined;
  /** How many roots were started, and how many are written. */
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
        // Only the latest figures matter; after a crash the next ones come soon.
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
   * Writes what is due before it exits, as far as time allows, so that a farm that builds something and then
   * exits leaves a complete site. The next Secretary finds the rest in the backlog.
   */
  protected override async onStopped(): Promise<void> {
    const deadline = this.clock.monotonicMs() + SHUTDOWN_BUDGET_MS;
    try {
      // Another Secretary may already have the lease.
      this.context.fence();
      await this.#readBacklog();
    } catch (error) {
      if (!(error instanceof PiwError)) throw error;
      return;
    }
    // If there is no Scribe left, don't wait for one.
    this.#scribe = new ProtocolClient(this.bus, scribe, undefined, {
      timeoutMs: SHUTDOWN_BUDGET_MS,
      once: true,
    });
    // Site-wide pages come last, and only if they are quick.
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
        for (const request of requests) this.#enqueue(request);
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

  /** Enqueues a page that isn't kept in the backlog. */
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
    // A page that waited for compression may have been requested by installers since.
    if (page.queuedPriority === priority) return;
    page.queuedPriority = priority;
    this.#readyPages[priority].push(page);
    this.#dispatch();
  }

  /** Returns the next ready page of a priority. */
  #nextReady(priority: PagePriority): PendingPage | undefined {
    let page = this.#readyPages[priority].shift();
    while (page && (page.state !== 'ready' || page.queuedPriority !== priority))
      page = this.#readyPages[priority].shift();
    return page;
  }

  #dispatch(): void {
    // On shutdown, pages are written one by one.
    if (this.isStopping()) return;
    while (this.#freeWorkers > 0 && this.#mayDispatch()) {
      const page = this.#nextReady('front');
      if (!page) break;
      this.#delayNextTry();
      this.#freeWorkers -= 1;
      void this.runInBackground(async () => {
        await this.#write(page, () => {
          // The Scribe can get the next page while this one is recorded as written.
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

  /** Has a page written. Calls `onScribeFree` once, when the Scribe is done or none was needed. */
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
      // The timeout may have been too short: the next attempt gets twice as long.
      if (page.key === ROOT_PAGE)
        this.#lastDurationsMs.set(
          ROOT_PAGE,
          Math.max(
            this.#lastDurationsMs.get(ROOT_PAGE) ?? 0,
            ((this.clock.monotonicMs() - began) * 2) / ROOT_TIMEOUT_FACTOR,
          ),
        );
      page.dueAt = this.clock.monotonicMs() + Math.min(1000 * 2 ** page.attempts, MAX_RETRY_DELAY_MS);
      this.log.warning(`write failed, will be retried page="${page.key}": ${error.message}`);
    } finally {
      releaseScribe();
      page.state = 'waiting';
      this.#queueIfDue(page);
    }
  }

  /**
   * Returns whether an error is about the disk of all pages. If so, only one page is tried from now on, every
   * few seconds.
   */
  #stall(error: PiwError): boolean {
    if (error.code !== 'PIW_DISK_FULL' && error.code !== 'PIW_DISK_READ_ONLY') return false;
    if (!this.#stalled) this.log.warning(`no page can be written: ${error.message}`);
    const now = this.clock.monotonicMs();
    this.#stalled = { began: this.#stalled?.began ?? now, nextAt: now + STALLED_RETRY_INTERVAL_MS };
    return true;
  }

  /** Ends the stall: a page could be written, so the others can, too. */
  #endStall(): void {
    if (!this.#stalled) return;
    const seconds = (this.clock.monotonicMs() - this.#stalled.began) / 1000;
    this.log.info(`pages can be written again after ${seconds.toFixed(0)} s`);
    this.#stalled = undefined;
  }

  /** Returns whether a page may be handed out now. During a stall that is one page every few seconds. */
  #mayDispatch(): boolean {
    return !this.#stalled || this.clock.monotonicMs() >= this.#stalled.nextAt;
  }

  /** Delays the next attempt of a stall, because a page is being handed out. */
  #delayNextTry(): void {
    if (this.#stalled) this.#stalled.nextAt = this.clock.monotonicMs() + STALLED_RETRY_INTERVAL_MS;
  }

  /** Returns the milliseconds until a page that took `durationMs` may be written again. */
  #bufferMsFor(verb: PageKind, durationMs: number): number {
    // A log is written once, and removed once.
    if (verb === 'LOG') return 0;
    if (verb === 'ROOT') return Math.min(ROOT_INTERVAL_MS, this.#bufferMs);
    if (verb === 'SEARCH' || verb === 'SITEMAP')
      return Math.max(this.#bufferMs, durationMs / SITE_WIDE_TIME_SHARE);
    return this.#bufferMs;
  }

  /** Has a Scribe write a page, and records that in the backlog. */
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
        throw new Error(`no Scribe writes ${verb}`);
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

  /** Writes the root. Only one runs at a time, because the root is one page. */
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
