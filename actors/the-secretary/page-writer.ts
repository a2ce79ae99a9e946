import { ProtocolClient } from '../../src/actor/client.js';
import type { Bus } from '../../src/bus/bus.js';
import type { Clock } from '../../src/concurrency/clock.js';
import type { Statistics } from '../../src/protocols/statistics.js';
import { scribe } from '../../src/protocols/web.js';
import type { Backlog } from './backlog.js';
import {
  ROOT_PAGE,
  SITE_WIDE_KINDS,
  packageOf,
  verbFor,
  type PageKind,
  type PageRequest,
  type PendingPage,
} from './pages.js';
import type { SerialAllocator } from './serials.js';

/**
 * Milliseconds between two writes of the simple index's root, which is also the maximum delay after a change.
 */
const ROOT_INTERVAL_MS = 10_000;
/**
 * Site-wide pages can take long. After each write, they have to wait so long that writing them takes at most this share
 * of the time. The root is exempt.
 */
const SITE_WIDE_TIME_SHARE = 1 / 50;
/**
 * Timeouts of requests to a Scribe, milliseconds: `page` for pages that are not site-wide. That for a site-wide page is
 * `SITE_WIDE_TIMEOUT_FACTOR` times as long as it took last time, but at least `root` or `siteWide`, and at most `longest`:
 * if a Scribe is killed while it writes the page, another one soon starts again.
 */
const SCRIBE_TIMEOUT_MS = { page: 20_000, root: 10_000, siteWide: 60_000, longest: 600_000 };
const SITE_WIDE_TIMEOUT_FACTOR = 4;

/** The pages that become due because another page was written. */
interface FollowUps {
  /** A request that was stored in the backlog. */
  readonly next?: PageRequest | undefined;
  /** Pages whose requests are not stored in the backlog. */
  readonly alsoDue?: readonly PageKind[];
}

/** The result of writing a page: how long it must not be written again, and what follows. */
interface WrittenPage extends FollowUps {
  readonly cooldownMs: number;
}

interface PageWriterOptions {
  readonly bus: Bus;
  readonly clock: Clock;
  readonly backlog: Backlog;
  readonly serials: SerialAllocator;
  /** Milliseconds between two writes of a page, at least. */
  readonly bufferMs: number;
}

/**
 * Has Scribes write pages, records in the backlog that they are written, and decides what follows:
 *
 *   after a package's page   the root and the other site-wide pages, if the page has changed; compressing it; if it is
 *                            empty, removing it once a root that doesn't list it is written
 *   after a project's page   compressing it
 *   after the root           compressing it; removing the empty pages that waited for it
 *
 * Each write of a package's pages gets a serial that is higher than all before. By it, a Scribe that is late sees that
 * another one has already written a newer page.
 */
export class PageWriter {
  readonly #options: PageWriterOptions;
  #scribe: ProtocolClient<typeof scribe.verbs>;
  #longestTimeoutMs = SCRIBE_TIMEOUT_MS.longest;
  /** The last duration of each site-wide page, milliseconds. */
  readonly #lastDurationsMs = new Map<string, number>();
  /** Writes of the root are numbered: the last one that was started, and the last one that was completed. */
  readonly #roots = { started: 0, done: 0 };
  /** The figures for the home page; undefined until the first ones arrive. */
  statistics: Statistics | undefined;

  constructor(options: PageWriterOptions) {
    this.#options = options;
    const ms = SCRIBE_TIMEOUT_MS.page;
    this.#scribe = new ProtocolClient(options.bus, scribe, undefined, { timeoutMs: ms, patienceMs: ms });
  }

  /** From now on, waits no longer than this for a page, and doesn't retry if no Scribe is running. */
  setShutdownTimeout(timeoutMs: number): void {
    this.#longestTimeoutMs = timeoutMs;
    this.#scribe = new ProtocolClient(this.#options.bus, scribe, undefined, { timeoutMs, once: true });
  }

  /** Returns how long a site-wide page took last time, milliseconds; 0 for other pages, or if unknown. */
  lastDurationMs({ key }: PendingPage): number {
    return this.#lastDurationsMs.get(key) ?? 0;
  }

  /** Returns whether an empty page can't be removed yet, because no root without it was written yet. */
  isHeld(page: PendingPage): boolean {
    return page.afterRoot > this.#roots.done;
  }

  /** Has a page written. Calls `freeWorker` when the Scribe is done, before the backlog is updated. */
  async write(
    page: PendingPage,
    requests: readonly PageRequest[],
    freeWorker: () => void,
  ): Promise<WrittenPage> {
    const { clock } = this.#options;
    const verb = verbFor(requests);
    const began = clock.monotonicMs();
    try {
      const followUps = await this.#askScribe(page, verb, requests, freeWorker);
      const durationMs = clock.monotonicMs() - began;
      if (SITE_WIDE_KINDS.has(verb)) this.#lastDurationsMs.set(page.key, durationMs);
      return { ...followUps, cooldownMs: this.#cooldownMs(verb, durationMs) };
    } catch (error) {
      // The timeout may have been too short: the next attempt gets twice as long.
      if (page.key === ROOT_PAGE || SITE_WIDE_KINDS.has(verb)) {
        const assumedMs = ((clock.monotonicMs() - began) * 2) / SITE_WIDE_TIMEOUT_FACTOR;
        this.#lastDurationsMs.set(page.key, Math.max(this.lastDurationMs(page), assumedMs));
      }
      throw error;
    }
  }

  /** Returns the milliseconds until a page that took `durationMs` may be written again. */
  #cooldownMs(verb: PageKind, durationMs: number): number {
    const { bufferMs } = this.#options;
    // A log is written once, and removed once; compression changes nothing.
    if (verb === 'LOG' || verb === 'PACK') return 0;
    if (verb === 'ROOT') return Math.min(ROOT_INTERVAL_MS, bufferMs);
    if (verb === 'SEARCH' || verb === 'SITEMAP') return Math.max(bufferMs, durationMs / SITE_WIDE_TIME_SHARE);
    return bufferMs;
  }

