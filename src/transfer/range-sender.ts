import { randomBytes } from 'node:crypto';
import type { ProtocolClient } from '../actor/client.js';
import type { Bus } from '../bus/bus.js';
import type { Clock } from '../concurrency/clock.js';
import { PiwError, errorMessage } from '../errors.js';
import {
  SEGMENT_BYTES,
  SEND_WINDOW_BYTES,
  userBucketName,
  transferObjectName,
  type transfer,
} from '../protocols/file-juggler.js';
import type { Answer } from '../protocols/protocol.js';
import type { ByteRange } from './byte-ranges.js';
import { releaseChunk, type RangeReader } from './file-reader.js';

export interface SendFileOptions {
  readonly bus: Bus;
  readonly clock: Clock;
  /** The NATS user and the session that the sender speaks as. */
  readonly user: string;
  readonly session: string;
  /** The id from the SEND message. */
  readonly transferId: string;
  /** The file as it was announced. */
  readonly file: { readonly filename: string; readonly filesize: number; readonly filehash: string };
  readonly read: RangeReader;
  /** Hashes the file while sending it, because the last transfer did not yield the announced bytes. */
  readonly verifyDigest?: boolean;
  readonly signal?: AbortSignal;
  /** Called each time `bytes` more have been sent. */
  readonly onSent?: (bytes: number) => void;
  /** Called with an error after which the transfer is retried. */
  readonly onTrouble?: (error: PiwError) => void;
}

type JugglerClient = ProtocolClient<typeof transfer.verbs>;
export type ChunkAnswer = Answer<typeof transfer.verbs, 'CHUNK'>;

/** The time limit of one CHUNK, milliseconds, and the maximum number of attempts. */
const CHUNK_TIMEOUT_MS = 2000;
const MAX_CHUNK_REQUESTS = 10;

/**
 * The window at first, and the smallest one, bytes. On a slow link, what is unacknowledged waits in this machine, and
 * pongs, requests and acknowledgements wait behind it: a server of a cluster ends a connection whose pong takes 6 s. With
 * 10 MB, a link of 2 Mbit/s would be blocked for 40 s. So chunks and segments are smaller, too, if the window is.
 */
const [FIRST_WINDOW_BYTES, MIN_WINDOW_BYTES] = [512 * 1024, 256 * 1024];
/** The window is doubled if a segment is acknowledged sooner, and halved if later, milliseconds. */
const [FAST_MS, SLOW_MS] = [500, 1500];

/** Sends one range. The first failure cancels the rest of it. */
export class RangeSender {
  readonly #options: SendFileOptions;
  readonly #juggler: JugglerClient;
  readonly #range: ByteRange;
  readonly #segments = new Set<Promise<void>>();
  /** Bytes that were sent and whose segment has not been acknowledged. */
  #unacknowledgedBytes = 0;
  /** How many bytes may be unacknowledged. */
  #windowBytes = FIRST_WINDOW_BYTES;
  #failure: Error | undefined;
  #ended = false;
  #lastAnswer: ChunkAnswer = { verb: 'DONE' };

  constructor(options: SendFileOptions, juggler: JugglerClient, range: ByteRange) {
    this.#options = options;
    this.#juggler = juggler;
    this.#range = range;
  }

