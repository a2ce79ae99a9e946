import type { Bus } from '../../src/bus/bus.js';
import { messageBucket } from '../../src/bus/claims.js';
import { userBucketName } from '../../src/protocols/file-juggler.js';
import { chunkBucket } from '../../src/transfer/chunk-bucket.js';

/** The buckets into which slaves write their files and large messages: one per user. */
export class UserBuckets {
  readonly #bus: Bus;
  /** Per user, the call that creates its bucket, or has created it. */
  readonly #ensured = new Map<string, Promise<void>>();

  constructor(bus: Bus) {
    this.#bus = bus;
  }

  nameOf(user: string): string {
    return userBucketName(this.#bus.prefix, user);
  }

  /** Ensures that a user's bucket exists. */
  ensure(user: string): Promise<void> {
    const ensured = this.#ensured.get(user);
    if (ensured) return ensured;
    const creating = this.#create(this.nameOf(user));
    this.#ensured.set(user, creating);
    creating.catch(() => this.#ensured.delete(user));
    return creating;
  }

  async #create(name: string): Promise<void> {
    const { buckets } = this.#bus.objects;
    // In this order: the first one replaces a stream of an earlier version that would not allow the second.
    await buckets.ensure(chunkBucket(name));
    await buckets.ensure(messageBucket(name));
  }
}
