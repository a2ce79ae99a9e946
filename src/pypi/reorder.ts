import type { ReadEvent } from './changelog.js';

/** How far the log has been read and acted upon; kept in the database with what it covers. */
export interface Position {
  /** Every event up to this serial has been acted upon. */
  readonly serial: number;
  /** The highest serial that was read. */
  readonly read: number;
  /** The newest event that was acted upon, in the order of events: its time, then its serial. */
  readonly cutTime: number;
  readonly cutSerial: number;
}

/** For so long, seconds, an older event may still come. */
const WINDOW_S = 600;
/** Before this serial PyPI's events are out of order by days and years: they are sorted as a whole. */
const ORDERED_FROM = 628_000;

export interface Ripe<E> {
  /** In the order in which they happened. */
  readonly events: readonly E[];
  /** Once they have been acted upon. */
  readonly position: Position;
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
export class Reorder<E extends ReadEvent> {
  readonly #waiting = new Map<number, E>();
  /** Serials above position.serial that have been acted upon, or were late. */
  readonly #done = new Set<number>();
  #position: Position;
  #newest = 0;
  #late: E[] = [];
  /** How far had been read when, seconds. */
  #reads: { readonly at: number; readonly read: number }[] = [];

  constructor(position: Position) {
    this.#position = position;
  }

  get position(): Position {
    return this.#position;
  }

  /** Takes events in; gives those that had not been seen before. */
  push(events: readonly E[]): readonly E[] {
    const { serial: from, read, cutTime, cutSerial } = this.#position;
    const fresh: E[] = [];
    let highest = read;
    for (const event of events) {
      const { serial, time } = event;
      if (serial <= from || this.#done.has(serial) || this.#waiting.has(serial)) continue;
      if (serial > ORDERED_FROM && time > this.#newest) this.#newest = time;
      if (serial > highest) highest = serial;
      // Before the cut: it was acted upon before a restart, or it is late. Nobody can tell which.
      if (time < cutTime || (time === cutTime && serial <= cutSerial)) {
        this.#done.add(serial);
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

  lateDone(): void {
    this.#late = [];
  }

  /**
   * The events that nothing can come before any more, at most `limit`; they stay here until done(). `now` is
   * in seconds. Where in the log the reader is: in its `history`, where nothing turns up any more, `near` its
   * end, or at its `end`; only there the clock is ours, and else the log's.
   */
  ripe(limit: number, now: number, where: 'history' | 'near' | 'end'): Ripe<E> {
    const before = Math.max(this.#newest, where === 'end' ? now : 0) - WINDOW_S;
    const unsorted = this.#position.read < ORDERED_FROM && where !== 'end';
    const found = unsorted
      ? []
      : [...this.#waiting.values()]
          .filter(({ time }) => time <= before)
          .sort((a, b) => a.time - b.time || a.serial - b.serial);
    const events = found.slice(0, limit);
    const last = events.at(-1);
    const cut = last ? { cutTime: last.time, cutSerial: last.serial } : this.#position;
    const going = new Set(events.map(({ serial }) => serial));
    let lowest = Infinity;
    for (const serial of this.#waiting.keys()) if (serial < lowest && !going.has(serial)) lowest = serial;
    const { read } = this.#position;
    const sure = where === 'history' ? read : this.#readBefore(now - WINDOW_S, now);
    return {
      events,
      position: {
        serial: Math.max(this.#position.serial, Math.min(lowest - 1, sure)),
        read,
        cutTime: cut.cutTime,
        cutSerial: cut.cutSerial,
      },
    };
  }

  /** How far had been read by then; notes how far it is now. */
  #readBefore(then: number, now: number): number {
    const { serial, read } = this.#position;
    const known = this.#reads.findLast(({ at }) => at <= then);
    this.#reads = this.#reads.filter(({ at }) => at >= (known?.at ?? 0));
    if (this.#reads.at(-1)?.read !== read) this.#reads.push({ at: now, read });
    return known?.read ?? serial;
  }

  /** They have been acted upon, and the position is kept. */
  done({ events, position }: Ripe<E>): void {
    for (const { serial } of events) {
      this.#waiting.delete(serial);
      this.#done.add(serial);
    }
    this.#position = { ...position, read: Math.max(position.read, this.#position.read) };
    for (const serial of this.#done) if (serial <= position.serial) this.#done.delete(serial);
  }
}
