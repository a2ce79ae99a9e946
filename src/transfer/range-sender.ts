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

/** Sends one range. The first failure cancels the rest of it. */
export class RangeSender {
  readonly #options: SendFileOptions;
  readonly #juggler: JugglerClient;
  readonly #range: ByteRange;
  readonly #segments = new Set<Promise<void>>();
  /** Bytes that were sent and whose segment has not been acknowledged. */
  #unacknowledgedBytes = 0;
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
        // Lets the event loop send each chunk before the next one is read.
        await yieldToEventLoop();
        while (this.#unacknowledgedBytes >= SEND_WINDOW_BYTES && this.#failure === undefined)
          await Promise.race(this.#segments);
        signal?.throwIfAborted();
        if (this.#failure !== undefined) break;
        publisher.write(data);
        chunks.push(data);
        position += data.length;
        this.#unacknowledgedBytes += data.length;
        onSent?.(data.length);
        if (position - segmentStart < SEGMENT_BYTES && position < end) continue;
        if (position === end) this.#sendMetadata(publisher);
        this.#sendSegment({ start: segmentStart, end: position }, chunks, onAcknowledged);
        segmentStart = position;
        chunks = [];
      }
      if (this.#failure === undefined && position !== end) throw this.#fileChangedError();
      while (this.#segments.size > 0 && this.#failure === undefined) await Promise.race(this.#segments);
      if (this.#failure !== undefined) throw this.#failure;
      return this.#lastAnswer;
    } finally {
      this.#ended = true;
    }
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
      const answer = await this.#requestChunk(range);
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
