import type { Clock } from './clock.js';

/** The rate at which a sender's bucket refills, and its capacity in seconds of that rate. */
const TOKENS_PER_S = 40_000;
const BURST_S = 1;
/** A message costs one token, plus one for each BYTES_PER_TOKEN; an invalid message costs as much as a hundred. */
const BYTES_PER_TOKEN = 4096;
const INVALID_MESSAGE_TOKENS = 99;

/**
 * A token bucket for each sender of an actor. A slave sends a few messages a second, and two hundred slaves under one
 * name at most fifteen thousand. Messages above the limit are dropped, which costs a tenth of answering them, so that
 * the messages of other senders and the renewal of the actor's lease don't have to wait.
 */
export class SenderRateLimiter {
  readonly #clock: Clock;
  readonly #buckets = new Map<string, { tokens: number; at: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Takes the tokens for a message of `bytes` bytes; returns false if the message has to be dropped. */
  take(sender: string, bytes: number): boolean {
    const bucket = this.#refilledBucket(sender);
    if (bucket.tokens <= 0) return false;
    bucket.tokens -= 1 + bytes / BYTES_PER_TOKEN;
    return true;
  }

  /** Charges the sender for an invalid message. */
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
