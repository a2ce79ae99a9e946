import { Batcher } from '../../src/concurrency/batcher.js';
import type { ProtocolClient } from '../../src/actor/client.js';
import type { PagePriority } from '../../src/model/page.js';
import type { oracle } from '../../src/protocols/oracle.js';
import { PERSISTED_KINDS, type PageKind, type PageRequest } from './pages.js';

/** What the database is told of a page that was written. */
export interface BacklogUpdate {
  readonly written: readonly PageRequest[];
  /** How the root names the package from now on, by the serial of its page; null: not at all. */
  readonly listed?: readonly [name: string, serial: number | null];
  /** What is due next. */
  readonly next?: readonly [kind: PageKind, argument: string];
}

/**
 * What is due, in the database: there it is kept until it is on the disk. What was written, and how the root names
 * it, may be said only by the Secretary who holds the lease; that something is due, by anyone.
 */
export class Backlog {
  readonly #database: ProtocolClient<typeof oracle.verbs>;
  readonly #fence: () => number;
  readonly #updateBatch: Batcher<BacklogUpdate, number>;
  /** How far it has been read, by its notes. */
  readonly #readPositions = new Map<PagePriority, number>();

  /** `fence` gives the revision of the lease, and raises PIW_NOT_LEADER. */
  constructor(database: ProtocolClient<typeof oracle.verbs>, fence: () => number) {
    this.#database = database;
    this.#fence = fence;
    this.#updateBatch = new Batcher({
      run: (saved) => this.#saveAll(saved),
      ...{ maxItems: 500, maxInFlight: 1, delayMs: 50 },
    });
  }

  /** Notes that something is due. */
  async add(kind: PageKind, argument: string): Promise<PageRequest> {
    const { notes } = await this.#database.request('SAVEPAGES', {
      ...{ fence: null, pages: [[kind, argument]], written: [], listed: [] },
    });
    return { kind, argument, note: notes[0] ?? 0 };
  }

  /** Notes what was written, many at once; gives what is due next. Raises PIW_FENCED and PIW_NOT_LEADER, too. */
  async record(update: BacklogUpdate): Promise<PageRequest | undefined> {
    const persisted = update.written.filter(({ kind }) => PERSISTED_KINDS.has(kind));
    if (persisted.length === 0 && !update.next) return undefined;
    const note = await this.#updateBatch.add({ ...update, written: persisted });
    if (!update.next) return undefined;
    const [kind, argument] = update.next;
    return { kind, argument, note };
  }

  /** What follows what was read the last time, in its order; none at its end. */
  async readNext(priority: PagePriority): Promise<readonly PageRequest[]> {
    const { pages } = await this.#database.request('LOADPAGES', {
      lane: priority,
      after: this.#readPositions.get(priority) ?? 0,
    });
    const last = pages.at(-1);
    if (last) this.#readPositions.set(priority, last[2]);
    return pages.map(([kind, argument, note]) => ({ kind: kind as PageKind, argument, note }));
  }

  /** From now on it is read from its beginning again: of two notes the higher may be committed first. */
  rewind(): void {
    this.#readPositions.clear();
  }

  async #saveAll(updates: readonly BacklogUpdate[]): Promise<readonly number[]> {
    const { notes } = await this.#database.request('SAVEPAGES', {
      fence: this.#fence(),
      pages: updates.flatMap(({ next }) => (next ? [[next[0], next[1]] as [string, string]] : [])),
      written: updates.flatMap(({ written }) =>
        written.map(({ kind, argument, note }): [string, string, number] => [kind, argument, note]),
      ),
      listed: updates.flatMap(({ listed }) =>
        listed ? [[listed[0], listed[1]] as [string, number | null]] : [],
      ),
    });
    const remainingNotes = notes.values();
    return updates.map(({ next }) => (next ? (remainingNotes.next().value ?? 0) : 0));
  }
}
