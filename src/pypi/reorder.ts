import type { ChangelogEvent } from './changelog.js';

/** How far the log has been read and acted upon; kept in the database with what it covers. */
export interface ChangelogPosition {
  /** Every event up to this serial has been acted upon. */
  readonly serial: number;
  /** The highest serial that was read. */
  readonly read: number;
  /** The newest event that was acted upon, in the order of events: its time, then its serial. */
  readonly cutTime: number;
  readonly cutSerial: number;
}

/** For so long, seconds, an older event may still come. */
const REORDER_WINDOW_S = 600;
/** Before this serial PyPI's events are out of order by days and years: they are sorted as a whole. */
const FIRST_ORDERED_SERIAL = 628_000;

export interface SettledEvents<E> {
  /** In the order in which they happened. */
  readonly events: readonly E[];
  /** Once they have been acted upon. */
  readonly position: ChangelogPosition;
}

/**
 * Puts the events of a changelog into the order in which they happened: by time, then by serial.
 *
 * The log's own order is that of its serials, which differs by minutes, and a serial may be shown only
 * after higher ones. So an event waits until it is WINDOW_S older than the newest one, or than `now`: then
 * nothing older can still come. One that comes all the same, later than it should, is `late`: it never gets a
 * place in the order. Whoever reads acts upon it at once, and looks at its project's page, which tells what
 * holds in the end. An event that was seen before is dropped.
 *
 * What waits is not kept anywhere else: `position.serial` stays below it, so that after a restart it is
 * read again. At the end of the log it also stays below what was read for the first time less than WINDOW_S
 * ago, for that is where a serial may still turn up.
 */
export class EventReorderer<E extends ChangelogEvent> {
  readonly #waiting = new Map<number, E>();
  /** Serials above position.serial that have been acted upon, or were late. */
  readonly #handledSerials = new Set<number>();
  #position: ChangelogPosition;
  #newest = 0;
  #late: E[] = [];
  /** How far had been read when, seconds. */
  #readHistory: { readonly at: number; readonly read: number }[] = [];

  constructor(position: ChangelogPosition) {
    this.#position = position;
  }

  get position(): ChangelogPosition {
    return this.#position;
  }

  /** Takes events in; gives those that had not been seen before. */
  push(events: readonly E[]): readonly E[] {
    const { serial: from, read, cutTime, cutSerial } = this.#position;
    const fresh: E[] = [];
    let highest = read;
    for (const event of events) {
      const { serial, time } = event;
      if (serial <= from || this.#handledSerials.has(serial) || this.#waiting.has(serial)) continue;
      if (serial > FIRST_ORDERED_SERIAL && time > this.#newest) this.#newest = time;
      if (serial > highest) highest = serial;
      // Before the cut: it was acted upon before a restart, or it is late. Nobody can tell which.
      if (time < cutTime || (time === cutTime && serial <= cutSerial)) {
        this.#handledSerials.add(serial);
        this.#late.push(event);
        continue;
      }
      this.#waiting.set(serial, event);
      fresh.push(event);
    }
    this.#position = { ...this.#position, read: highest };
    return fresh;
  }

  /** The late ones, until lateDone(). */
  get late(): readonly E[] {
    return this.#late;
  }

  clearLate(): void {
    this.#late = [];
  }

  /**
   * The events that nothing can come before any more, at most `limit`; they stay here until done(). `now` is
   * in seconds. Where in the log the reader is: in its `history`, where nothing turns up any more, `near` its
   * end, or at its `end`; only there the clock is ours, and else the log's.
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

  /** How far had been read by then; notes how far it is now. */
  #readUpToAt(instant: number, now: number): number {
    const { serial, read } = this.#position;
    const record = this.#readHistory.findLast(({ at }) => at <= instant);
    this.#readHistory = this.#readHistory.filter(({ at }) => at >= (record?.at ?? 0));
    if (this.#readHistory.at(-1)?.read !== read) this.#readHistory.push({ at: now, read });
    return record?.read ?? serial;
  }

  /** They have been acted upon, and the position is kept. */
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
