import { PiwError } from '../errors.js';
import type { SimpleIndex } from './index-reader.js';
import type { Pace } from './pace.js';
import { releases } from './releases.js';
import { select, type Wanted, type Watched } from './watch.js';

/** Whoever keeps what is found. */
export interface NamesFollower {
  /** Whether more may be read now. */
  goesOn(): boolean;
  /** What is wanted of a project whose page has changed. */
  found(name: string, wanted: readonly Wanted[]): Promise<void>;
  /** A project's page could not be read. */
  failed(name: string, error: PiwError): void;
  warn(text: string): void;
}

/** For a farm of a few packages: reads each one's page, by its ETag. */
export class NamesReader {
  readonly #index: SimpleIndex;
  readonly #history: 'all' | 'newest';
  readonly #pace: Pace;
  readonly #follower: NamesFollower;
  readonly #missing = new Set<string>();

  constructor(index: SimpleIndex, history: 'all' | 'newest', pace: Pace, follower: NamesFollower) {
    this.#index = index;
    this.#history = history;
    this.#pace = pace;
    this.#follower = follower;
  }

  async read(names: Iterable<Watched>, signal: AbortSignal): Promise<void> {
    for (const watched of names) {
      if (!this.#follower.goesOn()) return;
      try {
        await this.#project(watched, signal);
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof PiwError)) throw error;
        this.#follower.failed(watched.name, error);
      }
    }
  }

  async #project(watched: Watched, signal: AbortSignal): Promise<void> {
    const { name, etag } = watched;
    await this.#pace.turn(signal);
    const answer = await this.#index.project(name, { signal, ...(etag === undefined ? {} : { etag }) });
    if (answer === undefined) {
      if (!this.#missing.has(name)) this.#follower.warn(`the index has no project ${name}`);
      this.#missing.add(name);
      return;
    }
    this.#missing.delete(name);
    if ('notModified' in answer) return;
    const { wanted, missing } = select(watched, releases(answer), this.#history);
    for (const version of missing) this.#follower.warn(`the index has no ${name} ${version}`);
    await this.#follower.found(name, wanted);
    // Only now: had they been refused, the next look must see them again.
    watched.etag = answer.etag;
  }
}
