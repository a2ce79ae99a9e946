import { seededRandom, draw, pick, type RandomSource } from './chance.js';
import type { World, WorldEvent } from './world.js';

/** What is asked for, as far as it matters to what may go wrong with the answer. */
export type RequestKind = 'last-serial' | 'since-serial' | 'root' | 'project' | 'json' | 'other';

const ALL_REQUESTS = ['last-serial', 'since-serial', 'root', 'project', 'json', 'other'] as const;
const RPC_REQUESTS = ['last-serial', 'since-serial'] as const;
const PAGE_REQUESTS = ['root', 'project', 'json'] as const;

/** What can go wrong with a single answer, and with the answers to what. */
export const FAULTS = {
  /** Too many requests: a fault with status 200 in XML-RPC, a 429 with Retry-After: 1 of a page. */
  throttle: ALL_REQUESTS,
  /** The connection ends before an answer. */
  cutBefore: ALL_REQUESTS,
  /** It ends in the middle of an answer that didn't say how long it would be. */
  cutMiddle: ALL_REQUESTS,
  /** Half of what Content-Length says, and the connection ends. */
  halfBody: ALL_REQUESTS,
  /** No answer at all. */
  hang: ALL_REQUESTS,
  /** 500, 502 or 503. */
  serverError: ALL_REQUESTS,
  /** A page of HTML with status 200 that says that something is wrong. */
  htmlPage: ALL_REQUESTS,
  /** The last serial is lower than it was. */
  serialBack: ['last-serial', 'root'],
  /** No events, where there are some. */
  noEvents: ['since-serial'],
  /** XML that ends early, with a Content-Length that fits. */
  cutXml: RPC_REQUESTS,
  /** JSON that ends early, with a Content-Length that fits. */
  truncatedJson: PAGE_REQUESTS,
  /** A whole, well-formed list of no projects. */
  emptyRoot: ['root'],
  /** The page as it was when it was last asked for, from a cache. */
  stale: PAGE_REQUESTS,
  /** A 429 with a longer Retry-After than anybody waits for with a question. */
  leaveAlone: PAGE_REQUESTS,
} as const satisfies Readonly<Record<string, readonly RequestKind[]>>;

export type PypiFault = keyof typeof FAULTS;
const FAULT_NAMES = Object.keys(FAULTS) as PypiFault[];

/** Of a fault: the share of the answers that it befalls; `throttle` is each so-and-so-manieth request. */
export interface FaultConfig extends Readonly<Partial<Record<PypiFault, number>>> {
  /** What goes wrong is the same for the same seed and the same questions. */
  readonly seed?: number;
  /** The share of events that come twice in an answer, and of answers that begin with events from before. */
  readonly duplicates?: number;
  /** The share of events that are shown only after higher ones have been. */
  readonly late?: number;
  /** A late event is left out of at most so many answers. Default 3. */
  readonly lateFor?: number;
  /** Sets the world's: seconds by which timestamps are out of order, of past events too. */
  readonly disorder?: number;
  /** Sets the world's: the share of later events before which serials are left out. */
  readonly gaps?: number;
}

const requestsAffectedBy = (fault: PypiFault): readonly RequestKind[] => FAULTS[fault];

/** Decides what goes wrong, by its seed and by how often the same has been asked. */
export class FaultInjector {
  readonly #config: FaultConfig;
  readonly #seed: number;
  readonly #attempts = new Map<string, number>();
  readonly #queued: PypiFault[] = [];
  /** The late events, with the number of the first answer that shows them. */
  readonly #shownFrom = new Map<number, number>();
  #lastConsidered: number;
  #requests = 0;
  #answers = 0;

  /** Events up to `shown` have been seen and can't be late any more. */
  constructor(config: FaultConfig = {}, highestShown = 0) {
    this.#config = config;
    this.#seed = config.seed ?? 1;
    this.#lastConsidered = highestShown;
  }

  /** Befalls the next answers that it can befall, before anything that is left to chance. */
  enqueue(faults: readonly PypiFault[]): void {
    this.#queued.push(...faults);
  }

  /** What befalls the answer to this request, and the chance by which it does. */
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

  /** The highest serial of the log, as far as it is shown. */
  lastSerial(world: World, visible: number): number {
    this.#delayLateEvents(world, visible);
    for (const event of world.eventsUpTo(visible)) if (this.#isShown(event)) return event[4];
    return 0;
  }

  /** A page of the log: at most `size` events, at least one new one if there is any. */
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

  /** The last shown events up to a serial, in their order. */
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

  /** Its transaction took long: an event is late by a number of answers after the one that could have had it. */
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
