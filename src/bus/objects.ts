import { createHash } from 'node:crypto';
import {
  AckPolicy,
  DeliverPolicy,
  JsHeaders,
  nanos,
  type ConsumerMessages,
  type JetStreamClient,
  type MsgHdrs,
  type NatsConnection,
  type Subscription,
} from 'nats';
import { PiwError } from '../errors.js';
import { Buckets, bucketOf, chunkSubject, type BucketName } from './buckets.js';
import { OFFSET_HEADER, type Chunk } from './chunk.js';
import { ChunkPublisher, ObjectWriter } from './chunk-writer.js';
import { isConsumerLost, isNotFound, objectError } from './object-errors.js';
import { releaseBuffer } from './wire.js';

/** How many chunks the server may send ahead; 4 MB. */
const READ_AHEAD_CHUNKS = 4;

/** A chunk in the stream, by its sequence number, and the range of the file that it holds. */
interface StoredChunk {
  readonly seq: number;
  readonly object: string;
  readonly offset: number;
  readonly length: number;
}

/** Chunks as they are sent: read them with `for await`; the bytes of each are valid until the next one is requested. */
export interface LiveChunks extends AsyncIterable<Chunk> {
  /** How many have arrived so far, whether or not they have been read. */
  readonly received: number;
  stop(): void;
}

/**
 * Objects in JetStream, with the subjects and metadata of NATS' own object store, so that its tools can list and read
 * them. They are written and read in a window of chunks and hashed with Node's SHA-256, because the client library's
 * `put` hashes in JavaScript and holds the whole file in memory. Each chunk has its offset in a header.
 */
export class ObjectStore {
  readonly buckets: Buckets;
  readonly #js: JetStreamClient;
  readonly #nc: NatsConnection;
  readonly #writer: ObjectWriter;

  constructor(nc: NatsConnection) {
    this.#nc = nc;
    this.#js = nc.jetstream();
    this.buckets = new Buckets(nc);
    this.#writer = new ObjectWriter(nc, this.buckets);
  }

  /** Stores a whole object: see ObjectWriter.write(). */
  write(bucket: string, object: string, bytes: Uint8Array): Promise<string> {
    return this.#writer.write(bucket, object, bytes);
  }

