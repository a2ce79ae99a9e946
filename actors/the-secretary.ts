import { Actor, type ActorContext } from '../src/actor/actor.js';
import { ProtocolClient } from '../src/actor/client.js';
import { WorkQueue, type WorkOutcome } from '../src/concurrency/work-queue.js';
import { PiwError } from '../src/errors.js';
import { PAGE_PRIORITIES, type PagePriority } from '../src/model/page.js';
import { oracle } from '../src/protocols/oracle.js';
import { secretary } from '../src/protocols/web.js';
import { Backlog } from './the-secretary/backlog.js';
import { PageWriter } from './the-secretary/page-writer.js';
import {
  PendingPage,
  ROOT_PAGE,
  pageKeyOf,
  requestOf,
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
/** Seconds between polls of the backlog in the database, which is how late a page comes whose hint was lost. */
const BACKLOG_POLL_INTERVAL_S = 2;
/** Seconds after which the backlog is read from its beginning again. */
const REWIND_INTERVAL_S = 60;
/** Maximum pages in memory, due and not yet due, above which the backlog isn't read. */
const MAX_LOADED_PAGES = { ready: 500, waiting: 20_000 };
/** The priority in the queue of the pages that show all packages and that nobody installs from. */
const SITE_WIDE = 'site-wide';
/** Pages of priority front, which people install from, that are with Scribes at once. */
const FRONT_WORKERS = 8;
/** Low-priority pages get one worker at a 1:4 duty cycle, pausing at most 500 ms. */
const LOW_PRIORITY_REST = { factor: 4, maxMs: 500 };
/** The delay after the first failed write of a page, doubled after each further one. */
const RETRY_DELAY = { firstMs: 2000, maxMs: 30_000 };
/** Milliseconds between attempts to write one page while the disk of all pages is full. */
const STALLED_RETRY_INTERVAL_MS = 3000;

/**
 * Buffers page writes. The first request for a page is written at once; requests that come within the buffer
 * time after that are written together at its end. DELPKG and DELVER are not buffered, and are answered once
 * written: then the files that the index no longer lists can be removed. The database's backlog keeps what is
 * due until it is on the disk, so a crash of this process or of a Scribe loses nothing.
 *
 * All requests for one package are one page here (the-secretary/pages.ts), with one Scribe at a time, so that
 * an older state never overwrites a newer one. What a page makes due, too, is in the-secretary/page-writer.ts.
 *
 * While the disk of the pages is full or read-only, one page is tried every few seconds. The others stay due,
 * and are written at once when that one succeeds.
 *
 * Build logs, project pages alone, and compression are done one at a time, with a pause after each: a storm
 * of failed builds makes thousands of them, and they must not slow down the next grants. The search and the sitemap,
 * which take minutes for a large index, have a worker of their own.
 */
export class TheSecretary extends Actor {
  /** The pages with requests, by key. */
  readonly #pages = new Map<string, PendingPage>();
  readonly #queue: WorkQueue<PagePriority | typeof SITE_WIDE>;
  readonly #backlog: Backlog;
  readonly #writer: PageWriter;
  /** Revisions for pages that are not in the backlog: they are due again after every start. */
  #lastRevision = 0;
  /** Since when nothing can be written (monotonic clock, milliseconds). */
  #stalledSince: number | undefined;

  constructor(context: ActorContext, settings: SecretarySettings) {
    super(context);
    const database = new ProtocolClient(this.bus, oracle, undefined, {
      timeoutMs: 10_000,
      patienceMs: 30_000,
    });
    this.#backlog = new Backlog(database, () => this.context.assertLeader());
    const serials = new SerialAllocator(async () =>
      database.request('NEWSERIALS', { fence: this.context.assertLeader() }),
    );
    this.#writer = new PageWriter({
      bus: this.bus,
      clock: this.clock,
      backlog: this.#backlog,
      serials,
      bufferMs: settings.bufferS * 1000,
    });
    this.#queue = new WorkQueue<PagePriority | typeof SITE_WIDE>(this.clock, {
      pools: [
        { priorities: ['front'], workers: FRONT_WORKERS },
        { priorities: ['projects', 'rest'], workers: 1, rest: LOW_PRIORITY_REST },
        // These take long, and longer still if their Scribe is killed: nobody notices before the timeout.
        { priorities: [SITE_WIDE], workers: 1 },
      ],
      priorityOf: (key) =>
        key === 'SEARCH' || key === 'SITEMAP' ? SITE_WIDE : (this.#pages.get(key)?.priority ?? 'rest'),
      process: (key, freeWorker) => this.#process(key, freeWorker),
      retry: RETRY_DELAY,
      probeIntervalMs: STALLED_RETRY_INTERVAL_MS,
    });
  }

  override start(): void {
    const done = { verb: 'DONE' } as const;
    const saveAndEnqueue = async (kind: PageKind, argument: string) => {
      this.#enqueue(await this.#backlog.add(kind, argument));
      return done;
    };
    const writeNow = async (kind: PageKind, argument: string) => {
      const request = await this.#backlog.add(kind, argument);
      await new Promise<void>((resolve) => {
        this.#pageOf(request).whenDone(request, resolve);
        this.#enqueue(request, true);
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
        this.#writer.statistics = statistics;
        this.#enqueueUnsaved('HOME');
        return done;
      },
      PKG: ({ package: name }) => saveAndEnqueue('PKG', name),
      PROJECT: ({ package: name }) => saveAndEnqueue('PROJECT', name),
      LOG: ({ build_id }) => saveAndEnqueue('LOG', String(build_id)),
      SEARCH: () => enqueueUnsaved('SEARCH'),
      SITEMAP: () => enqueueUnsaved('SITEMAP'),
      ROOT: () => enqueueUnsaved('ROOT'),
      DUE: ({ pages }) => {
        for (const page of pages) this.#enqueue(requestOf(page));
      },
      DELPKG: ({ package: name }) => writeNow('DELPKG', name),
      DELVER: ({ package: name, version }) => writeNow('DELVER', `${name} ${version}`),
    });
    for (const kind of ['ROOT', 'SEARCH', 'SITEMAP'] as const) this.#enqueueUnsaved(kind);
    this.every(BACKLOG_POLL_INTERVAL_S, () => this.#readBacklog());
    this.every(REWIND_INTERVAL_S, () => {
      this.#backlog.rewind();
    });
  }

  protected override onPauseChanged(): void {
    if (this.paused) this.#queue.pause();
    else this.#queue.resume();
  }

  override async stop(): Promise<void> {
    this.#queue.stop();
    await super.stop();
  }

  /**
   * Writes what is due before it exits, as far as time allows, so that a farm that builds something and then
   * exits leaves a complete site. The next Secretary finds the rest in the backlog.
   */
  protected override async onStopped(): Promise<void> {
    const deadline = this.clock.monotonicMs() + SHUTDOWN_BUDGET_MS;
    try {
      // Another Secretary may already have the lease.
      this.context.assertLeader();
      await this.#readBacklog();
    } catch (error) {
      if (!(error instanceof PiwError)) throw error;
      return;
    }
    this.#writer.setShutdownTimeout(SHUTDOWN_BUDGET_MS);
    // Site-wide pages come last, and only if they are quick.
    const siteWideKeys = [ROOT_PAGE, 'SEARCH', 'SITEMAP'];
    const rank = (page: PendingPage): number => siteWideKeys.indexOf(page.key);
    const due = [...this.#pages.values()].sort((a, b) => rank(a) - rank(b));
    for (const page of due) {
      if (this.clock.monotonicMs() + this.#writer.lastDurationMs(page) > deadline) return;
      const isRetry = this.#queue.failures(page.key) > 0 || page.afterRoot > 0;
      if (isRetry || !page.hasRequests || verbFor(page.requests()) === 'PACK') continue;
      if ((await this.#write(page, () => undefined)).is !== 'done') return;
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
      if (this.#queue.isReady(page.key)) ready += 1;
      else waiting += 1;
    }
    return ready >= MAX_LOADED_PAGES.ready || waiting >= MAX_LOADED_PAGES.waiting;
  }

  /** Enqueues a page that isn't kept in the backlog. */
  #enqueueUnsaved(kind: PageKind): void {
    this.#lastRevision += 1;
    this.#enqueue({ kind, argument: '', revision: this.#lastRevision });
  }

  #pageOf({ kind, argument }: PageRequest): PendingPage {
    const key = pageKeyOf(kind, argument);
    const page = this.#pages.get(key) ?? new PendingPage(key);
    this.#pages.set(key, page);
    return page;
  }

  /** Adds a request to its page. An urgent one doesn't wait until the page may be written again. */
  #enqueue(request: PageRequest, urgent = false): void {
    const page = this.#pageOf(request);
    const isNew = page.add(request);
    if ((isNew || urgent) && !this.#writer.isHeld(page)) this.#queue.add(page.key, urgent);
  }

  async #process(key: string, freeWorker: () => void): Promise<WorkOutcome> {
    const page = this.#pages.get(key);
    let outcome: WorkOutcome = { is: 'done', cooldownMs: 0 };
    if (page)
      await this.runInBackground(async () => {
        outcome = await this.#write(page, freeWorker);
      });
    return outcome;
  }

  /** Has a page written, and enqueues what follows. Calls `freeWorker` when the Scribe is done. */
  async #write(page: PendingPage, freeWorker: () => void): Promise<WorkOutcome> {
    const requests = page.requests();
    try {
      const { cooldownMs, next, alsoDue = [] } = await this.#writer.write(page, requests, freeWorker);
      this.#endStall();
      if (next) this.#enqueue(next);
      for (const kind of alsoDue) this.#enqueueUnsaved(kind);
      page.markDone(requests);
      if (!page.hasRequests) this.#pages.delete(page.key);
      if (page.key === ROOT_PAGE) this.#releaseHeldPages();
      return { is: 'done', cooldownMs };
    } catch (error) {
      if (!(error instanceof PiwError)) throw error;
      if (error.code === 'PIW_DISK_FULL' || error.code === 'PIW_DISK_READ_ONLY') {
        if (this.#stalledSince === undefined) this.log.warning('no page can be written', {}, error);
        this.#stalledSince ??= this.clock.monotonicMs();
        return { is: 'stalled' };
      }
      this.log.warning('write failed, will be retried', { page: page.key }, error);
      return { is: 'failed' };
    }
  }

  /** Ends the stall: a page could be written, so the others can, too. */
  #endStall(): void {
    if (this.#stalledSince === undefined) return;
    const stalledMs = this.clock.monotonicMs() - this.#stalledSince;
    this.log.info('pages can be written again', { after_s: Math.round(stalledMs / 1000) });
    this.#stalledSince = undefined;
  }

  /** Has empty pages removed that waited for the root that was just written. */
  #releaseHeldPages(): void {
    for (const page of this.#pages.values())
      if (page.afterRoot > 0 && !this.#writer.isHeld(page)) this.#queue.add(page.key, true);
  }
}
