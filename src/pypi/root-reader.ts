import type { LogMethod } from '../log.js';
import { DAY_MS } from '../units.js';
import { compareWithRoot, nextToPoll, type KnownProject } from './compare.js';
import type { IndexRoot } from './index-page.js';
import type { SimpleIndexClient } from './index-reader.js';
import type { WatchList } from './watch-list.js';

/** Up to this many packages are removed without confirmation. */
const MAX_UNCONFIRMED_REMOVALS = 10;

/** Acts on what the root says, and stores what is known. */
export interface RootFollower {
  /** Milliseconds since 1970. */
  now(): number;
  knownProjects(): Promise<readonly KnownProject[]>;
  /**
   * Returns when the index was last compared, how many packages are held until an administrator confirms their removal,
   * and how many removals are confirmed.
   */
  comparisonState(): Promise<{
    readonly compared: number | null;
    readonly held: number | null;
    readonly accepted: number;
  }>;
  /** Records a comparison; `held` packages are no longer in the root and wait for confirmation. */
  saveComparison(held: number | null): Promise<void>;
  /** Requests that these projects' pages are fetched. */
  requestPages(names: readonly string[], urgent: boolean): Promise<void>;
  /** Called when the root no longer lists a project: it is removed if its page is gone, too. */
  onVanished(name: string): Promise<void>;
  readonly warn: LogMethod;
}

interface RootReaderOptions {
  /** Whether fetches are urgent, because nothing else reports changes. */
  readonly urgent: boolean;
  /** The share of the index, in percent, that is removed at once without confirmation. */
  readonly removalShare: number;
  /** How many pages can be fetched between two polls. */
  readonly pagesPerPoll: number;
}

/** Compares the known projects with an index's root: of PyPI once a day, of any other index at each poll. */
export class RootReader {
  readonly #index: SimpleIndexClient;
  readonly #follower: RootFollower;
  readonly #options: RootReaderOptions;
  /** The watch list of the last comparison. */
  #comparedFor: WatchList | undefined;
  #etag: string | undefined;
  #hasSerials = false;
  /** Whether the user was warned that changes are missed. */
  #warnedBlind = false;

  constructor(index: SimpleIndexClient, follower: RootFollower, options: RootReaderOptions) {
    this.#index = index;
    this.#follower = follower;
    this.#options = options;
  }

  /** Polls an index without a changelog: by the serials of its root, or, if it has none, by projects' pages in turn. */
  async poll(watch: WatchList, signal: AbortSignal): Promise<void> {
    const root = await this.#index.root({ etag: this.#etag, signal });
    if ('notModified' in root) await this.compareIfDue(watch, signal);
    else {
      await this.#compare(root, watch, signal);
      this.#etag = root.etag;
      this.#hasSerials = [...root.projects.values()].some((serial) => serial > 0);
    }
    if (this.#hasSerials) return;
    const { names, blind } = nextToPoll(
      await this.#follower.knownProjects(),
      watch,
      this.#options.pagesPerPoll,
    );
    await this.#follower.requestPages(names, false);
    if (!blind || this.#warnedBlind) return;
    this.#warnedBlind = true;
    this.#follower.warn(
      'the index has neither serials nor ETags: only new names are noticed; to follow other packages, ' +
        'watch them by name or pattern',
    );
  }

  /** Compares if a day has passed, if held removals were confirmed, or if the watch list has changed. */
  async compareIfDue(watch: WatchList, signal: AbortSignal): Promise<void> {
    const { compared, held, accepted } = await this.#follower.comparisonState();
    const isDue =
      compared === null || this.#follower.now() - compared >= DAY_MS || (held !== null && accepted >= held);
    if (!this.isUncompared(watch) && !isDue) return;
    const root = await this.#index.root({ signal });
    if (!('notModified' in root)) await this.#compare(root, watch, signal);
  }

  /** Returns whether the list may match old projects that are not yet known. */
  isUncompared(watch: WatchList): boolean {
    return watch.scope === 'patterns' && watch !== this.#comparedFor;
  }

  async #compare(root: IndexRoot, watch: WatchList, signal: AbortSignal): Promise<void> {
    const { due, vanished } = compareWithRoot(root, await this.#follower.knownProjects(), watch);
    await this.#follower.requestPages(due, this.#options.urgent);
    await this.#removeVanished(vanished, root.projects.size, signal);
    this.#comparedFor = watch;
  }

  /** Removes vanished packages; if there are too many at once, holds them until an administrator confirms. */
  async #removeVanished(names: readonly string[], total: number, signal: AbortSignal): Promise<void> {
    const { accepted } = await this.#follower.comparisonState();
    const count = names.length;
    if (count > Math.max(MAX_UNCONFIRMED_REMOVALS, (total * this.#options.removalShare) / 100, accepted)) {
      await this.#follower.saveComparison(count);
      return;
    }
    for (const name of names) {
      if (signal.aborted) return;
      await this.#follower.onVanished(name);
    }
    await this.#follower.saveComparison(null);
  }
}
