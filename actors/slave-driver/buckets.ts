import type { Bus } from '../../src/bus/bus.js';
import { messageBucket } from '../../src/bus/claims.js';
import { userBucketName } from '../../src/protocols/file-juggler.js';
import { systemClock } from '../../src/concurrency/clock.js';
import { withTimeLimit } from '../../src/concurrency/time-limit.js';
import { hasCode } from '../../src/errors.js';
import { chunkBucket } from '../../src/transfer/chunk-bucket.js';

/** How long a HELLO waits for the buckets, milliseconds. */
const ENSURE_WAIT_MS = 2000;

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

  /**
   * Ensures that a user's buckets exist. A cluster whose server is gone may take seconds for that, or fail; the slave
   * waits no longer than ENSURE_WAIT_MS. Without them it can build, and the File Juggler repairs what it needs later.
   */
  async ensure(user: string): Promise<void> {
    const creating = this.#ensured.get(user) ?? this.#create(this.nameOf(user));
    this.#ensured.set(user, creating);
    creating.catch(() => this.#ensured.delete(user));
    try {
      await withTimeLimit(systemClock, ENSURE_WAIT_MS, creating, () => undefined);
    } catch (error) {
      if (!hasCode(error, 'PIW_OBJECT_BROKEN')) throw error;
    }
  }

  async #create(name: string): Promise<void> {
    const { buckets } = this.#bus.objects;
    // In this order: the first one replaces a stream of an earlier version that would not allow the second.
    await buckets.ensure(chunkBucket(name));
    await buckets.ensure(messageBucket(name));
  }
}
