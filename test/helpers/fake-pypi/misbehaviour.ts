import { seededRandom, draw, pick, type RandomSource } from '../random.js';
import type { World, WorldEvent } from './world.js';

/** The kind of a request, on which the possible faults of its answer depend. */
export type RequestKind = 'last-serial' | 'since-serial' | 'root' | 'project' | 'json' | 'other';

const ALL_REQUESTS = ['last-serial', 'since-serial', 'root', 'project', 'json', 'other'] as const;
const RPC_REQUESTS = ['last-serial', 'since-serial'] as const;
const PAGE_REQUESTS = ['root', 'project', 'json'] as const;

/** The faults of a single answer, each with the kinds of requests to which it applies. */
export const FAULTS = {
  /** Too many requests: in XML-RPC a fault with status 200, for a page a 429 with Retry-After: 1. */
  throttle: ALL_REQUESTS,
  /** The connection ends before the answer. */
  cutBefore: ALL_REQUESTS,
  /** The connection ends in the middle of an answer without a Content-Length. */
  cutMiddle: ALL_REQUESTS,
  /** The connection ends after half of the Content-Length. */
  halfBody: ALL_REQUESTS,
  /** No answer at all. */
  hang: ALL_REQUESTS,
  /** Status 500, 502 or 503. */
  serverError: ALL_REQUESTS,
  /** An HTML error page with status 200. */
  htmlPage: ALL_REQUESTS,
  /** The last serial is lower than it was. */
  serialBack: ['last-serial', 'root'],
  /** An empty list, although there are events. */
  noEvents: ['since-serial'],
  /** Truncated XML with a matching Content-Length. */
  cutXml: RPC_REQUESTS,
  /** Truncated JSON with a matching Content-Length. */
  truncatedJson: PAGE_REQUESTS,
  /** A complete, well-formed list of no projects. */
  emptyRoot: ['root'],
  /** The page as it was at the previous request, from a cache. */
  stale: PAGE_REQUESTS,
  /** A 429 with a Retry-After that is longer than a client waits before it retries a request. */
  leaveAlone: PAGE_REQUESTS,
} as const satisfies Readonly<Record<string, readonly RequestKind[]>>;

export type PypiFault = keyof typeof FAULTS;
const FAULT_NAMES = Object.keys(FAULTS) as PypiFault[];

/** For each fault the share of answers that have it, 0 to 1; but `throttle: N` applies to every Nth request. */
export interface FaultConfig extends Readonly<Partial<Record<PypiFault, number>>> {
  /** The same seed and the same requests yield the same faults. */
  readonly seed?: number;
  /** The share of events that an answer repeats, and of answers that begin with older events. */
  readonly duplicates?: number;
  /** The share of events that are shown only after events with higher serials. */
  readonly late?: number;
  /** The maximum number of answers from which a late event is missing, by default 3. */
  readonly lateFor?: number;
  /** Sets the world's disorder: by how many seconds timestamps are out of order, including those of past events. */
  readonly disorder?: number;
  /** Sets the world's gaps: the share of later events before which serials are skipped. */
  readonly gaps?: number;
}

const requestsAffectedBy = (fault: PypiFault): readonly RequestKind[] => FAULTS[fault];

/** Decides about faults, by its seed and by how often the same request was made. */
export class FaultInjector {
  readonly #config: FaultConfig;
  readonly #seed: number;
  readonly #attempts = new Map<string, number>();
  readonly #queued: PypiFault[] = [];
  /** The serials of late events, each with the number of the first answer that shows it. */
  readonly #shownFrom = new Map<number, number>();
  #lastConsidered: number;
  #requests = 0;
  #answers = 0;

  /** Events up to the serial `highestShown` have been shown and can no longer be late. */
  constructor(config: FaultConfig = {}, highestShown = 0) {
    this.#config = config;
    this.#seed = config.seed ?? 1;
    this.#lastConsidered = highestShown;
  }

  /** Queues faults for the next answers to which they apply; they take precedence over random ones. */
  enqueue(faults: readonly PypiFault[]): void {
    this.#queued.push(...faults);
  }

  /** Returns the fault of the answer to this request, if any, and a source of random numbers for applying it. */
  faultFor(
    kind: RequestKind,
    path: string,
  ): { readonly fault: PypiFault | undefined; readonly random: RandomSource } {
    this.#requests += 1;
    const attempt = (this.#attempts.get(path) ?? 0) + 1;
    this.#attempts.set(path, attempt);
    const random = seededRandom(draw(this.#seed, path, attempt) * 2 ** 32);
    const index = this.#queued.findIndex((fault) => requestsAffectedBy(fault).includes(kind));
    if (index >= 0) return { fault: this.#queued.splice(index, 1)[0], random };
    const { throttle } = this.#config;
    if (throttle !== undefined && throttle > 0 && this.#requests % throttle === 0)
      return { fault: 'throttle', random };
    const fault = FAULT_NAMES.find(
      (name) =>
        name !== 'throttle' &&
        requestsAffectedBy(name).includes(kind) &&
        random() < (this.#config[name] ?? 0),
    );
    return { fault, random };
  }

  /** Returns the highest serial that the changelog shows; 0 if it shows no events. */
  lastSerial(world: World, visible: number): number {
    this.#delayLateEvents(world, visible);
    for (const event of world.eventsUpTo(visible)) if (this.#isShown(event)) return event[4];
    return 0;
  }

  /** Returns a page of the changelog: at most `size` events, and at least one new one if there is any. */
  eventsSince(
    world: World,
    serial: number,
    visible: number,
    size: number,
    random: RandomSource,
  ): WorldEvent[] {
    this.#delayLateEvents(world, visible);
    this.#answers += 1;
    const duplicates = this.#config.duplicates ?? 0;
    const events =
      random() < duplicates ? this.#lastShown(world, Math.min(serial, visible), Math.min(3, size - 1)) : [];
    for (const event of world.eventsSince(serial)) {
      if (event[4] > visible || events.length >= size) break;
      if (!this.#isShown(event)) continue;
      events.push(event);
      if (random() < duplicates) events.push(pick(random, events.slice(-3)) ?? event);
    }
    return events.slice(0, size);
  }

  /** Returns the last `count` events that are shown up to a serial, in order. */
  #lastShown(world: World, serial: number, count: number): WorldEvent[] {
    const events: WorldEvent[] = [];
    for (const event of world.eventsUpTo(serial)) {
      if (events.length >= count) break;
      if (this.#isShown(event)) events.unshift(event);
    }
    return events;
  }

  #isShown([, , , , serial]: WorldEvent): boolean {
    return (this.#shownFrom.get(serial) ?? 0) <= this.#answers;
  }

  /** Makes some of the new events late, as if their transactions took long: the next answers do not show them. */
  #delayLateEvents(world: World, visible: number): void {
    const { late = 0, lateFor = 3 } = this.#config;
    if (late === 0) return;
    for (const [, , , , serial] of world.eventsSince(this.#lastConsidered)) {
      if (serial > visible) break;
      this.#lastConsidered = serial;
      const roll = draw(this.#seed, 'late', serial);
      if (roll < late) this.#shownFrom.set(serial, this.#answers + 2 + Math.floor((roll / late) * lateFor));
    }
  }
}