  /** Sends the range and returns the answer to its last segment; calls `onAcknowledged` after each segment. */
  async send(onAcknowledged: () => void): Promise<ChunkAnswer> {
    const { read, signal, onSent } = this.#options;
    const { start, end } = this.#range;
    const publisher = this.#createPublisher();
    let position = start;
    let segmentStart = start;
    let chunks: Uint8Array[] = [];
    try {
      for (const data of read(start, end - start)) {
        for (let offset = 0; offset < data.length && this.#failure === undefined;) {
          // Lets the event loop send each chunk before the next one is read.
          await yieldToEventLoop();
          await this.#waitForWindow();
          signal?.throwIfAborted();
          if (this.#hasFailed()) break;
          const chunk = data.subarray(offset, offset + this.#windowBytes / 2);
          publisher.write(chunk);
          offset += chunk.length;
          position += chunk.length;
          this.#unacknowledgedBytes += chunk.length;
          onSent?.(chunk.length);
          if (offset === data.length) chunks.push(data);
          const segmentBytes = Math.min(SEGMENT_BYTES, this.#windowBytes / 2);
          if (position - segmentStart < segmentBytes && position < end) continue;
          if (position === end) this.#sendMetadata(publisher);
          this.#sendSegment({ start: segmentStart, end: position }, chunks, onAcknowledged);
          segmentStart = position;
          chunks = [];
        }
        if (this.#failure !== undefined) break;
      }
      if (this.#failure === undefined && position !== end) throw this.#fileChangedError();
      while (this.#segments.size > 0 && this.#failure === undefined) await Promise.race(this.#segments);
      if (this.#failure !== undefined) throw this.#failure;
      return this.#lastAnswer;
    } finally {
      this.#ended = true;
    }
  }

  async #waitForWindow(): Promise<void> {
    while (this.#unacknowledgedBytes >= this.#windowBytes && this.#segments.size > 0 && !this.#hasFailed())
      await Promise.race(this.#segments);
  }

  /** A method, because the compiler would assume that a property has not changed. */
  #hasFailed(): boolean {
    return this.#failure !== undefined;
  }

  #adaptWindow(acknowledgedAfterMs: number): void {
    if (acknowledgedAfterMs < FAST_MS) this.#windowBytes = Math.min(this.#windowBytes * 2, SEND_WINDOW_BYTES);
    if (acknowledgedAfterMs > SLOW_MS) this.#windowBytes = Math.max(this.#windowBytes / 2, MIN_WINDOW_BYTES);
  }

  #createPublisher(): ReturnType<Bus['objects']['publisher']> {
    const { bus, user, transferId, file, verifyDigest } = this.#options;
    const { start, end } = this.#range;
    const object = transferObjectName(transferId, file.filesize, () => randomBytes(6).toString('hex'));
    const isWholeFile = start === 0 && end === file.filesize;
    const sha256 = isWholeFile && !verifyDigest ? file.filehash : undefined;
    return bus.objects.publisher(userBucketName(bus.prefix, user), object, start, sha256);
  }

  /** Requests the acknowledgement of a segment (CHUNK) after all of its chunks have been sent. */
  #sendSegment(range: ByteRange, chunks: readonly Uint8Array[], onAcknowledged: () => void): void {
    const awaitAcknowledgement = async (): Promise<void> => {
      const { clock } = this.#options;
      const sentAt = clock.monotonicMs();
      const answer = await this.#requestChunk(range);
      this.#adaptWindow(clock.monotonicMs() - sentAt);
      if (answer.verb === 'FETCH' && answer.offset < range.end) {
        throw new PiwError('PIW_OBJECT_BROKEN', `the bytes from offset ${answer.offset} on were lost`);
      }
      // CHUNK followed them on the same connection, so the client has sent them.
      for (const chunk of chunks) releaseChunk(chunk);
      if (range.end === this.#range.end) this.#lastAnswer = answer;
      onAcknowledged();
    };
    const segment = awaitAcknowledgement()
      .catch((error: unknown) => {
        this.#failure ??= error instanceof Error ? error : new Error(errorMessage(error));
      })
      .finally(() => {
        this.#unacknowledgedBytes -= range.end - range.start;
        this.#segments.delete(segment);
      });
    this.#segments.add(segment);
  }

  /** Sends CHUNK and returns its answer. Retries while the File Juggler is slow; throws if it is gone. */
  async #requestChunk({ start, end }: ByteRange): Promise<ChunkAnswer> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#juggler.request(
          'CHUNK',
          { offset: start, length: end - start },
          { timeoutMs: CHUNK_TIMEOUT_MS, once: true },
        );
      } catch (error) {
        const slow = error instanceof PiwError && error.code === 'PIW_TIMEOUT';
        if (!slow || attempt >= MAX_CHUNK_REQUESTS || this.#ended) throw error;
      }
    }
  }

  /**
   * Sends the metadata, after the last chunk. Throws PIW_FILE_CHANGED if a whole file's digest is not the announced
   * one.
   */
  #sendMetadata(publisher: ReturnType<Bus['objects']['publisher']>): void {
    const { size, sha256 } = publisher.end();
    const { filesize, filehash } = this.#options.file;
    if (size === filesize && sha256 !== filehash) throw this.#fileChangedError();
  }

  #fileChangedError(): PiwError {
    return new PiwError(
      'PIW_FILE_CHANGED',
      `${this.#options.file.filename} has changed since it was announced`,
    );
  }
}

const yieldToEventLoop = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
