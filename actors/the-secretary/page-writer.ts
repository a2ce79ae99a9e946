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

/** What follows a page that was written. */
interface FollowUps {
  /** The request that follows, which is in the backlog. */
  readonly next?: PageRequest | undefined;
  /** Pages that show what was written, and are not kept in the backlog. */
  readonly alsoDue?: readonly PageKind[];
}

/** How long a page that was written is not written again, and what follows it. */
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
 * Has Scribes write pages, records that in the backlog, and knows what follows what:
 *
 *   a package's page   the root and the other site-wide pages if it has changed; its compression; if it is
 *                      empty, its removal after a root that doesn't list it
 *   a project's page   its compression
 *   the root           its compression; the removal of empty pages
 *
 * Each write of a package's pages gets a serial, higher than all before, by which a Scribe that is late sees
 * that another was faster.
 */
export class PageWriter {
  readonly #options: PageWriterOptions;
  #scribe: ProtocolClient<typeof scribe.verbs>;
  readonly #siteWideScribe: ProtocolClient<typeof scribe.verbs>;
  /** The last duration of each site-wide page, milliseconds. */
  readonly #lastDurationsMs = new Map<string, number>();
  /** How many roots were started, and the number of the last one that was written. */
  readonly #roots = { started: 0, done: 0 };
  /** The figures for the home page; undefined: none have come yet. */
  statistics: Statistics | undefined;

  constructor(options: PageWriterOptions) {
    this.#options = options;
    const scribeClient = (ms: number) =>
      new ProtocolClient(options.bus, scribe, undefined, { timeoutMs: ms, patienceMs: ms });
    this.#scribe = scribeClient(SCRIBE_TIMEOUT_MS.page);
    this.#siteWideScribe = scribeClient(SCRIBE_TIMEOUT_MS.siteWide);
  }

  /** Gives Scribes this long for a page from now on, and doesn't wait for one if none is running. */
  hurry(timeoutMs: number): void {
    this.#scribe = new ProtocolClient(this.#options.bus, scribe, undefined, { timeoutMs, once: true });
  }

  /** Returns how long a page took when it was last written, milliseconds; 0: unknown, or not long. */
  lastDurationMs({ key }: PendingPage): number {
    return this.#lastDurationsMs.get(key) ?? 0;
  }

  /** Returns whether a page has to wait for a root that doesn't list it. */
  isHeld(page: PendingPage): boolean {
    return page.afterRoot > this.#roots.done;
  }

  /** Has a page written. Calls `freeWorker` when the Scribe is done, before that is recorded. */
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
      if (page.key === ROOT_PAGE) {
        const assumedMs = ((clock.monotonicMs() - began) * 2) / ROOT_TIMEOUT_FACTOR;
        this.#lastDurationsMs.set(ROOT_PAGE, Math.max(this.lastDurationMs(page), assumedMs));
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
        await this.#siteWideScribe.request(verb, {}).finally(freeWorker);
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
    const leave = page.afterRoot > 0 && !this.isHeld(page);
    return await this.#withSerial(async (serial) => {
      const written = await this.#scribe.request('PKG', { package: name, serial, leave }).finally(freeWorker);
      const removalDue = written.serial === null && written.stands;
      const next = await this.#options.backlog.record({
        written: requests,
        listed: [name, written.serial],
        next: [removalDue ? 'PKG' : 'PACK', name],
      });
      page.afterRoot = removalDue ? this.#roots.started + 1 : 0;
      const changed = written.serial === serial || (written.serial === null && !leave);
      return { next, alsoDue: changed ? ['ROOT', 'SEARCH', 'SITEMAP'] : [] };
    });
  }

  /** Writes the root. Only one runs at a time, because the root is one page. */
  async #writeRoot(): Promise<void> {
    this.#roots.started += 1;
    const rootNumber = this.#roots.started;
    const serial = await this.#options.serials.settledSerial();
    await this.#scribe.request('ROOT', { serial }, this.#rootTimeout());
    this.#roots.done = rootNumber;
  }

  #rootTimeout(): { timeoutMs: number; patienceMs: number } {
    const wantedMs = ROOT_TIMEOUT_FACTOR * (this.#lastDurationsMs.get(ROOT_PAGE) ?? 0);
    const ms = Math.min(Math.max(wantedMs, SCRIBE_TIMEOUT_MS.root), SCRIBE_TIMEOUT_MS.siteWide);
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
