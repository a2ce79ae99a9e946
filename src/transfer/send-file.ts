import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import type { Bus } from '../bus/bus.js';
import { BufferPool } from '../bus/buffer-pool.js';
import { CHUNK_SIZE } from '../bus/objects.js';
import { PiwError, isDiskError, errorMessage } from '../errors.js';
import {
  SEGMENT_BYTES,
  SEND_WINDOW,
  userBucketName,
  transferObjectName,
  transfer,
} from '../protocols/file-juggler.js';
import type { Answer } from '../protocols/protocol.js';
import { ProtocolClient } from '../actor/client.js';
import type { Clock } from '../concurrency/clock.js';

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
  /** Yields the bytes of a range of the file, in chunks of at most CHUNK_SIZE. */
  readonly read: (offset: number, length: number) => Iterable<Uint8Array>;
  /** Hashes the file while sending it, because the last transfer did not yield the announced bytes. */
  readonly verifyDigest?: boolean;
  readonly signal?: AbortSignal;
  /** Called each time `bytes` more have been sent. */
  readonly onSent?: (bytes: number) => void;
  /** Called with an error after which the transfer is retried. */
  readonly onTrouble?: (error: PiwError) => void;
}

type JugglerClient = ProtocolClient<typeof transfer.verbs>;
type ChunkAnswer = Answer<typeof transfer.verbs, 'CHUNK'>;

/** Returns the pause before a retry, milliseconds: 0.1 s, doubled up to 5 s. */
const backOffMs = (attempts: number): number => Math.min(100 * 2 ** attempts, 5000);
/** How many breaks in a row, without progress between them, are retried: for more than two minutes. */
const MAX_BREAKS = 30;
/**
 * The pause between two attempts while the receiver's disk is full or fails, and for how long they go on, milliseconds.
 * The sender can do nothing about it, so these attempts don't count as breaks.
 */
const DISK_RETRY = { pauseMs: 3000, patienceMs: 3_600_000 };
/** The time limits of one HELLO and of one CHUNK, milliseconds, and the maximum number of attempts for a CHUNK. */
const HELLO_TIMEOUT_MS = 3000;
const CHUNK_TIMEOUT_MS = 2000;
const MAX_CHUNK_REQUESTS = 10;
/** How long the File Juggler may take to recreate a bucket, milliseconds. */
const REPAIR_TIMEOUT_MS = 20_000;
/** Errors that a retry would not change. */
const PERMANENT_CODES: ReadonlySet<string> = new Set(['PIW_UNKNOWN_TRANSFER', 'PIW_FILE_CHANGED']);

/**
 * Sends the ranges of a file that the File Juggler requests, until it has all of it: the sender's side of the
 * conversation in protocols/file-juggler.ts, for slaves and importers.
 *
 *     HELLO --FETCH--> write the range's chunks, CHUNK after each segment --> FETCH: the next range | DONE
 *     any break: drop the range, wait 0.1 s, doubled after each further break, HELLO again
 *     the receiver's disk is full or fails: the same, but every 3 s, for an hour
 *
 * Throws PIW_UNKNOWN_TRANSFER if the receiver no longer expects the file, PIW_FILE_CHANGED if the file is not what
 * was announced, and the error of the last break after MAX_BREAKS in a row without progress.
 */
export async function sendFile(options: SendFileOptions): Promise<void> {
  const { bus, clock, user, session, signal } = options;
  const juggler = new ProtocolClient(bus, transfer, ['slave', user, session, transfer.name]);
  let breaks = 0;
  let diskMs = 0;
  let reportedMessage: string | undefined;
  let answer: ChunkAnswer | undefined;
  let window = SEND_WINDOW.nearBytes;
  for (;;) {
    try {
      if (answer === undefined) {
        const hello = juggler.request(
          'HELLO',
          { transfer_id: options.transferId },
          { timeoutMs: HELLO_TIMEOUT_MS, patienceMs: 90_000, ...(signal ? { signal } : {}) },
        );
        // A connection with a long round-trip time needs a larger window: throughput is one window per round trip.
        const rtt = options.file.filesize > SEND_WINDOW.nearBytes ? bus.rtt().catch(() => 0) : 0;
        answer = await hello;
        window = (await rtt) > SEND_WINDOW.maxNearRttMs ? SEND_WINDOW.farBytes : SEND_WINDOW.nearBytes;
      }
      if (answer.verb === 'DONE') return;
      const range: { offset: number; length: number } = answer;
      answer = await new RangeSender(options, juggler, range, window).send(() => {
        breaks = 0;
        diskMs = 0;
        reportedMessage = undefined;
      });
    } catch (error) {
      if (signal?.aborted || !(error instanceof PiwError) || PERMANENT_CODES.has(error.code)) throw error;
      answer = undefined;
      const isDiskFailure: boolean = isDiskError(error);
      if (isDiskFailure) {
        if (diskMs >= DISK_RETRY.patienceMs) throw error;
        if (reportedMessage !== error.message) options.onTrouble?.(error);
        reportedMessage = error.message;
        await pause(clock, DISK_RETRY.pauseMs, signal);
        diskMs += DISK_RETRY.pauseMs;
        continue;
      }
      if (breaks >= MAX_BREAKS) throw error;
      options.onTrouble?.(error);
      if (error.code === 'PIW_NATS_STORAGE') await reportNotStored(options);
      await pause(clock, backOffMs(breaks), signal);
      breaks += 1;
    }
  }
}

