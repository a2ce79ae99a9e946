import { compareWithRoot, nextToPoll, type KnownProject } from './compare.js';
import type { IndexRoot, SimpleIndexClient } from './index-reader.js';
import type { WatchList } from './watch-list.js';

const DAY_MS = 24 * 3_600_000;
/** Fewer packages than this never wait for a word. */
const MAX_UNCONFIRMED_REMOVALS = 10;

/** Whoever acts upon what the root says, and keeps what is known. */
export interface RootFollower {
  /** Milliseconds since 1970. */
  now(): number;
  knownProjects(): Promise<readonly KnownProject[]>;
  /** When everything was last compared; how many packages wait for a word before they go, and how many may. */
  comparisonState(): Promise<{
    readonly compared: number | null;
    readonly held: number | null;
    readonly accepted: number;
  }>;
  /** Everything was compared; so many packages are there no more, and wait for a word. */
  saveComparison(held: number | null): Promise<void>;
  /** The pages of these are to be read. */
  requestPages(names: readonly string[], urgent: boolean): Promise<void>;
  /** The root doesn't name it any more: it is gone if its page is, too. */
  onVanished(name: string): Promise<void>;
  warn(text: string): void;
}

export interface RootReaderOptions {
  /** What it finds has been told by nothing before. */
  readonly urgent: boolean;
  /** Of a hundred packages no more than so many go at once without a word. */
  readonly removalShare: number;
  /** How many pages there is time for between two polls. */
  readonly pagesPerPoll: number;
}

/** Compares what is known with an index's root: of PyPI once a day, of any other index at each poll. */
export class RootReader {
  readonly #index: SimpleIndexClient;
  readonly #follower: RootFollower;
  readonly #options: RootReaderOptions;
  /** The watch list for which everything was last compared. */
  #comparedFor: WatchList | undefined;
  #etag: string | undefined;
  #hasSerials = false;
  /** It was said that changes are missed. */
  #warnedBlind = false;

  constructor(index: SimpleIndexClient, follower: RootFollower, options: RootReaderOptions) {
    this.#index = index;
    this.#follower = follower;
    this.#options = options;
  }

  /** An index without a changelog: its root says what has changed; and where it has no serials, nothing does. */
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
      'the index has neither serials nor ETags: of what it has, only new names are seen; watch the others ' +
        'by name or pattern',
    );
  }

  /** Compares if a day is over, if a word was given, or if the watch list is a new one. */
  async compareIfDue(watch: WatchList, signal: AbortSignal): Promise<void> {
    const { compared, held, accepted } = await this.#follower.comparisonState();
    const isDue =
      compared === null || this.#follower.now() - compared >= DAY_MS || (held !== null && accepted >= held);
    if (!this.isUncompared(watch) && !isDue) return;
    const root = await this.#index.root({ signal });
    if (!('notModified' in root)) await this.#compare(root, watch, signal);
  }

  /** Whether what the list names may be unknown although it isn't new. */
  isUncompared(watch: WatchList): boolean {
    return watch.scope === 'patterns' && watch !== this.#comparedFor;
  }

  async #compare(root: IndexRoot, watch: WatchList, signal: AbortSignal): Promise<void> {
    const { due, vanished } = compareWithRoot(root, await this.#follower.knownProjects(), watch);
    await this.#follower.requestPages(due, this.#options.urgent);
    await this.#removeVanished(vanished, root.projects.size, signal);
    this.#comparedFor = watch;
  }

  /** Many packages that go at once wait for a word. */
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
