import { Batch } from '../../src/actor/batch.js';
import type { Client } from '../../src/actor/client.js';
import type { PageLane, oracle } from '../../src/protocols/oracle.js';
import { KEPT, type Kind, type Wish } from './pages.js';

/** What the database is told of a page that was written. */
export interface Saved {
  readonly written: readonly Wish[];
  /** How the root names the package from now on, by the serial of its page; null: not at all. */
  readonly listed?: readonly [name: string, serial: number | null];
  /** What is due next. */
  readonly next?: readonly [kind: Kind, argument: string];
}

/**
 * What is due, in the database: there it is kept until it is on the disk. What was written, and how the root names
 * it, may be said only by the Secretary who holds the lease; that something is due, by anyone.
 */
export class Backlog {
  readonly #database: Client<typeof oracle.verbs>;
  readonly #fence: () => number;
  readonly #saved: Batch<Saved, number>;
  /** How far it has been read, by its notes. */
  readonly #read = new Map<PageLane, number>();

  /** `fence` gives the revision of the lease, and raises PIW_NOT_LEADER. */
  constructor(database: Client<typeof oracle.verbs>, fence: () => number) {
    this.#database = database;
    this.#fence = fence;
    this.#saved = new Batch({
      run: (saved) => this.#save(saved),
      ...{ maxItems: 500, maxInFlight: 1, delayMs: 50 },
    });
  }

  /** Notes that something is due. */
  async keep(kind: Kind, argument: string): Promise<Wish> {
    const { notes } = await this.#database.ask('SAVEPAGES', {
      ...{ fence: null, pages: [[kind, argument]], written: [], listed: [] },
    });
    return { kind, argument, note: notes[0] ?? 0 };
  }

  /** Notes what was written, many at once; gives what is due next. Raises PIW_FENCED and PIW_NOT_LEADER, too. */
  async note(saved: Saved): Promise<Wish | undefined> {
    const kept = saved.written.filter(({ kind }) => KEPT.has(kind));
    if (kept.length === 0 && !saved.next) return undefined;
    const note = await this.#saved.add({ ...saved, written: kept });
    if (!saved.next) return undefined;
    const [kind, argument] = saved.next;
    return { kind, argument, note };
  }

  /** What follows what was read the last time, in its order; none at its end. */
  async more(lane: PageLane): Promise<readonly Wish[]> {
    const { pages } = await this.#database.ask('LOADPAGES', { lane, after: this.#read.get(lane) ?? 0 });
    const last = pages.at(-1);
    if (last) this.#read.set(lane, last[2]);
    return pages.map(([kind, argument, note]) => ({ kind: kind as Kind, argument, note }));
  }

  /** From now on it is read from its beginning again: of two notes the higher may be committed first. */
  reread(): void {
    this.#read.clear();
  }

  async #save(all: readonly Saved[]): Promise<readonly number[]> {
    const { notes } = await this.#database.ask('SAVEPAGES', {
      fence: this.#fence(),
      pages: all.flatMap(({ next }) => (next ? [[next[0], next[1]] as [string, string]] : [])),
      written: all.flatMap(({ written }) =>
        written.map(({ kind, argument, note }): [string, string, number] => [kind, argument, note]),
      ),
      listed: all.flatMap(({ listed }) =>
        listed ? [[listed[0], listed[1]] as [string, number | null]] : [],
      ),
    });
    const left = notes.values();
    return all.map(({ next }) => (next ? (left.next().value ?? 0) : 0));
  }
}
