import { chance, draw, pick, type Chance } from './chance.js';
import type { World, WorldEvent } from './world.js';

/** What is asked for, as far as it matters to what may go wrong with the answer. */
export type Asked = 'last-serial' | 'since-serial' | 'root' | 'project' | 'json' | 'other';

const ANY = ['last-serial', 'since-serial', 'root', 'project', 'json', 'other'] as const;
const RPC = ['last-serial', 'since-serial'] as const;
const PAGES = ['root', 'project', 'json'] as const;

/** What can go wrong with a single answer, and with the answers to what. */
export const FAULTS = {
  /** Too many requests: a fault with status 200 in XML-RPC, a 429 with Retry-After: 1 of a page. */
  throttle: ANY,
  /** The connection ends before an answer. */
  cutBefore: ANY,
  /** It ends in the middle of an answer that didn't say how long it would be. */
  cutMiddle: ANY,
  /** Half of what Content-Length says, and the connection ends. */
  halfBody: ANY,
  /** No answer at all. */
  hang: ANY,
  /** 500, 502 or 503. */
  serverError: ANY,
  /** A page of HTML with status 200 that says that something is wrong. */
  htmlPage: ANY,
  /** The last serial is lower than it was. */
  serialBack: ['last-serial', 'root'],
  /** No events, where there are some. */
  noEvents: ['since-serial'],
  /** XML that ends early, with a Content-Length that fits. */
  cutXml: RPC,
  /** JSON that ends early, with a Content-Length that fits. */
  truncatedJson: PAGES,
  /** A whole, well-formed list of no projects. */
  emptyRoot: ['root'],
  /** The page as it was when it was last asked for, from a cache. */
  stale: PAGES,
  /** A 429 with a longer Retry-After than anybody waits for with a question. */
  leaveAlone: PAGES,
} as const satisfies Readonly<Record<string, readonly Asked[]>>;

export type Fault = keyof typeof FAULTS;
const NAMES = Object.keys(FAULTS) as Fault[];

/** Of a fault: the share of the answers that it befalls; `throttle` is each so-and-so-manieth request. */
export interface Misbehaviour extends Readonly<Partial<Record<Fault, number>>> {
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

const asked = (fault: Fault): readonly Asked[] => FAULTS[fault];

/** Decides what goes wrong, by its seed and by how often the same has been asked. */
export class Mischief {
  readonly #is: Misbehaviour;
  readonly #seed: number;
  readonly #times = new Map<string, number>();
  readonly #next: Fault[] = [];
  /** The late events, with the number of the first answer that shows them. */
  readonly #late = new Map<number, number>();
  #considered: number;
  #requests = 0;
  #answers = 0;

  /** Events up to `shown` have been seen and can't be late any more. */
  constructor(is: Misbehaviour = {}, shown = 0) {
    this.#is = is;
    this.#seed = is.seed ?? 1;
    this.#considered = shown;
  }

  /** Befalls the next answers that it can befall, before anything that is left to chance. */
  next(faults: readonly Fault[]): void {
    this.#next.push(...faults);
  }

  /** What befalls the answer to this request, and the chance by which it does. */
  befalls(what: Asked, path: string): { readonly fault: Fault | undefined; readonly random: Chance } {
    this.#requests += 1;
    const time = (this.#times.get(path) ?? 0) + 1;
    this.#times.set(path, time);
    const random = chance(draw(this.#seed, path, time) * 2 ** 32);
    const at = this.#next.findIndex((fault) => asked(fault).includes(what));
    if (at >= 0) return { fault: this.#next.splice(at, 1)[0], random };
    const { throttle } = this.#is;
    if (throttle !== undefined && throttle > 0 && this.#requests % throttle === 0)
      return { fault: 'throttle', random };
    const fault = NAMES.find(
      (name) => name !== 'throttle' && asked(name).includes(what) && random() < (this.#is[name] ?? 0),
    );
    return { fault, random };
  }

  /** The highest serial of the log, as far as it is shown. */
  lastSerial(world: World, visible: number): number {
    this.#consider(world, visible);
    for (const event of world.upTo(visible)) if (this.#shows(event)) return event[4];
    return 0;
  }

  /** A page of the log: at most `size` events, at least one new one if there is any. */
  since(world: World, serial: number, visible: number, size: number, random: Chance): WorldEvent[] {
    this.#consider(world, visible);
    this.#answers += 1;
    const duplicates = this.#is.duplicates ?? 0;
    const events =
      random() < duplicates ? this.#before(world, Math.min(serial, visible), Math.min(3, size - 1)) : [];
    for (const event of world.since(serial)) {
      if (event[4] > visible || events.length >= size) break;
      if (!this.#shows(event)) continue;
      events.push(event);
      if (random() < duplicates) events.push(pick(random, events.slice(-3)) ?? event);
    }
    return events.slice(0, size);
  }

  /** The last shown events up to a serial, in their order. */
  #before(world: World, serial: number, count: number): WorldEvent[] {
    const events: WorldEvent[] = [];
    for (const event of world.upTo(serial)) {
      if (events.length >= count) break;
      if (this.#shows(event)) events.unshift(event);
    }
    return events;
  }

  #shows([, , , , serial]: WorldEvent): boolean {
    return (this.#late.get(serial) ?? 0) <= this.#answers;
  }

  /** Its transaction took long: an event is late by a number of answers after the one that could have had it. */
  #consider(world: World, visible: number): void {
    const { late = 0, lateFor = 3 } = this.#is;
    if (late === 0) return;
    for (const [, , , , serial] of world.since(this.#considered)) {
      if (serial > visible) break;
      this.#considered = serial;
      const wide = draw(this.#seed, 'late', serial);
      if (wide < late) this.#late.set(serial, this.#answers + 2 + Math.floor((wide / late) * lateFor));
    }
  }
}
