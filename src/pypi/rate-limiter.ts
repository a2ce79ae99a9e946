import { backOffMs, type BackOff } from '../concurrency/back-off.js';
import type { Clock } from '../concurrency/clock.js';
import { pause } from '../concurrency/pause.js';
import type { PiwError } from '../errors.js';
import { ThrottledError } from './http.js';

const ERROR_BACK_OFF: BackOff = { firstMs: 1000, maxMs: 300_000, jitter: true };

/**
 * Limits the requests to an index, for all of its callers together: at most `rate` pages per second, evenly spaced, and
 * a back-off after an error. The limiter doesn't enforce the back-off: callers check isBackingOff().
 */
export class IndexRateLimiter {
  readonly #clock: Clock;
  readonly #intervalMs: number;
  /** The time of the next free turn. */
  #nextTurnAt = 0;
  /** The errors since the last success, by activity. */
  readonly #consecutiveErrors = new Map<string, number>();
  #backOffUntil = 0;

  constructor(clock: Clock, rate: number) {
    this.#clock = clock;
    this.#intervalMs = 1000 / rate;
  }

  /** Waits for the next turn, or until the signal is aborted. */
  async acquire(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const now = this.#clock.monotonicMs();
    const turnAt = Math.max(now, this.#nextTurnAt);
    this.#nextTurnAt = turnAt + this.#intervalMs;
    if (turnAt > now) await pause(this.#clock, turnAt - now, signal);
  }

  isBackingOff(): boolean {
    return this.#clock.monotonicMs() < this.#backOffUntil;
  }

  /**
   * Begins a back-off and returns its length in milliseconds. It doubles with each error of the activity, and is at
   * least as long as the index asks for.
   */
  backOff(activity: string, error: PiwError): number {
    const errors = (this.#consecutiveErrors.get(activity) ?? 0) + 1;
    const doubled = backOffMs(ERROR_BACK_OFF, errors);
    const ms = error instanceof ThrottledError ? Math.max(error.retryAfterMs, doubled) : doubled;
    // Concurrent requests may all fail: that counts as one error.
    if (!this.isBackingOff()) this.#consecutiveErrors.set(activity, errors);
    this.#backOffUntil = Math.max(this.#backOffUntil, this.#clock.monotonicMs() + ms);
    return ms;
  }

  /** Records a success: the activity's next back-off is short again. */
  succeeded(activity: string): void {
    this.#consecutiveErrors.delete(activity);
  }
}