/**
 * Tells the File Juggler that NATS doesn't store what this sender writes; resolves when that is repaired or has
 * failed.
 */
export async function reportNotStored({
  bus,
  user,
  session,
  onTrouble,
}: Pick<SendFileOptions, 'bus' | 'user' | 'session' | 'onTrouble'>): Promise<void> {
  const juggler = new ProtocolClient(bus, transfer, ['slave', user, session, transfer.name]);
  try {
    await juggler.request('UNSTORED', {}, { timeoutMs: REPAIR_TIMEOUT_MS, once: true });
  } catch (error) {
    if (!(error instanceof PiwError)) throw error;
    onTrouble?.(error);
  }
}

/** Sends one range. The first failure cancels the rest of it. */
class RangeSender {
  readonly #options: SendFileOptions;
  readonly #juggler: JugglerClient;
  readonly #offset: number;
  readonly #length: number;
  readonly #abortController = new AbortController();
  readonly #segments = new Set<Promise<void>>();
  /** Bytes that were sent and whose segment has not been acknowledged. */
  #unacknowledgedBytes = 0;
  readonly #window: number;
  /** NATS does not store the chunks; the receiver gets them only while they pass. */
  #isStorageBroken = false;
  #failure: Error | undefined;
  #lastAnswer: ChunkAnswer = { verb: 'DONE' };

  /** `window`: how many bytes may be unacknowledged. */
  constructor(
    options: SendFileOptions,
    juggler: JugglerClient,
    { offset, length }: { offset: number; length: number },
    window: number,
  ) {
    this.#options = options;
    this.#juggler = juggler;
    this.#offset = offset;
    this.#length = length;
    this.#window = window;
  }

