import { createHash, type Hash } from 'node:crypto';
import { NatsError, headers, type JetStreamClient, type MsgHdrs, type NatsConnection } from 'nats';
import { chunkSubject, metadataSubject, type Buckets } from './buckets.js';
import { CHUNK_SIZE, OFFSET_HEADER } from './chunk.js';
import { objectError, storageError, storageFailureReason } from './object-errors.js';

/** How many chunks may be unacknowledged at once; 8 MB with CHUNK_SIZE. */
const WRITE_WINDOW_CHUNKS = 8;
/** How long storing one chunk is retried, and the time limit of one attempt, milliseconds. */
const STORE_RETRY_LIMIT_MS = 30_000;
const STORE_LIMIT_MS = 5000;
/** If a responsive server has refused to store more than once, for longer than this, that is not a coincidence. */
const MIN_REFUSED_MS = 3000;

/**
 * Publishes the chunks of one object, and then its metadata, without waiting for anything: whoever reads them has to
 * say what is missing.
 */
export class ChunkPublisher {
  readonly #nc: NatsConnection;
  readonly #bucket: string;
  readonly #object: string;
  readonly #start: number;
  readonly #sha256: string | undefined;
  readonly #hash: Hash | undefined;
  #size = 0;
  #chunks = 0;

  /**
   * `start` is the offset of the object's first byte in the file; `sha256` (hexadecimal) is the digest of the whole
   * object, if it is already known.
   */
  constructor(nc: NatsConnection, bucket: string, object: string, start: number, sha256?: string) {
    this.#nc = nc;
    this.#bucket = bucket;
    this.#object = object;
    this.#start = start;
    this.#sha256 = sha256;
    this.#hash = sha256 === undefined ? createHash('sha256') : undefined;
  }

  /** Publishes the next chunk. The client sends it later, without copying it: `data` must stay unchanged until then. */
  write(data: Uint8Array): void {
    const header = headers();
    header.set(OFFSET_HEADER, String(this.#start + this.#size));
    this.#hash?.update(data);
    this.#size += data.length;
    this.#chunks += 1;
    this.#publish(chunkSubject(this.#bucket, this.#object), data, header);
  }

  /** Publishes the metadata, after the last chunk, for the tools of NATS' object store. Returns size and SHA-256. */
  end(): { readonly size: number; readonly sha256: string } {
    const sha256 = this.#hash?.digest() ?? Buffer.from(this.#sha256 ?? '', 'hex');
    const info = {
      name: this.#object,
      nuid: this.#object,
      bucket: this.#bucket,
      size: this.#size,
      chunks: this.#chunks,
      digest: `SHA-256=${sha256.toString('base64url')}=`,
      mtime: new Date().toISOString(),
      options: { max_chunk_size: CHUNK_SIZE },
    };
    this.#publish(
      metadataSubject(this.#bucket, this.#object),
      new TextEncoder().encode(JSON.stringify(info)),
    );
    return { size: this.#size, sha256: sha256.toString('hex') };
  }

  #publish(subject: string, data: Uint8Array, header?: MsgHdrs): void {
    try {
      this.#nc.publish(subject, data, header ? { headers: header } : {});
    } catch (error) {
      throw objectError(error);
    }
  }
}

/** Stores whole objects in buckets that acknowledge each chunk. */
export class ObjectWriter {
  readonly #nc: NatsConnection;
  readonly #js: JetStreamClient;
  readonly #buckets: Buckets;

  constructor(nc: NatsConnection, buckets: Buckets) {
    this.#nc = nc;
    this.#js = nc.jetstream();
    this.#buckets = buckets;
  }

  /**
   * Writes bytes as chunks of `object`, with at most WRITE_WINDOW_CHUNKS of them unacknowledged. Retries a chunk that
   * isn't acknowledged; it has a Nats-Msg-Id, so one that is sent twice is stored once. Returns the SHA-256. Throws
   * PIW_OBJECT_BROKEN if a chunk is still not acknowledged after STORE_RETRY_LIMIT_MS, PIW_NATS_STORAGE if the server
   * is up but does not store it.
   */
  async write(bucket: string, object: string, bytes: Uint8Array): Promise<string> {
    const inFlight = new Set<Promise<void>>();
    for (let start = 0; start < bytes.length; start += CHUNK_SIZE) {
      if (inFlight.size >= WRITE_WINDOW_CHUNKS) await Promise.race(inFlight);
      const writing = this.#store(bucket, object, start, bytes.subarray(start, start + CHUNK_SIZE));
      const settled = writing.finally(() => inFlight.delete(settled));
      inFlight.add(settled);
    }
    await Promise.all(inFlight);
    return createHash('sha256').update(bytes).digest('hex');
  }

  async #store(bucket: string, object: string, offset: number, data: Uint8Array): Promise<void> {
    const header = headers();
    header.set(OFFSET_HEADER, String(offset));
    const options = { msgID: `${object}:${offset}`, headers: header, timeout: STORE_LIMIT_MS };
    const began = performance.now();
    let refusals = 0;
    for (;;) {
      try {
        await this.#js.publish(chunkSubject(bucket, object), data, options);
        return;
      } catch (error) {
        const elapsedMs = performance.now() - began;
        const isPermanent = error instanceof NatsError && error.api_error && error.api_error.code !== 503;
        if (isPermanent || this.#nc.isClosed() || elapsedMs > STORE_RETRY_LIMIT_MS) throw objectError(error);
        if (await this.#buckets.refusesToStore(error)) refusals += 1;
        if (refusals > 1 && elapsedMs > MIN_REFUSED_MS)
          throw storageError(storageFailureReason(error), error);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  }
}
