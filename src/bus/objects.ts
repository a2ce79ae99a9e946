import { createHash } from 'node:crypto';
import {
  AckPolicy,
  DeliverPolicy,
  DiscardPolicy,
  JsHeaders,
  NatsError,
  StorageType,
  headers,
  nanos,
  type JetStreamClient,
  type JetStreamManager,
  type NatsConnection,
} from 'nats';
import { PiwError, reason } from '../errors.js';

/** Bytes of one chunk: the fastest of what was measured, well under the default max_payload. */
export const CHUNK_SIZE = 512 * 1024;
/** Chunks that may be under way at once; 8 MB with CHUNK_SIZE. */
export const WINDOW = 16;
/** Chunks that the server may send before they are asked for; 2 MB. */
const READ_AHEAD = 4;
const OFFSET = 'Piw-Offset';
const HOUR_MS = 3_600_000;

export interface Bucket {
  readonly name: string;
  /** How long an object stays that nobody removed. */
  readonly maxAgeMs: number;
  /** What it may hold in all, bytes. */
  readonly maxBytes: number;
}

export interface Chunk {
  /** Where in the file these bytes belong. */
  readonly offset: number;
  readonly data: Uint8Array;
}

/**
 * Objects in JetStream, on the subjects and with the metadata of NATS' own object store, so that any
 * of its tools can list and read them, but written and read in a window of chunks with Node's own
 * SHA-256: the client library's `put` hashes in JavaScript and holds the whole file in memory.
 *
 * Each chunk bears its offset and a Nats-Msg-Id, so one that is sent twice is stored once.
 */
export class Objects {
  readonly #js: JetStreamClient;
  readonly #nc: NatsConnection;
  #manager: Promise<JetStreamManager> | undefined;

  constructor(nc: NatsConnection) {
    this.#nc = nc;
    this.#js = nc.jetstream();
  }

  /** Makes the bucket if it is missing. Needs the rights of a master. */
  async ensure(bucket: Bucket): Promise<void> {
    const jsm = await this.#jsm();
    const config = {
      name: stream(bucket.name),
      subjects: [`$O.${bucket.name}.C.>`, `$O.${bucket.name}.M.>`],
      storage: StorageType.File,
      discard: DiscardPolicy.New,
      allow_rollup_hdrs: true,
      allow_direct: true,
      max_age: nanos(bucket.maxAgeMs),
      max_bytes: bucket.maxBytes,
      duplicate_window: nanos(Math.min(bucket.maxAgeMs, 120_000)),
    };
    try {
      await jsm.streams.info(config.name);
    } catch (error) {
      if (!(error instanceof NatsError) || error.api_error?.code !== 404) throw objectError(error);
      await jsm.streams.add(config).catch((e: unknown) => {
        throw objectError(e);
      });
    }
  }

  /**
   * Makes a bucket large enough for so many bytes more than it has now, and `spare` beyond them; or, where nothing
   * is to come and little is in it, `spare` large again. Needs the rights of a master.
   */
  async makeRoom(bucket: string, bytes: number, spare: number): Promise<void> {
    const jsm = await this.#jsm();
    try {
      const { config, state } = await jsm.streams.info(stream(bucket));
      const needed = state.bytes + bytes + spare;
      const idle = bytes === 0 && state.bytes < spare / 2;
      const size = idle ? spare : Math.max(needed, config.max_bytes);
      if (size !== config.max_bytes) await jsm.streams.update(config.name, { max_bytes: size });
    } catch (error) {
      throw objectError(error);
    }
  }