  /** Sends the range and returns the answer to its last segment; calls `onAcknowledged` after each segment. */
  async send(onAcknowledged: () => void): Promise<ChunkAnswer> {
    const { bus, user, transferId, file, read, verifyDigest, signal, onSent } = this.#options;
    const anySignal = signal
      ? AbortSignal.any([signal, this.#abortController.signal])
      : this.#abortController.signal;
    const object = transferObjectName(transferId, file.filesize, () => randomBytes(6).toString('hex'));
    const isWholeFile = this.#offset === 0 && this.#length === file.filesize;
    const writer = bus.objects.writer(userBucketName(bus.prefix, user), object, this.#offset, {
      sha256: isWholeFile && !verifyDigest ? file.filehash : undefined,
      signal: anySignal,
    });
    const end = this.#offset + this.#length;
    let position = this.#offset;
    let segmentStart = position;
    let chunkWrites: Promise<void>[] = [];
    try {
      for (const data of read(this.#offset, this.#length)) {
        // Lets the event loop send each chunk before the next one is read.
        await yieldToEventLoop();
        while (this.#unacknowledgedBytes >= this.#window && this.#failure === undefined)
          await Promise.race(this.#segments);
        signal?.throwIfAborted();
        if (this.#failure !== undefined) break;
        // Only a stored chunk's buffer can be reused: until then the client may still be sending it.
        const storing = writer.write(data).then(() => {
          chunkBuffers.release(data);
        });
        // The segment awaits this write; if the range ends earlier, nobody does.
        storing.catch(() => undefined);
        chunkWrites.push(storing);
        position += data.length;
        this.#unacknowledgedBytes += data.length;
        onSent?.(data.length);
        if (position - segmentStart < SEGMENT_BYTES && position < end) continue;
        if (position === end) chunkWrites.push(this.#writeMetadata(writer));
        this.#sendSegment(segmentStart, position - segmentStart, chunkWrites, onAcknowledged);
        segmentStart = position;
        chunkWrites = [];
      }
      // These chunks belong to no segment: the file ended early.
      await Promise.allSettled(chunkWrites);
      if (this.#failure === undefined && position !== end) throw this.#fileChangedError();
      while (this.#segments.size > 0 && this.#failure === undefined) await Promise.race(this.#segments);
      if (this.#failure !== undefined) throw this.#failure;
      return this.#lastAnswer;
    } finally {
      this.#abortController.abort();
    }
  }

  /** Requests the acknowledgement of a segment (CHUNK) after all of its chunks have been sent. */
  #sendSegment(
    offset: number,
    length: number,
    chunkWrites: readonly Promise<void>[],
    onAcknowledged: () => void,
  ): void {
    const awaitAcknowledgement = async (): Promise<void> => {
      // NATS need not store a segment that the File Juggler has acknowledged. But while NATS stores, a segment stays
      // in the window until it is stored, so that no more than one window waits for that.
      const storing = Promise.all(chunkWrites).then(() => undefined, storageError);
      storing.catch(() => undefined);
      const awaitedStorage = this.#isStorageBroken ? undefined : storing;
      const [answer, storageFailure] = await Promise.all([
        this.#requestChunk(offset, length),
        awaitedStorage,
      ]);
      if (storageFailure && !this.#isStorageBroken) {
        this.#isStorageBroken = true;
        this.#options.onTrouble?.(storageFailure);
        void reportNotStored(this.#options);
      }
      if (answer.verb === 'FETCH' && answer.offset < offset + length) {
        throw new PiwError(
          'PIW_OBJECT_BROKEN',
          `the bytes from offset ${String(answer.offset)} on were lost`,
        );
      }
      if (offset + length === this.#offset + this.#length) this.#lastAnswer = answer;
      onAcknowledged();
    };
    const segment = awaitAcknowledgement()
      .catch((error: unknown) => {
        this.#failure ??= error instanceof Error ? error : new Error(errorMessage(error));
      })
      .finally(() => {
        this.#unacknowledgedBytes -= length;
        this.#segments.delete(segment);
      });
    this.#segments.add(segment);
  }

  /** Sends CHUNK and returns its answer. Retries while the File Juggler is slow; throws if it is gone. */
  async #requestChunk(offset: number, length: number): Promise<ChunkAnswer> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#juggler.request(
          'CHUNK',
          { offset, length },
          { timeoutMs: CHUNK_TIMEOUT_MS, once: true },
        );
      } catch (error) {
        const slow = error instanceof PiwError && error.code === 'PIW_TIMEOUT';
        if (!slow || attempt >= MAX_CHUNK_REQUESTS || this.#abortController.signal.aborted) throw error;
      }
    }
  }

  /**
   * Writes the metadata, after the last chunk. Throws PIW_FILE_CHANGED if a whole file's digest is not the announced
   * one.
   */
  #writeMetadata(writer: ReturnType<Bus['objects']['writer']>): Promise<void> {
    const { size, sha256, stored } = writer.end();
    const { filesize, filehash } = this.#options.file;
    if (size === filesize && sha256 !== filehash) {
      stored.catch(() => undefined);
      throw this.#fileChangedError();
    }
    return stored;
  }

  #fileChangedError(): PiwError {
    return new PiwError(
      'PIW_FILE_CHANGED',
      `${this.#options.file.filename} has changed since it was announced`,
    );
  }
}

/** Returns the error if it is PIW_NATS_STORAGE; throws any other. */
function storageError(error: unknown): PiwError {
  if (error instanceof PiwError && error.code === 'PIW_NATS_STORAGE') return error;
  throw error;
}

const yieldToEventLoop = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function pause(clock: Clock, ms: number, signal: AbortSignal | undefined): Promise<void> {
  if (signal?.aborted) return;
  await new Promise<void>((resolve) => {
    const finish = () => {
      cancel();
      signal?.removeEventListener('abort', finish);
      resolve();
    };
    const cancel = clock.after(ms, finish);
    signal?.addEventListener('abort', finish);
  });
}

/** Keeps as many buffers as the largest window of one file has chunks. */
const chunkBuffers = new BufferPool(SEND_WINDOW.farBytes / CHUNK_SIZE);

/**
 * Returns a `read` function for a file on this machine. A buffer is reused once its chunk is stored, so that few are
 * needed. Reading throws PIW_FILE_CHANGED if the file can't be opened.
 */
export function fileReader(path: string): SendFileOptions['read'] {
  return function* (offset, length) {
    const fd = openForReading(path);
    try {
      for (let position = offset; position < offset + length;) {
        const buffer = Buffer.from(chunkBuffers.acquire(CHUNK_SIZE));
        const bytesRead = readSync(fd, buffer, 0, Math.min(CHUNK_SIZE, offset + length - position), position);
        // The file is shorter than it was, which the caller notices by counting the bytes.
        if (bytesRead === 0) return;
        yield buffer.subarray(0, bytesRead);
        position += bytesRead;
      }
    } finally {
      closeSync(fd);
    }
  };
}

function openForReading(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (error) {
    const text = `${path} can no longer be read: ${errorMessage(error)}`;
    throw new PiwError('PIW_FILE_CHANGED', text, { cause: error });
  }
}
