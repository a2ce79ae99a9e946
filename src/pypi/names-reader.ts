import { PiwError, rethrowUnexpected } from '../errors.js';
import type { LogMethod } from '../log.js';
import type { SimpleIndexClient } from './index-reader.js';
import type { IndexRateLimiter } from './rate-limiter.js';
import { groupByRelease } from './releases.js';
import { selectReleases, type WantedRelease, type WatchedProject } from './watch.js';

/** Stores what the reader finds. */
interface NamesFollower {
  /** Returns whether more may be read now. */
  shouldContinue(): boolean;
  /** Called with the wanted releases of a project whose page has changed. */
  onReleases(name: string, wanted: readonly WantedRelease[]): Promise<void>;
  /** Called when a project's page can't be read. */
  onError(name: string, error: PiwError): void;
  readonly warn: LogMethod;
}

/** Follows a few packages by reading each one's page, with its ETag. */
export class NamesReader {
  readonly #index: SimpleIndexClient;
  readonly #history: 'all' | 'newest';
  readonly #pace: IndexRateLimiter;
  readonly #follower: NamesFollower;
  readonly #reportedMissing = new Set<string>();

  constructor(
    index: SimpleIndexClient,
    history: 'all' | 'newest',
    pace: IndexRateLimiter,
    follower: NamesFollower,
  ) {
    this.#index = index;
    this.#history = history;
    this.#pace = pace;
    this.#follower = follower;
  }

  async read(names: Iterable<WatchedProject>, signal: AbortSignal): Promise<void> {
    for (const watched of names) {
      if (!this.#follower.shouldContinue()) return;
      try {
        await this.#readProject(watched, signal);
      } catch (error) {
        if (signal.aborted) return;
        rethrowUnexpected(error);
        this.#follower.onError(watched.name, error);
      }
    }
  }

  async #readProject(watched: WatchedProject, signal: AbortSignal): Promise<void> {
    const { name, etag } = watched;
    await this.#pace.acquire(signal);
    const answer = await this.#index.project(name, { signal, ...(etag === undefined ? {} : { etag }) });
    if (answer === undefined) {
      if (!this.#reportedMissing.has(name))
        this.#follower.warn('the index has no such project', { package: name });
      this.#reportedMissing.add(name);
      return;
    }
    this.#reportedMissing.delete(name);
    if ('notModified' in answer) return;
    const { wanted, missing } = selectReleases(watched, groupByRelease(answer), this.#history);
    for (const version of missing)
      this.#follower.warn('the index has no such version', { package: name, version });
    await this.#follower.onReleases(name, wanted);
    // Set last: if the follower failed, the next visit must see the releases again.
    watched.etag = answer.etag;
  }
}
