import type { Clock } from '../../src/concurrency/clock.js';

/** A clock that the test advances. */
export class ManualClock implements Clock {
  #ms = 1_700_000_000_000;
  #calls: { readonly at: number; readonly callback: () => void }[] = [];

  now = (): number => this.#ms;
  monotonicMs = (): number => this.#ms;
  after = (ms: number, callback: () => void): (() => void) => {
    const call = { at: this.#ms + ms, callback };
    this.#calls.push(call);
    return () => (this.#calls = this.#calls.filter((other) => other !== call));
  };

  /** The number of calls that are still to come. */
  get pendingCalls(): number {
    return this.#calls.length;
  }

  advance(ms: number): void {
    const end = this.#ms + ms;
    for (;;) {
      const next = this.#calls.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.#calls = this.#calls.filter((call) => call !== next);
      this.#ms = Math.max(this.#ms, next.at);
      next.callback();
    }
    this.#ms = end;
  }
}
