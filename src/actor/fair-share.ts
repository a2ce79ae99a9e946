import type { Clock } from './clock.js';

/** What one sender may cost in a second, and for how long it may have saved that up. */
const RATE = 40_000;
const SAVED_S = 1;
/** A message costs one, and one more for every so many bytes; one that is none costs as much as a hundred. */
const BYTES = 4096;
const NONSENSE = 99;

/**
 * How much of an actor's time each of its senders may have. A slave says a few messages in a second, and two
 * hundred of them at work under one name no more than fifteen thousand. Whoever says more is not heard, which
 * costs a tenth of an answer, so that what the others say and the actor's own lease don't wait behind it.
 */
export class FairShare {
  readonly #clock: Clock;
  readonly #left = new Map<string, { tokens: number; at: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether a message of so many bytes is to be heard. */
  take(sender: string, bytes: number): boolean {
    const its = this.#of(sender);
    if (its.tokens <= 0) return false;
    its.tokens -= 1 + bytes / BYTES;
    return true;
  }

  /** What was heard was no message. */
  nonsense(sender: string): void {
    this.#of(sender).tokens -= NONSENSE;
  }

  #of(sender: string): { tokens: number; at: number } {
    const now = this.#clock.monotonicMs();
    const its = this.#left.get(sender) ?? { tokens: RATE * SAVED_S, at: now };
    this.#left.set(sender, its);
    its.tokens = Math.min(RATE * SAVED_S, its.tokens + (Math.max(0, now - its.at) / 1000) * RATE);
    its.at = now;
    return its;
  }
}