  /** Has a Scribe write a page, and records that in the backlog. */
  async #askScribe(
    page: PendingPage,
    verb: PageKind,
    requests: readonly PageRequest[],
    freeWorker: () => void,
  ): Promise<FollowUps> {
    const { backlog } = this.#options;
    const name = packageOf(requests[0]?.argument ?? '');
    switch (verb) {
      case 'PKG':
        return await this.#writePackage(page, name, requests, freeWorker);
      case 'PROJECT':
        return await this.#withSerial(async (serial) => {
          await this.#scribe.request('PROJECT', { package: name, serial }).finally(freeWorker);
          return { next: await backlog.record({ written: requests, next: ['PACK', name] }) };
        });
      case 'ROOT':
        await this.#writeRoot().finally(freeWorker);
        return { alsoDue: ['PACK'] };
      case 'HOME':
        if (this.statistics)
          await this.#scribe.request('HOME', { statistics: this.statistics }).finally(freeWorker);
        return {};
      case 'LOG':
        await this.#scribe.request('LOG', { build_id: Number(name) }).finally(freeWorker);
        break;
      case 'PACK':
        if (name === '')
          await this.#scribe.request('PACK', { package: null }, this.#rootTimeout()).finally(freeWorker);
        else await this.#scribe.request('PACK', { package: name }).finally(freeWorker);
        break;
      case 'SEARCH':
      case 'SITEMAP':
        await this.#scribe.request(verb, {}, this.#siteWideTimeout(verb)).finally(freeWorker);
        break;
      default:
        throw new Error(`no Scribe writes ${verb}`);
    }
    await backlog.record({ written: requests });
    return {};
  }

  /**
   * Writes a package's page in the simple index, and its project page. The root lists a package only after its
   * page is written; an empty page stays until a root that doesn't list it is written.
   */
  async #writePackage(
    page: PendingPage,
    name: string,
    requests: readonly PageRequest[],
    freeWorker: () => void,
  ): Promise<FollowUps> {
    // The root no longer lists the package, so an empty page can be removed.
    const removeIfEmpty = page.afterRoot > 0 && !this.isHeld(page);
    return await this.#withSerial(async (serial) => {
      const written = await this.#scribe
        .request('PKG', { package: name, serial, remove_if_empty: removeIfEmpty })
        .finally(freeWorker);
      const removalDue = written.serial === null && written.empty_page_remains;
      const next = await this.#options.backlog.record({
        written: requests,
        listed: [name, written.serial],
        next: [removalDue ? 'PKG' : 'PACK', name],
      });
      page.afterRoot = removalDue ? this.#roots.started + 1 : 0;
      const changed = written.serial === serial || (written.serial === null && !removeIfEmpty);
      return { next, alsoDue: changed ? ['ROOT', 'SEARCH', 'SITEMAP'] : [] };
    });
  }

  /** Has the root written. Only one write runs at a time, because a page is with one Scribe at a time. */
  async #writeRoot(): Promise<void> {
    this.#roots.started += 1;
    const rootNumber = this.#roots.started;
    const serial = await this.#options.serials.settledSerial();
    await this.#scribe.request('ROOT', { serial }, this.#rootTimeout());
    this.#roots.done = rootNumber;
  }

  #rootTimeout(): { timeoutMs: number; patienceMs: number } {
    return this.#timeout(this.#lastDurationsMs.get(ROOT_PAGE) ?? 0, SCRIBE_TIMEOUT_MS.root);
  }

  /** The first write may take long, and a second Scribe that writes the same would need as much memory again. */
  #siteWideTimeout(key: string): { timeoutMs: number; patienceMs: number } {
    return this.#timeout(this.#lastDurationsMs.get(key) ?? Infinity, SCRIBE_TIMEOUT_MS.siteWide);
  }

  #timeout(lastMs: number, shortestMs: number): { timeoutMs: number; patienceMs: number } {
    const wantedMs = Math.max(SITE_WIDE_TIMEOUT_FACTOR * lastMs, shortestMs);
    const ms = Math.min(wantedMs, this.#longestTimeoutMs);
    return { timeoutMs: ms, patienceMs: ms };
  }

  async #withSerial<R>(write: (serial: number) => Promise<R>): Promise<R> {
    const { serials } = this.#options;
    const serial = await serials.allocate();
    try {
      return await write(serial);
    } finally {
      serials.complete(serial);
    }
  }
}
