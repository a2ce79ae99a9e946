import { Batcher } from '../../src/concurrency/batcher.js';
import type { ProtocolClient } from '../../src/actor/client.js';
import type { PagePriority } from '../../src/model/page.js';
import type { oracle } from '../../src/protocols/oracle.js';
import { PERSISTED_KINDS, requestOf, type PageKind, type PageRequest } from './pages.js';

/** What to record in the database about a page that was written. */
interface BacklogUpdate {
  readonly written: readonly PageRequest[];
  /** How the root lists the package from now on: by the serial of its page; null: not at all. */
  readonly listed?: readonly [name: string, serial: number | null];
  /** The request that follows. */
  readonly next?: readonly [kind: PageKind, argument: string];
}

/**
 * The requests that are due, kept in the database until they are on the disk. Only the Secretary who holds
 * the lease may record what was written and how the root lists it; anyone may add a request.
 */
export class Backlog {
  readonly #oracle: ProtocolClient<typeof oracle.verbs>;
  readonly #assertLeader: () => number;
  readonly #updateBatch: Batcher<BacklogUpdate, number>;
  /** The revision up to which each priority has been read. */
  readonly #readPositions = new Map<PagePriority, number>();

  /** `assertLeader` returns the revision of the lease, and throws PIW_NOT_LEADER. */
  constructor(database: ProtocolClient<typeof oracle.verbs>, assertLeader: () => number) {
    this.#oracle = database;
    this.#assertLeader = assertLeader;
    this.#updateBatch = new Batcher({
      run: (updates) => this.#saveAll(updates),
      maxItems: 500,
      maxInFlight: 1,
      delayMs: 50,
    });
  }

  /** Adds a request. */
  async add(kind: PageKind, argument: string): Promise<PageRequest> {
    const { revisions } = await this.#oracle.request('SAVEPAGES', {
      fence: null,
      pages: [[kind, argument]],
      written: [],
      listed: [],
    });
    return { kind, argument, revision: revisions[0] ?? 0 };
  }

  /**
   * Records what was written, in batches. Returns the request that follows. Throws PIW_FENCED and
   * PIW_NOT_LEADER.
   */
  async record(update: BacklogUpdate): Promise<PageRequest | undefined> {
    const persisted = update.written.filter(({ kind }) => PERSISTED_KINDS.has(kind));
    if (persisted.length === 0 && !update.next) return undefined;
    const revision = await this.#updateBatch.add({ ...update, written: persisted });
    if (!update.next) return undefined;
    const [kind, argument] = update.next;
    return { kind, argument, revision };
  }

  /** Returns the requests that follow those of the last call, in order; none at the end. */
  async readNext(priority: PagePriority): Promise<readonly PageRequest[]> {
    const { pages } = await this.#oracle.request('LOADPAGES', {
      priority,
      after: this.#readPositions.get(priority) ?? 0,
    });
    const last = pages.at(-1);
    if (last) this.#readPositions.set(priority, last[2]);
    return pages.map(requestOf);
  }

  /** Starts reading from the beginning again, because of two revisions the higher may be committed first. */
  rewind(): void {
    this.#readPositions.clear();
  }

  async #saveAll(updates: readonly BacklogUpdate[]): Promise<readonly number[]> {
    const { revisions } = await this.#oracle.request('SAVEPAGES', {
      fence: this.#assertLeader(),
      pages: updates.flatMap(({ next }) => (next ? [[next[0], next[1]] as [string, string]] : [])),
      written: updates.flatMap(({ written }) =>
        written.map(({ kind, argument, revision }): [string, string, number] => [kind, argument, revision]),
      ),
      listed: updates.flatMap(({ listed }) =>
        listed ? [[listed[0], listed[1]] as [string, number | null]] : [],
      ),
    });
    const remainingRevisions = revisions.values();
    return updates.map(({ next }) => (next ? (remainingRevisions.next().value ?? 0) : 0));
  }
}
