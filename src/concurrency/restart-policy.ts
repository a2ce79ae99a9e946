import { backOffMs, type BackOff } from './back-off.js';

/** How many failures in a row a process may have; after one more it is given up. */
const MAX_FAILURES = 5;
export const RESTART_BACK_OFF: BackOff = { firstMs: 500, maxMs: 30_000, jitter: true };

/** Decides whether a process that has ended is restarted, and when: the restart intensity of OTP's supervisors. */
export class RestartPolicy {
  readonly #backOff: BackOff;
  #failures = 0;
  #excusedExits = 0;

  constructor(backOff = RESTART_BACK_OFF) {
    this.#backOff = backOff;
  }

  /** The number of failures in a row. */
  get failures(): number {
    return this.#failures;
  }

  /**
   * Records that the process has ended; `healthy`: after it had run long enough for earlier exits not to count. An
   * `excused` exit makes the pauses longer, but is not a failure. Returns the pause before the restart, milliseconds;
   * undefined if the process is given up.
   */
  recordExit({ healthy, excused = false }: { healthy: boolean; excused?: boolean }): number | undefined {
    if (healthy) [this.#failures, this.#excusedExits] = [0, 0];
    if (excused) this.#excusedExits += 1;
    else this.#failures += 1;
    if (this.#failures > MAX_FAILURES) return undefined;
    return backOffMs(this.#backOff, this.#failures + this.#excusedExits);
  }
}
