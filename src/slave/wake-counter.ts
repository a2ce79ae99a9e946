import type { Clock } from '../concurrency/clock.js';
import { pause } from '../concurrency/pause.js';

/** Counts the WAKE messages to a slave. Each one ends the pause that the slave is in. */
export class WakeCounter {
  readonly #clock: Clock;
  #count = 0;
  #onWake: () => void = () => undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** How many times the slave was woken. */
  get count(): number {
    return this.#count;
  }

  /** Counts a WAKE. */
  wake(): void {
    this.#count += 1;
    this.#onWake();
  }

  /**
   * Waits for `ms` milliseconds, until the slave is woken (or was since its `count` was `wakeCount`), or until
   * `signal` is aborted.
   */
  async pause(ms: number, wakeCount: number, signal: AbortSignal): Promise<void> {
    if (this.#count !== wakeCount) return;
    const woken = new AbortController();
    this.#onWake = () => {
      woken.abort();
    };
    await pause(this.#clock, ms, AbortSignal.any([woken.signal, signal]));
    this.#onWake = () => undefined;
  }
}
