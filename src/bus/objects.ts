import { createHash, type Hash } from 'node:crypto';
import {
  AckPolicy,
  DeliverPolicy,
  DiscardPolicy,
  JsHeaders,
  NatsError,
  StorageType,
  headers,
  nanos,
  type ConsumerMessages,
  type JetStreamClient,
  type JetStreamManager,
  type MsgHdrs,
  type NatsConnection,
  type Subscription,
} from 'nats';
import { PiwError, errorMessage } from '../errors.js';
import { busError, isNoResponders, isTimeout, jetStreamCode, withTimeout } from './errors.js';
import { releaseBuffer } from './wire.js';

/** Bytes of one chunk: the fastest size that was measured, well under the default max_payload. */
export const CHUNK_SIZE = 512 * 1024;
/** How many chunks may be unacknowledged at once; 8 MB with CHUNK_SIZE. */
const WRITE_WINDOW_CHUNKS = 16;
/** How many chunks the server may send ahead; 2 MB. */
const READ_AHEAD_CHUNKS = 4;
/** How long storing one chunk is retried, and the time limit of one attempt, milliseconds. */
const STORE_RETRY_LIMIT_MS = 30_000;
const STORE_LIMIT_MS = 5000;
/** If a responsive server has refused to store more than once, for longer than this, that is not a coincidence. */
const MIN_REFUSED_MS = 3000;
/** The number of probe writes before a bucket counts as broken, and the time limit of each, milliseconds. */
const MAX_PROBES = 2;
const PROBE_LIMIT_MS = 2000;
/** The object whose metadata a probe writes; under `claim`, where no transfer is looked for. */
const PROBE_OBJECT = 'claim.probe';
const OFFSET_HEADER = 'Piw-Offset';
const HOUR_MS = 3_600_000;

interface BucketConfig {
  readonly name: string;
  /** How long an object that nobody removes is kept. */
  readonly maxAgeMs: number;
  /** The total size that it may hold, bytes; the server reserves as much. */
  readonly maxBytes: number;
  /** How many of the last chunks of each object it keeps; by default all. Older chunks are dropped. */
  readonly lastChunks?: number;
}

export interface Chunk {
  /** The object that the chunk belongs to. */
  readonly object: string;
  /** The offset of these bytes in the file. */
  readonly offset: number;
  readonly data: Uint8Array;
}

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
 * `put` hashes in JavaScript and holds the whole file in memory.
 *
 * Each chunk has its offset and a Nats-Msg-Id in its headers, so a chunk that is sent twice is stored once.
 */
export class ObjectStore {
  readonly #js: JetStreamClient;
  readonly #nc: NatsConnection;
  #manager: Promise<JetStreamManager> | undefined;

  constructor(nc: NatsConnection) {
    this.#nc = nc;
    this.#js = nc.jetstream();
  }

  /**
   * Creates the bucket, or updates its configuration. A full bucket with `lastChunks` drops its oldest chunks; any
   * other refuses new ones. Needs the permissions of a master.
   */
  async ensure(bucket: BucketConfig): Promise<void> {
    const jsm = await this.#jsm();
    const config = {
      name: streamName(bucket.name),
      subjects: [`$O.${bucket.name}.C.>`, `$O.${bucket.name}.M.>`],
      storage: StorageType.File,
      discard: bucket.lastChunks === undefined ? DiscardPolicy.New : DiscardPolicy.Old,
      max_msgs_per_subject: bucket.lastChunks ?? -1,
      allow_rollup_hdrs: true,
      allow_direct: true,
      max_age: nanos(bucket.maxAgeMs),
      max_bytes: bucket.maxBytes,
      duplicate_window: nanos(Math.min(bucket.maxAgeMs, 120_000)),
    };
    try {
      const { config: existing } = await jsm.streams.info(config.name);
      const isUpToDate = (['discard', 'max_msgs_per_subject', 'max_bytes'] as const).every(
        (key) => existing[key] === config[key],
      );
      if (!isUpToDate) await jsm.streams.update(config.name, config);
    } catch (error) {
      if (!(error instanceof NatsError) || error.api_error?.code !== 404) throw objectError(error);
      await jsm.streams.add(config).catch((e: unknown) => {
        throw objectError(e);
      });
    }
  }

