import { PiwError } from '../errors.js';
import type { ChangeEvent, Changelog, ReadEvent } from './changelog.js';
import { Reorder, type Position } from './reorder.js';

/** Further behind than so many events, history is read: without a look at each project on the way. */
const BEHIND = 2000;
/** How many events are acted upon at once. */
const BATCH = 10_000;

/** Whoever acts upon the events, and keeps how far they reach. */
export interface Follower {
  /** Milliseconds since 1970. */
  now(): number;
  /** Whether more may be read now. */
  goesOn(): boolean;
  watches(name: string): boolean;
  /** How far the log was read when it was last kept. */
  position(): Promise<Position>;
  /** Events as they come. They come once more in their order, but for those that are too `late` for it. */
  seen(events: readonly ChangeEvent[], late: boolean): Promise<void>;
  /** Events in the order in which they happened, and how far they reach: it is kept with what they do. */
  settled(events: readonly ChangeEvent[], position: Position): Promise<void>;
  say(text: string): void;
}

/** Reads a changelog to its end, again and again, from where the follower has got to. */
export class LogReader {
  readonly #changelog: Changelog;
  readonly #follower: Follower;
  #reorder: Reorder<ReadEvent> | undefined;
  /** The highest serial that is kept as read. */
  #kept = -1;

  constructor(changelog: Changelog, follower: Follower) {
    this.#changelog = changelog;
    this.#follower = follower;
  }

  /** Whether it has been read since the start, and has events. */
  get hasRead(): boolean {
    return this.#kept > 0;
  }

  /** Reads to the end. Raises PIW_INDEX, also for a log that is shorter than it was. */
  async read(signal: AbortSignal): Promise<void> {
    this.#reorder ??= new Reorder(await this.#follower.position());
    const reorder = this.#reorder;
    const last = await this.#changelog.lastSerial(signal);
    const { serial: settled, read: known } = reorder.position;
    if (last < known) {
      const text = `the last serial is ${String(last)}, and events up to ${String(known)} are known`;
      throw new PiwError('PIW_INDEX', text);
    }
    if (last === known && settled === known) {
      await this.#settle(reorder, 'end', signal);
      return;
    }
    const history = last - known > BEHIND;
    // Near the end what is not settled yet is read again: a serial may turn up after higher ones.
    let from = history ? known : settled;
    const page = () => {
      const asked = this.#changelog.since(from, signal);
      // It is asked for ahead of need: what is wrong with it is seen when it is looked at.
      asked.catch(() => undefined);
      return asked;
    };
    let next = page();
    while (from < last && this.#follower.goesOn()) {
      const events = await next;
      if (events.length === 0) {
        const text = `the changelog gave no event after ${String(from)}, and it ends at ${String(last)}`;
        throw new PiwError('PIW_INDEX', text);
      }
      const before = from;
      from = events.reduce((highest, { serial }) => Math.max(highest, serial), from);
      if (from === before)
        throw new PiwError(
          'PIW_INDEX',
          `the changelog gave only what was known of it, up to ${String(from)}`,
        );
      if (from < last) next = page();
      const fresh = this.#watched(reorder.push(events));
      const late = this.#watched(reorder.late);
      if (late.length > 0) await this.#follower.seen(late, true);
      reorder.lateDone();
      if (!history && fresh.length > 0) await this.#follower.seen(fresh, false);
      await this.#settle(reorder, from >= last ? 'end' : history ? 'history' : 'near', signal);
      if (history) this.#follower.say(`events up to ${String(from)} of ${String(last)} are read`);
    }
  }

  /** Hands over what nothing can come before any more, in its order. */
  async #settle(
    reorder: Reorder<ReadEvent>,
    where: 'history' | 'near' | 'end',
    signal: AbortSignal,
  ): Promise<void> {
    for (;;) {
      const before = reorder.position;
      const ripe = reorder.ripe(BATCH, this.#follower.now() / 1000, where);
      const { serial, read } = ripe.position;
      if (ripe.events.length === 0 && serial === before.serial && this.#kept === read) return;
      await this.#follower.settled(this.#watched(ripe.events), ripe.position);
      reorder.done(ripe);
      this.#kept = read;
      if (ripe.events.length < BATCH || signal.aborted) return;
    }
  }

  #watched(events: readonly ReadEvent[]): readonly ChangeEvent[] {
    return events.filter(isChange).filter(({ name }) => this.#follower.watches(name));
  }
}

const isChange = (event: ReadEvent): event is ChangeEvent => event.kind !== null;
