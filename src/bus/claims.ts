import { randomUUID } from 'node:crypto';
import { PiwError } from '../errors.js';
import type { ObjectStore } from './objects.js';

const isStorageError = (error: unknown): boolean =>
  error instanceof PiwError && error.code === 'PIW_NATS_STORAGE';

/** The largest body, bytes: every package's name. */
const MAX_BODY_BYTES = 256 * 1024 * 1024;
/** Of somebody who has a bucket of its own, a slave: a build's log of 60 MB, in UTF-8. */
const MAX_UNTRUSTED_BODY_BYTES = 128 * 1024 * 1024;
/** How many bodies of one bucket are fetched at once, and how many more may wait for that. */
const FETCH_LIMITS = { active: 2, waiting: 64 };
/** What may wait to be fetched, bytes, and for how long: nobody asks for longer. */
const MAX_BUCKET_BYTES = 4 * 1024 ** 3;
const HOUR_MS = 3_600_000;

/**
 * The claim check: a body over the server's max_payload is put into an object store, and the message
 * carries its ticket instead: bucket, object, size and digest. Both sides of every conversation have
 * it by using the bus; no protocol knows.
 */
export class ClaimStore {
  readonly #objects: ObjectStore;
  readonly #bucket: string;
  readonly #provisioned: boolean;
  readonly #queues = new Map<string, { active: number; readonly waiting: (() => void)[] }>();
  #ensured: Promise<void> | undefined;

  /** `made`: somebody else has made the bucket, for one who may not. */
  constructor(objects: ObjectStore, bucket: string, provisioned: boolean) {
    this.#objects = objects;
    this.#bucket = bucket;
    this.#provisioned = provisioned;
  }

  async store(bytes: Uint8Array): Promise<string> {
    if (bytes.length > MAX_BODY_BYTES) {
      throw new PiwError(
        'PIW_TOO_LARGE',
        `a message of ${String(bytes.length)} bytes is over the limit of ${String(MAX_BODY_BYTES)}`,
      );
    }
    const bucket = { name: this.#bucket, maxAgeMs: HOUR_MS, maxBytes: MAX_BUCKET_BYTES };
    if (!this.#provisioned) {
      this.#ensured ??= this.#objects.ensure(bucket);
      await this.#ensured.catch((error: unknown) => {
        this.#ensured = undefined;
        throw error;
      });
    }
    const object = `claim.${randomUUID()}`;
    const write = () => this.#objects.write(this.#bucket, object, [bytes]);
    const { sha256 } = await write().catch(async (error: unknown) => {
      if (this.#provisioned || !isStorageError(error)) throw error;
      await this.#objects.repair(bucket);
      return await write();
    });
    return [this.#bucket, object, String(bytes.length), sha256].join(' ');
  }

  /**
   * What a ticket stands for; the object is removed. `bucket` is where the sender may put things:
   * a ticket for another one is refused, as is a broken one, with PIW_MESSAGE_INVALID. A ticket costs who
   * sends it nothing: so it has no memory but for what is really there, and those of one sender wait for
   * each other, up to a number.
   */
  async fetch(ticket: string, bucket = this.#bucket): Promise<Uint8Array> {
    const maxBytes = bucket === this.#bucket ? MAX_BODY_BYTES : MAX_UNTRUSTED_BODY_BYTES;
    const [ticketBucket, object, length, sha256] = ticket.split(' ');
    const size = Number(length);
    const isWellFormed =
      ticketBucket === bucket && object !== undefined && /^claim\.[0-9a-f-]{36}$/.test(object);
    if (!isWellFormed || sha256 === undefined || !Number.isSafeInteger(size) || size < 1 || size > maxBytes) {
      throw new PiwError('PIW_MESSAGE_INVALID', 'its body was put where this sender may not put it');
    }
    return await this.#withFetchSlot(ticketBucket, async () => {
      // Whoever sent the ticket had stored all of it before.
      if ((await this.#objects.countChunks(ticketBucket, object)) === 0)
        throw new PiwError('PIW_OBJECT_BROKEN', `there is no ${object} in ${ticketBucket}, or no more`);
      const body = await this.#objects.readObject(ticketBucket, object, size, sha256);
      await this.#objects.remove(ticketBucket, object);
      return body;
    });
  }

  async #withFetchSlot<T>(bucket: string, action: () => Promise<T>): Promise<T> {
    const queue = this.#queues.get(bucket) ?? { active: 0, waiting: [] };
    this.#queues.set(bucket, queue);
    if (queue.active < FETCH_LIMITS.active) queue.active += 1;
    else {
      if (queue.waiting.length >= FETCH_LIMITS.waiting)
        throw new PiwError('PIW_TOO_LARGE', `too many large messages from ${bucket} at once`);
      await new Promise<void>((resolve) => queue.waiting.push(resolve));
    }
    try {
      return await action();
    } finally {
      const next = queue.waiting.shift();
      if (next) next();
      else if ((queue.active -= 1) === 0) this.#queues.delete(bucket);
    }
  }
}