  /** Returns a publisher for an object whose first chunk is at `offset` of the file: see ChunkPublisher. */
  publisher(bucket: string, object: string, offset: number, sha256?: string): ChunkPublisher {
    return new ChunkPublisher(this.#nc, bucket, object, offset, sha256);
  }

  /**
   * Subscribes to the chunks of `object` (which may end in `.*`) that are sent from now on. Chunks that are missed
   * while the connection is down may still be in the store.
   */
  liveChunks(bucket: string, object: string): LiveChunks {
    const prefix = chunkSubject(bucket, '');
    const sub = this.#subscribe(prefix + object);
    return {
      get received() {
        return sub.getReceived();
      },
      stop: () => {
        sub.unsubscribe();
      },
      async *[Symbol.asyncIterator]() {
        try {
          for await (const message of sub) {
            const offset = numericHeader(message, OFFSET_HEADER);
            yield { object: message.subject.slice(prefix.length), offset, data: message.data };
            releaseBuffer(message.data);
          }
        } catch (error) {
          throw objectError(error);
        }
      },
    };
  }

  /**
   * Yields the stored chunks of `object` (which may end in `.*`), from the first, and then those that still arrive,
   * until the reader stops or none has arrived for `idleMs`. Skips chunks without a valid offset. Memory stays under
   * about 16 MB.
   */
  async *readChunks(
    bucket: BucketName,
    object: string,
    options: { idleMs: number; signal?: AbortSignal },
  ): AsyncIterable<Chunk> {
    const { consumers } = await this.buckets.manager();
    const { stream } = bucketOf(bucket);
    let nextSeq = 1;
    for (;;) {
      // If the server has lost the consumer because it was restarted, a new one continues after the last chunk read.
      const consumer = await consumers
        .add(stream, {
          ack_policy: AckPolicy.None,
          mem_storage: true,
          num_replicas: 1,
          filter_subject: chunkSubject(bucket, object),
          deliver_policy: DeliverPolicy.StartSequence,
          opt_start_seq: nextSeq,
          inactive_threshold: nanos(60_000),
        })
        .catch((error: unknown) => {
          throw objectError(error);
        });
      const messages = await this.#consume(stream, consumer.name);
      const stop = () => {
        messages.stop();
      };
      options.signal?.addEventListener('abort', stop, { once: true });
      let idle = setTimeout(stop, options.idleMs);
      try {
        for await (const message of messages) {
          clearTimeout(idle);
          nextSeq = message.seq + 1;
          const offset = numericHeader(message, OFFSET_HEADER);
          const objectName = message.subject.slice(chunkSubject(bucket, '').length);
          if (Number.isSafeInteger(offset) && offset >= 0)
            yield { object: objectName, offset, data: message.data };
          idle = setTimeout(stop, options.idleMs);
        }
        return;
      } catch (error) {
        if (options.signal?.aborted) return;
        if (!isConsumerLost(error)) throw objectError(error);
      } finally {
        clearTimeout(idle);
        options.signal?.removeEventListener('abort', stop);
        stop();
        // Otherwise the server would drop it a minute later.
        void consumers.delete(stream, consumer.name).catch(() => undefined);
      }
    }
  }

  /**
   * Lists the chunks that are stored now for `object` (which may end in `.*`), at most `limit`, without their bytes.
   */
  async listChunks(bucket: BucketName, object: string, limit = 100_000): Promise<readonly StoredChunk[]> {
    const prefix = chunkSubject(bucket, '');
    const { stream } = bucketOf(bucket);
    const chunks: StoredChunk[] = [];
    try {
      const { consumers } = await this.buckets.manager();
      const consumer = await consumers.add(stream, {
        ack_policy: AckPolicy.None,
        mem_storage: true,
        num_replicas: 1,
        filter_subject: prefix + object,
        deliver_policy: DeliverPolicy.All,
        headers_only: true,
        inactive_threshold: nanos(60_000),
      });
      const reader = await this.#js.consumers.get(stream, consumer.name);
      const total = Math.min(consumer.num_pending, limit);
      while (chunks.length < total) {
        const before = chunks.length;
        for await (const message of await reader.fetch({
          max_messages: total - chunks.length,
          expires: 5000,
        })) {
          chunks.push({
            seq: message.seq,
            object: message.subject.slice(prefix.length),
            offset: numericHeader(message, OFFSET_HEADER),
            length: numericHeader(message, JsHeaders.MessageSizeHdr),
          });
        }
        if (chunks.length === before) break;
      }
      void consumers.delete(stream, consumer.name).catch(() => undefined);
    } catch (error) {
      if (!isNotFound(error)) throw objectError(error);
    }
    return chunks;
  }

  /** Returns how many chunks are stored for `object` (which may end in `.*`). */
  async countChunks(bucket: BucketName, object: string): Promise<number> {
    const filter = chunkSubject(bucket, object);
    try {
      const { streams } = await this.buckets.manager();
      const { state } = await streams.info(bucketOf(bucket).stream, { subjects_filter: filter });
      return Object.values(state.subjects ?? {}).reduce((sum, n) => sum + n, 0);
    } catch (error) {
      throw objectError(error);
    }
  }

  /** Returns the bytes of a stored chunk; undefined if it has been removed. */
  async readChunk(bucket: BucketName, { seq }: StoredChunk): Promise<Uint8Array | undefined> {
    try {
      const { streams } = await this.buckets.manager();
      return (await streams.getMessage(bucketOf(bucket).stream, { seq })).data;
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw objectError(error);
    }
  }

  /** Returns all bytes of a small object. Throws PIW_OBJECT_BROKEN if its size or SHA-256 is not the announced one. */
  async readObject(bucket: BucketName, object: string, size: number, sha256: string): Promise<Uint8Array> {
    // Memory is allocated only for chunks that exist: `size` is only the sender's claim.
    const received: Omit<Chunk, 'object'>[] = [];
    let receivedBytes = 0;
    for await (const { offset, data } of this.readChunks(bucket, object, { idleMs: 10_000 })) {
      if (offset + data.length > size || data.length === 0) break;
      received.push({ offset, data });
      receivedBytes += data.length;
      if (receivedBytes >= size) break;
    }
    // A chunk that was retried may come after a later one.
    const contents = Buffer.concat(received.sort((a, b) => a.offset - b.offset).map(({ data }) => data));
    if (receivedBytes !== size || createHash('sha256').update(contents).digest('hex') !== sha256) {
      throw new PiwError(
        'PIW_OBJECT_BROKEN',
        `${object} in ${bucketOf(bucket).name} does not have the announced size and SHA-256`,
      );
    }
    return contents;
  }

  #subscribe(subject: string): Subscription {
    try {
      return this.#nc.subscribe(subject);
    } catch (error) {
      throw objectError(error);
    }
  }

  async #consume(name: string, consumer: string): Promise<ConsumerMessages> {
    try {
      const reader = await this.#js.consumers.get(name, consumer);
      return await reader.consume({ max_messages: READ_AHEAD_CHUNKS, expires: 5000, idle_heartbeat: 1000 });
    } catch (error) {
      throw objectError(error);
    }
  }
}

/** Returns a header as a number; NaN if it is missing or the headers, which are parsed only now, are malformed. */
function numericHeader(message: { readonly headers?: MsgHdrs | undefined }, name: string): number {
  try {
    const text = message.headers?.get(name) ?? '';
    return text === '' ? NaN : Number(text);
  } catch {
    return NaN;
  }
}
