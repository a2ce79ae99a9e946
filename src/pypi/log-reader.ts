import { PiwError } from '../errors.js';
import type { ChangeEvent, Changelog, ChangelogEvent } from './changelog.js';
import { EventReorderer, type ChangelogPosition } from './reorder.js';

/** Further behind than so many events, history is read: without a look at each project on the way. */
const HISTORY_THRESHOLD_EVENTS = 2000;
/** How many events are acted upon at once. */
const MAX_BATCH_EVENTS = 10_000;

/** Whoever acts upon the events, and keeps how far they reach. */
export interface ChangelogFollower {
  /** Milliseconds since 1970. */
  now(): number;
  /** Whether more may be read now. */
  shouldContinue(): boolean;
  watches(name: string): boolean;
  /** How far the log was read when it was last kept. */
  position(): Promise<ChangelogPosition>;
  /** Events as they come. They come once more in their order, but for those that are too `late` for it. */
  onSeen(events: readonly ChangeEvent[], late: boolean): Promise<void>;
  /** Events in the order in which they happened, and how far they reach: it is kept with what they do. */
  onSettled(events: readonly ChangeEvent[], position: ChangelogPosition): Promise<void>;
  logInfo(text: string): void;
}

/** Reads a changelog to its end, again and again, from where the follower has got to. */
export class ChangelogReader {
  readonly #changelog: Changelog;
  readonly #follower: ChangelogFollower;
  #reorder: EventReorderer<ChangelogEvent> | undefined;
  /** The highest serial that is kept as read. */
  #savedSerial = -1;

  constructor(changelog: Changelog, follower: ChangelogFollower) {
    this.#changelog = changelog;
    this.#follower = follower;
  }

  /** Whether it has been read since the start, and has events. */
  get hasRead(): boolean {
    return this.#savedSerial > 0;
  }

  /** Reads to the end. Raises PIW_INDEX, also for a log that is shorter than it was. */
  async read(signal: AbortSignal): Promise<void> {
    this.#reorder ??= new EventReorderer(await this.#follower.position());
    const reorder = this.#reorder;
    const last = await this.#changelog.lastSerial(signal);
    const { serial: settledSerial, read: highestRead } = reorder.position;
    if (last < highestRead) {
      const text = `the last serial is ${String(last)}, and events up to ${String(highestRead)} are known`;
      throw new PiwError('PIW_INDEX', text);
    }
    if (last === highestRead && settledSerial === highestRead) {
      await this.#settle(reorder, 'end', signal);
      return;
    }
    const isHistory = last - highestRead > HISTORY_THRESHOLD_EVENTS;
    // Near the end what is not settled yet is read again: a serial may turn up after higher ones.
    let from = isHistory ? highestRead : settledSerial;
    const fetchNextPage = () => {
      const request = this.#changelog.since(from, signal);
      // It is asked for ahead of need: what is wrong with it is seen when it is looked at.
      request.catch(() => undefined);
      return request;
    };
    let next = fetchNextPage();
    while (from < last && this.#follower.shouldContinue()) {
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
      if (from < last) next = fetchNextPage();
      const fresh = this.#watched(reorder.push(events));
      const late = this.#watched(reorder.late);
      if (late.length > 0) await this.#follower.onSeen(late, true);
      reorder.clearLate();
      if (!isHistory && fresh.length > 0) await this.#follower.onSeen(fresh, false);
      await this.#settle(reorder, from >= last ? 'end' : isHistory ? 'history' : 'near', signal);
      if (isHistory) this.#follower.logInfo(`events up to ${String(from)} of ${String(last)} are read`);
    }
  }

  /** Hands over what nothing can come before any more, in its order. */
  async #settle(
    reorder: EventReorderer<ChangelogEvent>,
    region: 'history' | 'near' | 'end',
    signal: AbortSignal,
  ): Promise<void> {
    for (;;) {
      const before = reorder.position;
      const settledEvents = reorder.nextSettled(MAX_BATCH_EVENTS, this.#follower.now() / 1000, region);
      const { serial, read } = settledEvents.position;
      if (settledEvents.events.length === 0 && serial === before.serial && this.#savedSerial === read) return;
      await this.#follower.onSettled(this.#watched(settledEvents.events), settledEvents.position);
      reorder.confirm(settledEvents);
      this.#savedSerial = read;
      if (settledEvents.events.length < MAX_BATCH_EVENTS || signal.aborted) return;
    }
  }

  #watched(events: readonly ChangelogEvent[]): readonly ChangeEvent[] {
    return events.filter(isChange).filter(({ name }) => this.#follower.watches(name));
  }
}

const isChange = (event: ChangelogEvent): event is ChangeEvent => event.kind !== null;
