import { randomUUID } from 'node:crypto';
import { KeyedQueues } from '../concurrency/keyed-queues.js';
import { PiwError } from '../errors.js';
import { DAY_MS, HOUR_MS } from '../units.js';
import type { Bucket, DiskBucketConfig } from './buckets.js';
import type { ObjectStore } from './objects.js';

const isStorageError = (error: unknown): boolean =>
  error instanceof PiwError && error.code === 'PIW_NATS_STORAGE';

/** The largest body, bytes. The largest message that exists is the list of all package names. */
const MAX_BODY_BYTES = 256 * 1024 * 1024;
/** The largest body of a sender with a bucket of its own, i.e. a slave: a build log of 60 MB, in UTF-8. */
const MAX_UNTRUSTED_BODY_BYTES = 128 * 1024 * 1024;
/** How many bodies of one bucket are fetched at once, and how many more may wait. */
const FETCH_LIMITS = { active: 2, waiting: 64 };
/** How many bytes the bucket may hold, and for how long: no request waits longer than that. */
export const MAX_BUCKET_BYTES = 4 * 1024 ** 3;

/** The stream of the large messages of a user whose bucket has another stream for everything else. */
const messageStream = (bucket: string): Bucket => ({ name: bucket, stream: `MSG_${bucket}` });

/** Returns the configuration of that stream. A user that never sends its tickets loses only its own messages. */
export const messageBucket = (bucket: string): DiskBucketConfig => ({
  name: bucket,
  only: { stream: messageStream(bucket).stream, objects: 'claim.*' },
  maxAgeMs: DAY_MS,
  maxBytes: 144 * 1024 ** 2,
  dropsOldest: true,
});

/**
 * The claim check pattern: a body larger than the server's max_payload is written to an object store, and the message
 * carries a ticket in its place: bucket, object, size and SHA-256. The bus does this for both sides of every
 * conversation; the protocols are not aware of it.
 */
export class ClaimStore {
  readonly #objects: ObjectStore;
  readonly #bucket: string;
  readonly #provisioned: boolean;
  readonly #fetches = new KeyedQueues<string>(FETCH_LIMITS.active);
  #ensured: Promise<void> | undefined;

  /** `provisioned`: the bucket already exists, because this user has no right to create it. */
  constructor(objects: ObjectStore, bucket: string, provisioned: boolean) {
    this.#objects = objects;
    this.#bucket = bucket;
    this.#provisioned = provisioned;
  }

  /** Stores a body and returns its ticket. Throws PIW_TOO_LARGE above 256 MB. */
  async store(bytes: Uint8Array): Promise<string> {
    if (bytes.length > MAX_BODY_BYTES) {
      throw new PiwError(
        'PIW_TOO_LARGE',
        `a message of ${bytes.length} bytes is over the limit of ${MAX_BODY_BYTES}`,
      );
    }
    const bucket = { name: this.#bucket, maxAgeMs: HOUR_MS, maxBytes: MAX_BUCKET_BYTES };
    if (!this.#provisioned) {
      this.#ensured ??= this.#objects.buckets.ensure(bucket);
      await this.#ensured.catch((error: unknown) => {
        this.#ensured = undefined;
        throw error;
      });
    }
    const object = `claim.${randomUUID()}`;
    const write = () => this.#objects.write(this.#bucket, object, bytes);
    const sha256 = await write().catch(async (error: unknown) => {
      if (this.#provisioned || !isStorageError(error)) throw error;
      await this.#objects.buckets.repair(bucket);
      return await write();
    });
    return [this.#bucket, object, String(bytes.length), sha256].join(' ');
  }

  /**
   * Returns the body that a ticket names, and removes its object. `bucket` is the one that the sender may write to; a
   * ticket for another bucket, or a malformed one, throws PIW_MESSAGE_INVALID. A ticket costs its sender nothing, so
   * memory is allocated only for bytes that exist, and the tickets of one sender wait for each other; too many of them
   * throw PIW_TOO_LARGE. Throws PIW_OBJECT_BROKEN if the object is missing or not what the ticket says.
   */
  async fetch(ticket: string, bucket = this.#bucket): Promise<Uint8Array> {
    const maxBytes = bucket === this.#bucket ? MAX_BODY_BYTES : MAX_UNTRUSTED_BODY_BYTES;
    const [ticketBucket, object, length, sha256] = ticket.split(' ');
    const size = Number(length);
    const isWellFormed =
      ticketBucket === bucket && object !== undefined && /^claim\.[0-9a-f-]{36}$/.test(object);
    if (!isWellFormed || sha256 === undefined || !Number.isSafeInteger(size) || size < 1 || size > maxBytes) {
      throw new PiwError('PIW_MESSAGE_INVALID', 'its large body is stored where this sender may not write');
    }
    if (this.#fetches.length(bucket) >= FETCH_LIMITS.active + FETCH_LIMITS.waiting)
      throw new PiwError('PIW_TOO_LARGE', `too many large messages from ${bucket} at once`);
    return await this.#fetches.run(bucket, async () => {
      const stored = bucket === this.#bucket ? bucket : messageStream(bucket);
      // The sender stores the whole object before it sends the ticket.
      if ((await this.#objects.countChunks(stored, object)) === 0)
        throw new PiwError('PIW_OBJECT_BROKEN', `${object} is not in ${ticketBucket}: it may have expired`);
      const body = await this.#objects.readObject(stored, object, size, sha256);
      await this.#objects.buckets.remove(stored, object);
      return body;
    });
  }
}
