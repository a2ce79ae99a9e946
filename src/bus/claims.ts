import { randomUUID } from 'node:crypto';
import { PiwError } from '../errors.js';
import type { Objects } from './objects.js';

/** The largest body that is fetched, bytes: a build's log of 16 MB, or every package's name. */
const MAX_BODY = 256 * 1024 * 1024;
/** What may wait to be fetched, bytes, and for how long: nobody asks for longer. */
const MAX_BUCKET = 4 * 1024 ** 3;
const HOUR_MS = 3_600_000;

/**
 * The claim check: a body over the server's max_payload is put into an object store, and the message
 * carries its ticket instead: bucket, object, size and digest. Both sides of every conversation have
 * it by using the bus; no protocol knows.
 */
export class Claims {
  readonly #objects: Objects;
  readonly #bucket: string;
  readonly #made: boolean;
  #ensured: Promise<void> | undefined;

  /** `made`: somebody else has made the bucket, for one who may not. */
  constructor(objects: Objects, bucket: string, made: boolean) {
    this.#objects = objects;
    this.#bucket = bucket;
    this.#made = made;
  }

  async check(bytes: Uint8Array): Promise<string> {
    if (bytes.length > MAX_BODY) {
      throw new PiwError(
        'PIW_TOO_LARGE',
        `a message of ${String(bytes.length)} bytes is over the limit of ${String(MAX_BODY)}`,
      );
    }
    if (!this.#made) {
      this.#ensured ??= this.#objects.ensure({ name: this.#bucket, maxAgeMs: HOUR_MS, maxBytes: MAX_BUCKET });
      await this.#ensured.catch((error: unknown) => {
        this.#ensured = undefined;
        throw error;
      });
    }
    const object = `claim.${randomUUID()}`;
    const { sha256 } = await this.#objects.write(this.#bucket, object, [bytes]);
    return [this.#bucket, object, String(bytes.length), sha256].join(' ');
  }

  /**
   * What a ticket stands for; the object is removed. `bucket` is where the sender may put things:
   * a ticket for another one is refused, as is a broken one, with PIW_MESSAGE_INVALID.
   */
  async fetch(ticket: string, bucket = this.#bucket): Promise<Uint8Array> {
    const [name, object, length, sha256] = ticket.split(' ');
    const size = Number(length);
    const sound = name === bucket && object !== undefined && /^claim\.[0-9a-f-]{36}$/.test(object);
    if (!sound || sha256 === undefined || !Number.isSafeInteger(size) || size < 1 || size > MAX_BODY) {
      throw new PiwError('PIW_MESSAGE_INVALID', 'its body was put where this sender may not put it');
    }
    const body = await this.#objects.readAll(name, object, size, sha256);
    await this.#objects.remove(name, object);
    return body;
  }
}
