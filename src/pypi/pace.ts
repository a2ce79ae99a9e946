import type { PiwError } from '../errors.js';
import { Throttled } from './http.js';

/** What an actor's clock does, and a test's. */
interface Clock {
  monotonicMs(): number;
  after(ms: number, what: () => void): () => void;
}

/** The rest after an error, doubled with each further one: at first, and at most. */
const REST_MS = { first: 1000, most: 300_000 };

/**
 * How often an index is asked, whoever of us asks: for no more pages in a second than `rate`, each in its turn,
 * and for nothing during the rest after an error.
 */
export class Pace {
  readonly #clock: Clock;
  readonly #stepMs: number;
  /** When the next turn is. */
  #next = 0;
  /** Since something last went well, by what was done. */
  readonly #errors = new Map<string, number>();
  #restUntil = 0;

  constructor(clock: Clock, rate: number) {
    this.#clock = clock;
    this.#stepMs = 1000 / rate;
  }

  /** Waits for the next turn; at most until the signal, after which there is nothing to be asked any more. */
  async turn(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const now = this.#clock.monotonicMs();
    const at = Math.max(now, this.#next);
    this.#next = at + this.#stepMs;
    if (at === now) return;
    await new Promise<void>((resolve) => {
      const go = (): void => {
        takeBack();
        signal.removeEventListener('abort', go);
        resolve();
      };
      const takeBack = this.#clock.after(at - now, go);
      signal.addEventListener('abort', go);
    });
  }

  isResting(): boolean {
    return this.#clock.monotonicMs() < this.#restUntil;
  }

  /** Begins a rest, which is longer after each error, and at least as long as the index asks for; milliseconds. */
  rest(which: string, error: PiwError): number {
    const errors = this.#errors.get(which) ?? 0;
    const doubled = Math.min(REST_MS.first * 2 ** errors, REST_MS.most) * (0.75 + Math.random() / 2);
    const ms = error instanceof Throttled ? Math.max(error.waitMs, doubled) : doubled;
    // Of several pages that were asked for together, all may fail: that is one time.
    if (!this.isResting()) this.#errors.set(which, errors + 1);
    this.#restUntil = Math.max(this.#restUntil, this.#clock.monotonicMs() + ms);
    return ms;
  }

  /** It went well: the next rest is a short one again. */
  well(which: string): void {
    this.#errors.delete(which);
  }
}

/** Does it for each, some at a time. */
export async function each<T>(
  items: readonly T[],
  atOnce: number,
  what: (item: T) => Promise<void>,
): Promise<void> {
  const waiting = [...items];
  const work = async () => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await what(item);
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, work));
}
