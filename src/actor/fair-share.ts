import type { Clock } from './clock.js';

/** What one sender may cost in a second, and for how long it may have saved that up. */
const TOKENS_PER_S = 40_000;
const BURST_S = 1;
/** A message costs one, and one more for every so many bytes; one that is none costs as much as a hundred. */
const BYTES_PER_TOKEN = 4096;
const INVALID_MESSAGE_TOKENS = 99;

/**
 * How much of an actor's time each of its senders may have. A slave says a few messages in a second, and two
 * hundred of them at work under one name no more than fifteen thousand. Whoever says more is not heard, which
 * costs a tenth of an answer, so that what the others say and the actor's own lease don't wait behind it.
 */
export class SenderRateLimiter {
  readonly #clock: Clock;
  readonly #buckets = new Map<string, { tokens: number; at: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether a message of so many bytes is to be heard. */
  take(sender: string, bytes: number): boolean {
    const bucket = this.#refilledBucket(sender);
    if (bucket.tokens <= 0) return false;
    bucket.tokens -= 1 + bytes / BYTES_PER_TOKEN;
    return true;
  }

  /** What was heard was no message. */
  penalize(sender: string): void {
    this.#refilledBucket(sender).tokens -= INVALID_MESSAGE_TOKENS;
  }

  #refilledBucket(sender: string): { tokens: number; at: number } {
    const now = this.#clock.monotonicMs();
    const bucket = this.#buckets.get(sender) ?? { tokens: TOKENS_PER_S * BURST_S, at: now };
    this.#buckets.set(sender, bucket);
    bucket.tokens = Math.min(
      TOKENS_PER_S * BURST_S,
      bucket.tokens + (Math.max(0, now - bucket.at) / 1000) * TOKENS_PER_S,
    );
    bucket.at = now;
    return bucket;
  }
}
