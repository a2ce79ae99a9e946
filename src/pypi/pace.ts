import type { PiwError } from '../errors.js';
import { ThrottledError } from './http.js';

/** What an actor's clock does, and a test's. */
interface MonotonicClock {
  monotonicMs(): number;
  after(ms: number, what: () => void): () => void;
}

/** The rest after an error, doubled with each further one: at first, and at most. */
const BACKOFF_MS = { first: 1000, max: 300_000 };

/**
 * How often an index is asked, whoever of us asks: for no more pages in a second than `rate`, each in its turn,
 * and for nothing during the rest after an error.
 */
export class IndexRateLimiter {
  readonly #clock: MonotonicClock;
  readonly #intervalMs: number;
  /** When the next turn is. */
  #nextTurnAt = 0;
  /** Since something last went well, by what was done. */
  readonly #consecutiveErrors = new Map<string, number>();
  #backOffUntil = 0;

  constructor(clock: MonotonicClock, rate: number) {
    this.#clock = clock;
    this.#intervalMs = 1000 / rate;
  }

  /** Waits for the next turn; at most until the signal, after which there is nothing to be asked any more. */
  async acquire(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const now = this.#clock.monotonicMs();
    const at = Math.max(now, this.#nextTurnAt);
    this.#nextTurnAt = at + this.#intervalMs;
    if (at === now) return;
    await new Promise<void>((resolve) => {
      const go = (): void => {
        cancelTimer();
        signal.removeEventListener('abort', go);
        resolve();
      };
      const cancelTimer = this.#clock.after(at - now, go);
      signal.addEventListener('abort', go);
    });
  }

  isBackingOff(): boolean {
    return this.#clock.monotonicMs() < this.#backOffUntil;
  }

  /** Begins a rest, which is longer after each error, and at least as long as the index asks for; milliseconds. */
  backOff(activity: string, error: PiwError): number {
    const errors = this.#consecutiveErrors.get(activity) ?? 0;
    const doubled = Math.min(BACKOFF_MS.first * 2 ** errors, BACKOFF_MS.max) * (0.75 + Math.random() / 2);
    const ms = error instanceof ThrottledError ? Math.max(error.retryAfterMs, doubled) : doubled;
    // Of several pages that were asked for together, all may fail: that is one time.
    if (!this.isBackingOff()) this.#consecutiveErrors.set(activity, errors + 1);
    this.#backOffUntil = Math.max(this.#backOffUntil, this.#clock.monotonicMs() + ms);
    return ms;
  }

  /** It went well: the next rest is a short one again. */
  succeeded(activity: string): void {
    this.#consecutiveErrors.delete(activity);
  }
}

/** Does it for each, some at a time. */
export async function forEachConcurrently<T>(
  items: readonly T[],
  concurrency: number,
  action: (item: T) => Promise<void>,
): Promise<void> {
  const waiting = [...items];
  const work = async () => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await action(item);
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, items.length) }, work));
}
