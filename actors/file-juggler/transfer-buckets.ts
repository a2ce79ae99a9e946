import type { Conditions } from '../../src/actor/conditions.js';
import type { Bus } from '../../src/bus/bus.js';
import { messageBucket } from '../../src/bus/claims.js';
import { systemClock } from '../../src/concurrency/clock.js';
import { KeyedQueues } from '../../src/concurrency/keyed-queues.js';
import { withTimeLimit } from '../../src/concurrency/time-limit.js';
import { PiwError, hasCode } from '../../src/errors.js';
import type { Log } from '../../src/log.js';
import { userBucketName } from '../../src/protocols/file-juggler.js';
import { chunkBucket } from '../../src/transfer/chunk-bucket.js';

/** How long a transfer waits for its bucket, milliseconds. */
const ENSURE_WAIT_MS = 2000;

/** The buckets of the users that send files here, and of those that have reported that NATS stores nothing. */
export class TransferBuckets {
  readonly #bus: Bus;
  readonly #log: Log;
  readonly #conditions: Conditions;
  readonly #ensured = new Set<string>();
  /** Buckets in which NATS is known to store no large message. */
  readonly #broken = new Set<string>();
  /** The calls that create buckets now, by name. */
  readonly #creating = new Map<string, Promise<boolean>>();
  readonly #repairs = new KeyedQueues<string>();

  constructor(bus: Bus, log: Log, conditions: Conditions) {
    this.#bus = bus;
    this.#log = log;
    this.#conditions = conditions;
  }

  nameOf(user: string): string {
    return userBucketName(this.#bus.prefix, user);
  }

  /**
   * Creates the bucket for a user's chunks unless it exists; with `force`, asks NATS even if it should. Returns whether
   * it exists. A cluster whose server is gone may take seconds for that, so after ENSURE_WAIT_MS it goes on in the
   * background: the bucket only saves sending some chunks again.
   */
  async ensure(user: string, force = false): Promise<boolean> {
    const name = this.nameOf(user);
    if (this.#ensured.has(name) && !force) return true;
    return await withTimeLimit(systemClock, ENSURE_WAIT_MS, this.#create(name), () => false);
  }

  /** Recreates those buckets that NATS has lost. */
  async check(): Promise<void> {
    for (const name of this.#ensured) await this.#create(name);
  }

  #create(name: string): Promise<boolean> {
    const creating =
      this.#creating.get(name) ?? this.#createNow(name).finally(() => this.#creating.delete(name));
    this.#creating.set(name, creating);
    return creating;
  }

  async #createNow(name: string): Promise<boolean> {
    try {
      await this.#bus.objects.buckets.ensure(chunkBucket(name));
      this.#ensured.add(name);
      return true;
    } catch (error) {
      if (!hasCode(error, 'PIW_OBJECT_BROKEN')) throw error;
      this.#log.warning('bucket not available', { bucket: name }, error);
      return false;
    }
  }

  /**
   * Replaces the buckets of an earlier version, which acknowledged what they stored: see formatAccounts for why
   * none may.
   */
  async replaceOld(): Promise<void> {
    const { buckets } = this.#bus.objects;
    for (const name of await buckets.list(this.nameOf(''))) await buckets.ensure(chunkBucket(name));
  }

  /** Repairs the bucket in which NATS stores no large message of a user. Throws PIW_NATS_STORAGE if it can't. */
  repair(user: string): Promise<void> {
    return this.#repair(this.nameOf(user));
  }

  /** Tries again to repair the buckets that could not be repaired. */
  async repairBroken(): Promise<void> {
    for (const name of this.#broken) await this.#repair(name);
  }

  async #repair(bucket: string): Promise<void> {
    await this.#repairs.run(bucket, async () => {
      try {
        if (await this.#bus.objects.buckets.repair(messageBucket(bucket)))
          this.#log.warning('NATS stored no large messages in the bucket, which was recreated', { bucket });
        this.#broken.delete(bucket);
        this.#conditions.clear('nats-not-storing', bucket);
      } catch (error) {
        if (error instanceof PiwError && error.code === 'PIW_NATS_STORAGE') {
          this.#broken.add(bucket);
          this.#conditions.raise('nats-not-storing', bucket, error.message);
        }
        throw error;
      }
    });
  }
}