  /**
   * Checks that NATS stores what is sent to a bucket, and recreates the bucket, empty, if it doesn't. At the first
   * error of its disk, nats-server stops storing to a stream and answering its writers, even after there is space
   * again. Returns whether the bucket was recreated. Throws PIW_NATS_STORAGE if that did not help. Needs the
   * permissions of a master.
   */
  async repair(bucket: BucketConfig): Promise<boolean> {
    await this.ensure(bucket);
    if (await this.#canStore(bucket.name)) return false;
    try {
      const jsm = await this.#jsm();
      await jsm.streams.delete(streamName(bucket.name));
    } catch (error) {
      if (!isNotFound(error)) throw objectError(error);
    }
    await this.ensure(bucket);
    if (!(await this.#canStore(bucket.name))) throw storageError('the disk of nats-server may be full');
    return true;
  }

  /**
   * Writes the bytes of `source` as chunks of `object`, with at most WRITE_WINDOW_CHUNKS of them unacknowledged, and
   * then the object's metadata. Retries a chunk that isn't acknowledged. Throws PIW_OBJECT_BROKEN if a chunk is still
   * not acknowledged after STORE_RETRY_LIMIT_MS, PIW_NATS_STORAGE if the server is up but does not store it.
   */
  async write(
    bucket: string,
    object: string,
    source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  ): Promise<{ size: number; sha256: string }> {
    const writer = this.writer(bucket, object, 0);
    const inFlight = new Set<Promise<void>>();
    for await (const block of source) {
      for (let start = 0; start < block.length; start += CHUNK_SIZE) {
        if (inFlight.size >= WRITE_WINDOW_CHUNKS) await Promise.race(inFlight);
        const writing = writer.write(block.subarray(start, start + CHUNK_SIZE));
        const settled = writing.finally(() => inFlight.delete(settled));
        inFlight.add(settled);
      }
    }
    const last = writer.end();
    await Promise.all([...inFlight, last.stored]);
    return last;
  }

  /**
   * Returns a writer for an object whose first chunk is at `offset` of the file; `signal` cancels its writes. `sha256`
   * (hexadecimal) is the digest of the whole object, if it is already known.
   */
  writer(
    bucket: string,
    object: string,
    offset: number,
    { sha256, signal }: { sha256?: string | undefined; signal?: AbortSignal } = {},
  ): ObjectWriter {
    const send: ChunkSender = (subject, data, msgID, header) =>
      this.#publishWithRetry(subject, data, msgID, header, signal);
    return new ObjectWriter(bucket, object, offset, send, sha256);
  }

  /**
   * Subscribes to the chunks of `object` (which may end in `.*`) that are sent from now on. Chunks that are missed
   * while the connection is down are still in the store.
   */
  liveChunks(bucket: string, object: string): LiveChunks {
    const prefix = `$O.${bucket}.C.`;
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
    bucket: string,
    object: string,
    options: { idleMs: number; signal?: AbortSignal },
  ): AsyncIterable<Chunk> {
    const jsm = await this.#jsm();
    const name = streamName(bucket);
    const filter = `$O.${bucket}.C.${object}`;
    let nextSeq = 1;
    for (;;) {
      // If the server has lost the consumer because it was restarted, a new one continues after the last chunk read.
      const consumer = await jsm.consumers
        .add(name, {
          ack_policy: AckPolicy.None,
          mem_storage: true,
          num_replicas: 1,
          filter_subject: filter,
          deliver_policy: DeliverPolicy.StartSequence,
          opt_start_seq: nextSeq,
          inactive_threshold: nanos(60_000),
        })
        .catch((error: unknown) => {
          throw objectError(error);
        });
      const messages = await this.#consume(name, consumer.name);
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
          const objectName = message.subject.slice(`$O.${bucket}.C.`.length);
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
        void jsm.consumers.delete(name, consumer.name).catch(() => undefined);
      }
    }
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

  /**
   * Lists the chunks that are stored now for `object` (which may end in `.*`), at most `limit`, without their bytes.
   */
  async listChunks(bucket: string, object: string, limit = 100_000): Promise<readonly StoredChunk[]> {
    const prefix = `$O.${bucket}.C.`;
    const chunks: StoredChunk[] = [];
    try {
      const jsm = await this.#jsm();
      const consumer = await jsm.consumers.add(streamName(bucket), {
        ack_policy: AckPolicy.None,
        mem_storage: true,
        num_replicas: 1,
        filter_subject: prefix + object,
        deliver_policy: DeliverPolicy.All,
        headers_only: true,
        inactive_threshold: nanos(60_000),
      });
      const reader = await this.#js.consumers.get(streamName(bucket), consumer.name);
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
      void jsm.consumers.delete(streamName(bucket), consumer.name).catch(() => undefined);
    } catch (error) {
      if (!isNotFound(error)) throw objectError(error);
    }
    return chunks;
  }

  /** Returns how many chunks are stored for `object` (which may end in `.*`). */
  async countChunks(bucket: string, object: string): Promise<number> {
    const filter = `$O.${bucket}.C.${object}`;
    try {
      const jsm = await this.#jsm();
      const { state } = await jsm.streams.info(streamName(bucket), { subjects_filter: filter });
      return Object.values(state.subjects ?? {}).reduce((sum, n) => sum + n, 0);
    } catch (error) {
      throw objectError(error);
    }
  }

  /** Returns the bytes of a stored chunk; undefined if it has been removed. */
  async readChunk(bucket: string, { seq }: StoredChunk): Promise<Uint8Array | undefined> {
    try {
      const jsm = await this.#jsm();
      return (await jsm.streams.getMessage(streamName(bucket), { seq })).data;
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw objectError(error);
    }
  }

  /** Returns all bytes of a small object. Throws PIW_OBJECT_BROKEN if its size or SHA-256 is not the announced one. */
  async readObject(bucket: string, object: string, size: number, sha256: string): Promise<Uint8Array> {
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
        `${object} in ${bucket} does not have the announced size and SHA-256`,
      );
    }
    return contents;
  }

  /**
   * Removes the chunks of objects (a name may end in `.*`), and the metadata of those named without a wildcard. `*`
   * stands for all objects whose name is a single token, and for all metadata.
   */
  async remove(bucket: string, ...objects: readonly string[]): Promise<void> {
    const filters = objects.flatMap((object) => [
      `$O.${bucket}.C.${object}`,
      ...(object === '*' ? [`$O.${bucket}.M.*`] : []),
      ...(object.endsWith('*') ? [] : [metaSubject(bucket, object)]),
    ]);
    try {
      const jsm = await this.#jsm();
      await Promise.all(filters.map((filter) => jsm.streams.purge(streamName(bucket), { filter })));
    } catch (error) {
      if (!isNotFound(error)) throw objectError(error);
    }
  }

  /** Returns the buckets whose names begin with `prefix`, each with the names of its objects (chunks or metadata). */
  async listBuckets(prefix: string): Promise<ReadonlyMap<string, readonly string[]>> {
    const objectsByBucket = new Map<string, readonly string[]>();
    try {
      const jsm = await this.#jsm();
      for await (const name of jsm.streams.names()) {
        if (!name.startsWith(streamName(prefix))) continue;
        const bucket = name.slice(streamName('').length);
        const { state } = await jsm.streams.info(name, { subjects_filter: `$O.${bucket}.>` });
        const objects = Object.keys(state.subjects ?? {}).map((subject) => objectNameOf(bucket, subject));
        objectsByBucket.set(bucket, [...new Set(objects)]);
      }
    } catch (error) {
      throw objectError(error);
    }
    return objectsByBucket;
  }

  async #publishWithRetry(
    subject: string,
    data: Uint8Array,
    msgID: string,
    header: MsgHdrs,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const began = performance.now();
    let refusals = 0;
    for (;;) {
      try {
        await this.#js.publish(subject, data, { msgID, headers: header, timeout: STORE_LIMIT_MS });
        return;
      } catch (error) {
        const elapsedMs = performance.now() - began;
        const isPermanent = error instanceof NatsError && error.api_error && error.api_error.code !== 503;
        if (isPermanent || signal?.aborted || this.#nc.isClosed() || elapsedMs > STORE_RETRY_LIMIT_MS)
          throw objectError(error);
        if (await this.#refusesToStore(error)) refusals += 1;
        if (refusals > 1 && elapsedMs > MIN_REFUSED_MS)
          throw storageError(storageFailureReason(error), error);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  }

  /** Returns whether the server is up but does not store this: there is no bucket, or its disk is full. */
  async #refusesToStore(error: unknown): Promise<boolean> {
    if (isStorageError(error) || isNoResponders(error)) return true;
    return isTimeout(error) && (await this.#isResponsive());
  }

  async #isResponsive(): Promise<boolean> {
    return await withTimeout(PROBE_LIMIT_MS, this.#nc.rtt(), 'a ping to NATS').then(
      () => true,
      () => false,
    );
  }

  /**
   * Writes a probe. Returns false if the server is up but does not store it. Throws PIW_OBJECT_BROKEN if the server is
   * down.
   */
  async #canStore(bucket: string): Promise<boolean> {
    const header = headers();
    header.set(JsHeaders.RollupHdr, JsHeaders.RollupValueSubject);
    const subject = metaSubject(bucket, PROBE_OBJECT);
    for (let attempt = 1; ; attempt += 1) {
      try {
        await this.#js.publish(subject, new Uint8Array(0), { headers: header, timeout: PROBE_LIMIT_MS });
        return true;
      } catch (error) {
        if (!(await this.#refusesToStore(error))) throw objectError(error);
        if (attempt === MAX_PROBES) return false;
      }
    }
  }

  #jsm(): Promise<JetStreamManager> {
    this.#manager ??= this.#nc.jetstreamManager({ timeout: 10_000 }).catch((error: unknown) => {
      this.#manager = undefined;
      throw objectError(error);
    });
    return this.#manager;
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

/** Returns the likely reason why the server did not store something, for the user. */
function storageFailureReason(error: unknown): string {
  if (isNoResponders(error)) return 'its bucket does not exist';
  return isTimeout(error) ? 'the disk of nats-server may be full' : errorMessage(error);
}

type ChunkSender = (subject: string, data: Uint8Array, id: string, header: MsgHdrs) => Promise<void>;

/** Writes one object, chunk by chunk. */
class ObjectWriter {
  readonly #bucket: string;
  readonly #object: string;
  readonly #send: ChunkSender;
  readonly #hash: Hash | undefined;
  readonly #sha256: string | undefined;
  readonly #offset: number;
  #size = 0;
  #chunks = 0;

  constructor(bucket: string, object: string, offset: number, send: ChunkSender, sha256?: string) {
    this.#bucket = bucket;
    this.#object = object;
    this.#offset = offset;
    this.#send = send;
    this.#sha256 = sha256;
    this.#hash = sha256 === undefined ? createHash('sha256') : undefined;
  }

  /** Sends the next chunk; resolves when it is stored. */
  write(data: Uint8Array): Promise<void> {
    const header = headers();
    header.set(OFFSET_HEADER, String(this.#offset + this.#size));
    this.#hash?.update(data);
    this.#size += data.length;
    const id = `${this.#object}:${String(this.#chunks++)}`;
    return this.#send(`$O.${this.#bucket}.C.${this.#object}`, data, id, header);
  }

  /** Sends the metadata, after the last chunk; `stored` resolves when it is stored. */
  end(): { readonly size: number; readonly sha256: string; readonly stored: Promise<void> } {
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
    const body = new TextEncoder().encode(JSON.stringify(info));
    const subject = metaSubject(this.#bucket, this.#object);
    const stored = this.#send(subject, body, `${this.#object}:info`, headers());
    return { size: this.#size, sha256: sha256.toString('hex'), stored };
  }
}

export const DAY_MS = 24 * HOUR_MS;

const streamName = (bucket: string): string => `OBJ_${bucket}`;
const metaSubject = (bucket: string, object: string): string =>
  `$O.${bucket}.M.${Buffer.from(object).toString('base64url')}`;

/** Returns the object's name from the subject of one of its chunks or of its metadata. */
function objectNameOf(bucket: string, subject: string): string {
  const [kind = '', ...name] = subject.slice(`$O.${bucket}.`.length).split('.');
  return kind === 'M' ? Buffer.from(name.join('.'), 'base64url').toString() : name.join('.');
}

/** Whether there is no such stream, consumer or message. */
const isNotFound = (error: unknown): boolean =>
  error instanceof NatsError && (error.api_error?.code === 404 || /not found/i.test(error.message));

function isConsumerLost(error: unknown): boolean {
  return (
    error instanceof NatsError && /consumer (not found|deleted)|no responders|heartbeat/i.test(error.message)
  );
}

/**
 * Returns the PiwError for an error of a transfer. All but storage errors have the same code, because the remedy is the
 * same: send, or read, again.
 */
function objectError(error: unknown): PiwError {
  if (error instanceof PiwError) return error;
  if (isStorageError(error)) return storageError(errorMessage(error), error);
  const { message } = busError(error, 'the transfer through NATS');
  return new PiwError('PIW_OBJECT_BROKEN', message, { cause: error });
}

function storageError(reason: string, cause?: unknown): PiwError {
  return new PiwError('PIW_NATS_STORAGE', `NATS does not store what is sent to it: ${reason}`, { cause });
}

/** JetStream's codes for "insufficient storage", "insufficient memory" and "error creating store for stream". */
const STORAGE_ERROR_CODES: ReadonlySet<number | undefined> = new Set([10023, 10028, 10047, 10049]);

/** Whether the server reports that it has no space, by one of these codes or in the operating system's own words. */
const isStorageError = (error: unknown): boolean =>
  STORAGE_ERROR_CODES.has(jetStreamCode(error)) ||
  (error instanceof NatsError && /no space left/i.test(error.message));