  /**
   * Writes the bytes of `source` as chunks of `object`, the first of them at `offset` of the file,
   * no more than WINDOW unacknowledged, and then the object's metadata. A chunk that isn't
   * acknowledged is sent again; PIW_OBJECT_BROKEN when it still isn't after `patienceMs`.
   */
  async write(
    bucket: string,
    object: string,
    source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
    options: {
      offset?: number;
      patienceMs?: number;
      signal?: AbortSignal;
      onSent?: (bytes: number) => void;
    } = {},
  ): Promise<{ size: number; sha256: string }> {
    const hash = createHash('sha256');
    const window = new Set<Promise<void>>();
    let failure: unknown;
    let size = 0;
    let chunks = 0;
    for await (const piece of source) {
      for (let at = 0; at < piece.length; at += CHUNK_SIZE) {
        const data = piece.subarray(at, at + CHUNK_SIZE);
        if (window.size >= WINDOW) await Promise.race(window);
        options.signal?.throwIfAborted();
        if (failure) throw objectError(failure);
        hash.update(data);
        const header = headers();
        header.set(OFFSET, String((options.offset ?? 0) + size));
        const sending = this.#send(
          `$O.${bucket}.C.${object}`,
          data,
          `${object}:${String(chunks)}`,
          header,
          options,
        )
          .then(() => options.onSent?.(data.length))
          .catch((error: unknown) => (failure = error))
          .finally(() => window.delete(sending)) as Promise<void>;
        window.add(sending);
        size += data.length;
        chunks += 1;
      }
    }
    await Promise.all(window);
    if (failure) throw objectError(failure);
    const sha256 = hash.digest();
    await this.#putInfo(bucket, object, size, chunks, sha256, options);
    return { size, sha256: sha256.toString('hex') };
  }

  /**
   * The chunks stored under `object` (it may end in `.*`), from the first, and then those that still
   * arrive, until the reader stops. `idleMs` without any ends it too. Chunks whose offset makes no
   * sense are dropped. Memory stays under about 16 MB.
   */
  async *chunks(
    bucket: string,
    object: string,
    options: { idleMs: number; signal?: AbortSignal },
  ): AsyncIterable<Chunk> {
    const jsm = await this.#jsm();
    const name = stream(bucket);
    const filter = `$O.${bucket}.C.${object}`;
    let from = 1;
    for (;;) {
      // A consumer that the server forgot (it was restarted) is made anew, behind what was read.
      const consumer = await jsm.consumers
        .add(name, {
          ack_policy: AckPolicy.None,
          mem_storage: true,
          num_replicas: 1,
          filter_subject: filter,
          deliver_policy: DeliverPolicy.StartSequence,
          opt_start_seq: from,
          inactive_threshold: nanos(60_000),
        })
        .catch((error: unknown) => {
          throw objectError(error);
        });
      const reader = await this.#js.consumers.get(name, consumer.name);
      const messages = await reader.consume({
        max_messages: READ_AHEAD,
        expires: 5000,
        idle_heartbeat: 1000,
      });
      const stop = () => {
        messages.stop();
      };
      options.signal?.addEventListener('abort', stop, { once: true });
      let idle = setTimeout(stop, options.idleMs);
      try {
        for await (const message of messages) {
          clearTimeout(idle);
          from = message.seq + 1;
          const offset = Number(message.headers?.get(OFFSET));
          if (Number.isSafeInteger(offset) && offset >= 0) yield { offset, data: message.data };
          idle = setTimeout(stop, options.idleMs);
        }
        return;
      } catch (error) {
        if (options.signal?.aborted) return;
        if (!lostConsumer(error)) throw objectError(error);
      } finally {
        clearTimeout(idle);
        options.signal?.removeEventListener('abort', stop);
        stop();
        // It would be forgotten by itself a minute later.
        void jsm.consumers.delete(name, consumer.name).catch(() => undefined);
      }
    }
  }

  /** How many chunks are stored under `object`. */
  async count(bucket: string, object: string): Promise<number> {
    const jsm = await this.#jsm();
    const filter = `$O.${bucket}.C.${object}`;
    try {
      const info = await jsm.streams.info(stream(bucket), { subjects_filter: filter });
      return Object.values(info.state.subjects ?? {}).reduce((sum, n) => sum + n, 0);
    } catch (error) {
      throw objectError(error);
    }
  }

  /** The whole of a small object. Raises PIW_OBJECT_BROKEN if it isn't as announced. */
  async readAll(bucket: string, object: string, size: number, sha256: string): Promise<Uint8Array> {
    // Memory only for what is there: the size is what somebody says.
    const pieces: Chunk[] = [];
    let got = 0;
    for await (const { offset, data } of this.chunks(bucket, object, { idleMs: 10_000 })) {
      if (offset + data.length > size || data.length === 0) break;
      pieces.push({ offset, data });
      got += data.length;
      if (got >= size) break;
    }
    // One that was sent again may stand behind a later one.
    const whole = Buffer.concat(pieces.sort((a, b) => a.offset - b.offset).map(({ data }) => data));
    if (got !== size || createHash('sha256').update(whole).digest('hex') !== sha256) {
      throw new PiwError('PIW_OBJECT_BROKEN', `${object} in ${bucket} is not what was announced`);
    }
    return whole;
  }

  /** Removes an object's chunks (its name may end in `.*`) and, for a plain name, its metadata. */
  async remove(bucket: string, object: string): Promise<void> {
    const jsm = await this.#jsm();
    try {
      await jsm.streams.purge(stream(bucket), { filter: `$O.${bucket}.C.${object}` });
      await jsm.streams.purge(stream(bucket), { filter: metaSubject(bucket, object) });
    } catch (error) {
      if (!(error instanceof NatsError && error.api_error?.code === 404)) throw objectError(error);
    }
  }

  async #send(
    subject: string,
    data: Uint8Array,
    msgID: string,
    header: ReturnType<typeof headers>,
    options: { patienceMs?: number; signal?: AbortSignal },
  ): Promise<void> {
    const deadline = Date.now() + (options.patienceMs ?? 30_000);
    for (;;) {
      try {
        await this.#js.publish(subject, data, { msgID, headers: header, timeout: 5000 });
        return;
      } catch (error) {
        const final =
          error instanceof NatsError && error.api_error !== undefined && error.api_error.code !== 503;
        if (final || options.signal?.aborted || this.#nc.isClosed() || Date.now() > deadline) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  }

  async #putInfo(
    bucket: string,
    object: string,
    size: number,
    chunks: number,
    sha256: Buffer,
    options: { patienceMs?: number; signal?: AbortSignal },
  ): Promise<void> {
    const info = {
      name: object,
      nuid: object,
      bucket,
      size,
      chunks,
      digest: `SHA-256=${sha256.toString('base64url')}=`,
      mtime: new Date().toISOString(),
      options: { max_chunk_size: CHUNK_SIZE },
    };
    const header = headers();
    header.set(JsHeaders.RollupHdr, JsHeaders.RollupValueSubject);
    const body = new TextEncoder().encode(JSON.stringify(info));
    await this.#send(metaSubject(bucket, object), body, `${object}:info`, header, options).catch(
      (error: unknown) => {
        throw objectError(error);
      },
    );
  }

  #jsm(): Promise<JetStreamManager> {
    this.#manager ??= this.#nc.jetstreamManager({ timeout: 10_000 }).catch((error: unknown) => {
      this.#manager = undefined;
      throw objectError(error);
    });
    return this.#manager;
  }
}

export const DAY_MS = 24 * HOUR_MS;

const stream = (bucket: string): string => `OBJ_${bucket}`;
const metaSubject = (bucket: string, object: string): string =>
  `$O.${bucket}.M.${Buffer.from(object).toString('base64url')}`;

function lostConsumer(error: unknown): boolean {
  return (
    error instanceof NatsError && /consumer (not found|deleted)|no responders|heartbeat/i.test(error.message)
  );
}

function objectError(error: unknown): PiwError {
  if (error instanceof PiwError) return error;
  return new PiwError('PIW_OBJECT_BROKEN', `the transfer through NATS failed: ${reason(error)}`, {
    cause: error,
  });
}
