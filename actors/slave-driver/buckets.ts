import type { Bus } from '../../src/bus/bus.js';
import { bucketConfig, userBucketName } from '../../src/protocols/file-juggler.js';

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
    const creating = this.#bus.objects.ensure(bucketConfig(this.nameOf(user)));
    this.#ensured.set(user, creating);
    creating.catch(() => this.#ensured.delete(user));
    return creating;
  }
}
