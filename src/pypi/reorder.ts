import type { ChangelogEvent } from './changelog.js';

/** How far the log has been read and acted on; stored in the database together with the effects. */
export interface ChangelogPosition {
  /** Every event up to this serial has been acted on. */
  readonly serial: number;
  /** The highest serial that has been read. */
  readonly read: number;
  /** The last event, by time and then by serial, that has been acted on. */
  readonly cutTime: number;
  readonly cutSerial: number;
}

/** How long an older event may still appear, seconds. */
const REORDER_WINDOW_S = 600;
/** Below this serial PyPI's events are out of order by days or years, so they are sorted all at once. */
const FIRST_ORDERED_SERIAL = 628_000;

interface SettledEvents<E> {
  /** In the order in which they happened. */
  readonly events: readonly E[];
  /** The position after they have been acted on. */
  readonly position: ChangelogPosition;
}

/**
 * Puts the events of a changelog into the order in which they happened: by time, then by serial.
 *
 * The log is ordered by serial, which differs from the order of events by minutes, and a serial may become visible only
 * after higher ones. So an event waits until it is REORDER_WINDOW_S older than the newest one, or than `now`: then no
 * older event can still appear. If one appears nevertheless, it is `late` and gets no place in the order: the caller acts
 * on it at once and fetches its project's page, which shows the final state. An event that was seen before is dropped.
 *
 * Waiting events are not stored anywhere else: `position.serial` stays below them, so that they are read again after a
 * restart. At the end of the log it also stays below everything that was first read less than REORDER_WINDOW_S ago,
 * since that is where a serial may still appear.
 */
export class EventReorderer<E extends ChangelogEvent> {
  readonly #waiting = new Map<number, E>();
  /** Serials above position.serial that have been acted on, or were late. */
  readonly #handledSerials = new Set<number>();
  #position: ChangelogPosition;
  #newest = 0;
  #late: E[] = [];
  /** The highest serial that had been read at certain times, seconds. */
  #readHistory: { readonly at: number; readonly read: number }[] = [];

  constructor(position: ChangelogPosition) {
    this.#position = position;
  }

  get position(): ChangelogPosition {
    return this.#position;
  }

  /** Adds events, and returns those that were not seen before, except late ones. */
  push(events: readonly E[]): readonly E[] {
    const { serial: from, read, cutTime, cutSerial } = this.#position;
    const newEvents: E[] = [];
    let highest = read;
    for (const event of events) {
      const { serial, time } = event;
      if (serial <= from || this.#handledSerials.has(serial) || this.#waiting.has(serial)) continue;
      if (serial > FIRST_ORDERED_SERIAL && time > this.#newest) this.#newest = time;
      if (serial > highest) highest = serial;
      // Before the cut: it was acted on before a restart, or it is late. There is no telling which.
      if (time < cutTime || (time === cutTime && serial <= cutSerial)) {
        this.#handledSerials.add(serial);
        this.#late.push(event);
        continue;
      }
      this.#waiting.set(serial, event);
      newEvents.push(event);
    }
    this.#position = { ...this.#position, read: highest };
    return newEvents;
  }

  /** The late events since the last clearLate(). */
  get late(): readonly E[] {
    return this.#late;
  }

  clearLate(): void {
    this.#late = [];
  }

  /**
   * Returns at most `limit` events before which no other can appear; they stay here until confirm(). `now` is in seconds.
   * `region` is the reader's place in the log: in its `history`, where no further serials appear, `near` its end, or at
   * its `end`. Only at the end does the current time move the window; elsewhere only the newest event does.
   */
  nextSettled(limit: number, now: number, region: 'history' | 'near' | 'end'): SettledEvents<E> {
    const cutoff = Math.max(this.#newest, region === 'end' ? now : 0) - REORDER_WINDOW_S;
    const unsorted = this.#position.read < FIRST_ORDERED_SERIAL && region !== 'end';
    const sorted = unsorted
      ? []
      : [...this.#waiting.values()]
          .filter(({ time }) => time <= cutoff)
          .sort((a, b) => a.time - b.time || a.serial - b.serial);
    const events = sorted.slice(0, limit);
    const last = events.at(-1);
    const cut = last ? { cutTime: last.time, cutSerial: last.serial } : this.#position;
    const settlingSerials = new Set(events.map(({ serial }) => serial));
    let lowest = Infinity;
    for (const serial of this.#waiting.keys())
      if (serial < lowest && !settlingSerials.has(serial)) lowest = serial;
    const { read } = this.#position;
    const completeUpTo = region === 'history' ? read : this.#readUpToAt(now - REORDER_WINDOW_S, now);
    return {
      events,
      position: {
        serial: Math.max(this.#position.serial, Math.min(lowest - 1, completeUpTo)),
        read,
        cutTime: cut.cutTime,
        cutSerial: cut.cutSerial,
      },
    };
  }

  /** Returns the highest serial that had been read at `instant`; records how far the log is read now. */
  #readUpToAt(instant: number, now: number): number {
    const { serial, read } = this.#position;
    const record = this.#readHistory.findLast(({ at }) => at <= instant);
    this.#readHistory = this.#readHistory.filter(({ at }) => at >= (record?.at ?? 0));
    if (this.#readHistory.at(-1)?.read !== read) this.#readHistory.push({ at: now, read });
    return record?.read ?? serial;
  }

  /** Called when the events have been acted on and the position is stored. */
  confirm({ events, position }: SettledEvents<E>): void {
    for (const { serial } of events) {
      this.#waiting.delete(serial);
      this.#handledSerials.add(serial);
    }
    this.#position = { ...position, read: Math.max(position.read, this.#position.read) };
    for (const serial of this.#handledSerials)
      if (serial <= position.serial) this.#handledSerials.delete(serial);
  }
}
