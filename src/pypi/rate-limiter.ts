import type { PiwError } from '../errors.js';
import { ThrottledError } from './http.js';

/** The part of a clock that the limiter needs. */
interface MonotonicClock {
  monotonicMs(): number;
  /** Calls `callback` after `ms`, unless the returned function is called first. */
  after(ms: number, callback: () => void): () => void;
}

/** The back-off after the first error, which doubles with each further error, and its upper limit. */
const BACKOFF_MS = { first: 1000, max: 300_000 };

/**
 * Limits the requests to an index, for all of its callers together: at most `rate` pages per second, evenly spaced, and
 * a back-off after an error. The limiter doesn't enforce the back-off: callers check isBackingOff().
 */
export class IndexRateLimiter {
  readonly #clock: MonotonicClock;
  readonly #intervalMs: number;
  /** The time of the next free turn. */
  #nextTurnAt = 0;
  /** The errors since the last success, by activity. */
  readonly #consecutiveErrors = new Map<string, number>();
  #backOffUntil = 0;

  constructor(clock: MonotonicClock, rate: number) {
    this.#clock = clock;
    this.#intervalMs = 1000 / rate;
  }

  /** Waits for the next turn, or until the signal is aborted. */
  async acquire(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const now = this.#clock.monotonicMs();
    const turnAt = Math.max(now, this.#nextTurnAt);
    this.#nextTurnAt = turnAt + this.#intervalMs;
    if (turnAt === now) return;
    await new Promise<void>((resolve) => {
      const proceed = (): void => {
        cancelTimer();
        signal.removeEventListener('abort', proceed);
        resolve();
      };
      const cancelTimer = this.#clock.after(turnAt - now, proceed);
      signal.addEventListener('abort', proceed);
    });
  }

  isBackingOff(): boolean {
    return this.#clock.monotonicMs() < this.#backOffUntil;
  }

  /**
   * Begins a back-off and returns its length in milliseconds. It doubles with each error of the activity, and is at
   * least as long as the index asks for.
   */
  backOff(activity: string, error: PiwError): number {
    const errors = this.#consecutiveErrors.get(activity) ?? 0;
    const doubled = Math.min(BACKOFF_MS.first * 2 ** errors, BACKOFF_MS.max) * (0.75 + Math.random() / 2);
    const ms = error instanceof ThrottledError ? Math.max(error.retryAfterMs, doubled) : doubled;
    // Concurrent requests may all fail: that counts as one error.
    if (!this.isBackingOff()) this.#consecutiveErrors.set(activity, errors + 1);
    this.#backOffUntil = Math.max(this.#backOffUntil, this.#clock.monotonicMs() + ms);
    return ms;
  }

  /** Records a success: the activity's next back-off is short again. */
  succeeded(activity: string): void {
    this.#consecutiveErrors.delete(activity);
  }
}

/** Runs the action for each item, at most `concurrency` at a time. */
export async function forEachConcurrently<T>(
  items: readonly T[],
  concurrency: number,
  action: (item: T) => Promise<void>,
): Promise<void> {
  const queue = [...items];
  const runWorker = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await action(item);
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, items.length) }, runWorker));
}
