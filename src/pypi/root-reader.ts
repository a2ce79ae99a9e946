import { compare, inTurn, type Known } from './compare.js';
import type { IndexRoot, SimpleIndex } from './index-reader.js';
import type { WatchList } from './watch-list.js';

const DAY_MS = 24 * 3_600_000;
/** Fewer packages than this never wait for a word. */
const FEW = 10;

/** Whoever acts upon what the root says, and keeps what is known. */
export interface RootFollower {
  /** Milliseconds since 1970. */
  now(): number;
  known(): Promise<readonly Known[]>;
  /** When everything was last compared; how many packages wait for a word before they go, and how many may. */
  compared(): Promise<{
    readonly compared: number | null;
    readonly held: number | null;
    readonly accepted: number;
  }>;
  /** Everything was compared; so many packages are there no more, and wait for a word. */
  keep(held: number | null): Promise<void>;
  /** The pages of these are to be read. */
  want(names: readonly string[], urgent: boolean): Promise<void>;
  /** The root doesn't name it any more: it is gone if its page is, too. */
  vanished(name: string): Promise<void>;
  warn(text: string): void;
}

export interface RootOptions {
  /** What it finds has been told by nothing before. */
  readonly urgent: boolean;
  /** Of a hundred packages no more than so many go at once without a word. */
  readonly removalShare: number;
  /** How many pages there is time for between two polls. */
  readonly pages: number;
}

/** Compares what is known with an index's root: of PyPI once a day, of any other index at each poll. */
export class RootReader {
  readonly #index: SimpleIndex;
  readonly #follower: RootFollower;
  readonly #options: RootOptions;
  /** The watch list for which everything was last compared. */
  #comparedFor: WatchList | undefined;
  #etag: string | undefined;
  #hasSerials = false;
  /** It was said that changes are missed. */
  #saidBlind = false;

  constructor(index: SimpleIndex, follower: RootFollower, options: RootOptions) {
    this.#index = index;
    this.#follower = follower;
    this.#options = options;
  }

  /** An index without a changelog: its root says what has changed; and where it has no serials, nothing does. */
  async poll(watch: WatchList, signal: AbortSignal): Promise<void> {
    const root = await this.#index.root({ etag: this.#etag, signal });
    if ('notModified' in root) await this.daily(watch, signal);
    else {
      await this.#compare(root, watch, signal);
      this.#etag = root.etag;
      this.#hasSerials = [...root.projects.values()].some((serial) => serial > 0);
    }
    if (this.#hasSerials) return;
    const { names, blind } = inTurn(await this.#follower.known(), watch, this.#options.pages);
    await this.#follower.want(names, false);
    if (!blind || this.#saidBlind) return;
    this.#saidBlind = true;
    this.#follower.warn(
      'the index has neither serials nor ETags: of what it has, only new names are seen; watch the others ' +
        'by name or pattern',
    );
  }

  /** Compares if a day is over, if a word was given, or if the watch list is a new one. */
  async daily(watch: WatchList, signal: AbortSignal): Promise<void> {
    const { compared, held, accepted } = await this.#follower.compared();
    const isDue =
      compared === null || this.#follower.now() - compared >= DAY_MS || (held !== null && accepted >= held);
    if (!this.isNew(watch) && !isDue) return;
    const root = await this.#index.root({ signal });
    if (!('notModified' in root)) await this.#compare(root, watch, signal);
  }

  /** Whether what the list names may be unknown although it isn't new. */
  isNew(watch: WatchList): boolean {
    return watch.follows === 'patterns' && watch !== this.#comparedFor;
  }

  async #compare(root: IndexRoot, watch: WatchList, signal: AbortSignal): Promise<void> {
    const { due, vanished } = compare(root, await this.#follower.known(), watch);
    await this.#follower.want(due, this.#options.urgent);
    await this.#vanished(vanished, root.projects.size, signal);
    this.#comparedFor = watch;
  }

  /** Many packages that go at once wait for a word. */
  async #vanished(names: readonly string[], all: number, signal: AbortSignal): Promise<void> {
    const { accepted } = await this.#follower.compared();
    const count = names.length;
    if (count > Math.max(FEW, (all * this.#options.removalShare) / 100, accepted)) {
      await this.#follower.keep(count);
      return;
    }
    for (const name of names) {
      if (signal.aborted) return;
      await this.#follower.vanished(name);
    }
    await this.#follower.keep(null);
  }
}
