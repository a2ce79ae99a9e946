import { PiwError } from '../errors.js';
import type { LogMethod } from '../log.js';
import type { ChangeEvent, Changelog, ChangelogEvent } from './changelog.js';
import { EventReorderer, type ChangelogPosition } from './reorder.js';

/** A reader that is further behind than this reads history: it doesn't announce events before they are settled. */
const HISTORY_THRESHOLD_EVENTS = 2000;
/** How many settled events are passed to the follower at once. */
const MAX_BATCH_EVENTS = 10_000;

/** Acts on the events, and stores the position in the log. */
interface ChangelogFollower {
  /** Milliseconds since 1970. */
  now(): number;
  /** Returns whether more may be read now. */
  shouldContinue(): boolean;
  watches(name: string): boolean;
  /** Returns the stored position. */
  position(): Promise<ChangelogPosition>;
  /** Called with events as they arrive. They arrive again in order through onSettled, except `late` ones. */
  onSeen(events: readonly ChangeEvent[], late: boolean): Promise<void>;
  /** Called with events in the order in which they happened. Stores `position` together with their effects. */
  onSettled(events: readonly ChangeEvent[], position: ChangelogPosition): Promise<void>;
  readonly logInfo: LogMethod;
}

/** Reads a changelog to its end, as often as read() is called, from the follower's position. */
export class ChangelogReader {
  readonly #changelog: Changelog;
  readonly #follower: ChangelogFollower;
  #reorder: EventReorderer<ChangelogEvent> | undefined;
  /** The highest serial that the follower has stored as read. */
  #savedSerial = -1;

  constructor(changelog: Changelog, follower: ChangelogFollower) {
    this.#changelog = changelog;
    this.#follower = follower;
  }

  /** Whether the changelog has been read since the start and has events. */
  get hasRead(): boolean {
    return this.#savedSerial > 0;
  }

  /** Reads to the end of the log. Throws PIW_INDEX, also if the log is shorter than before. */
  async read(signal: AbortSignal): Promise<void> {
    this.#reorder ??= new EventReorderer(await this.#follower.position());
    const reorder = this.#reorder;
    const last = await this.#changelog.lastSerial(signal);
    const { serial: settledSerial, read: highestRead } = reorder.position;
    if (last < highestRead) {
      const text = `the changelog ends at serial ${last}, but events up to ${highestRead} were read before`;
      throw new PiwError('PIW_INDEX', text);
    }
    if (last === highestRead && settledSerial === highestRead) {
      await this.#settle(reorder, 'end', signal);
      return;
    }
    const isHistory = last - highestRead > HISTORY_THRESHOLD_EVENTS;
    // Near the end, unsettled events are read again: a serial may appear after higher ones.
    let from = isHistory ? highestRead : settledSerial;
    const fetchNextPage = () => {
      const request = this.#changelog.since(from, signal);
      // The page is prefetched: an error is handled when the page is awaited.
      request.catch(() => undefined);
      return request;
    };
    let next = fetchNextPage();
    while (from < last && this.#follower.shouldContinue()) {
      const events = await next;
      if (events.length === 0) {
        const text = `the changelog returned no events after ${from}, but ends at ${last}`;
        throw new PiwError('PIW_INDEX', text);
      }
      const before = from;
      from = events.reduce((highest, { serial }) => Math.max(highest, serial), from);
      if (from === before)
        throw new PiwError(
          'PIW_INDEX',
          `the changelog returned only events up to ${from}, which were already read`,
        );
      if (from < last) next = fetchNextPage();
      const newEvents = this.#watched(reorder.push(events));
      const late = this.#watched(reorder.late);
      if (late.length > 0) await this.#follower.onSeen(late, true);
      reorder.clearLate();
      if (!isHistory && newEvents.length > 0) await this.#follower.onSeen(newEvents, false);
      await this.#settle(reorder, from >= last ? 'end' : isHistory ? 'history' : 'near', signal);
      if (isHistory) this.#follower.logInfo('events read', { serial: from, last });
    }
  }

  /** Passes on, in order, the events before which no other event can appear. */
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
