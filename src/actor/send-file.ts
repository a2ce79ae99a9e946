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
import { ProtocolClient } from './client.js';
import type { Clock } from './clock.js';

export interface SendFileOptions {
  readonly bus: Bus;
  readonly clock: Clock;
  /** The NATS user and the session that the sender speaks as. */
  readonly user: string;
  readonly session: string;
  /** As SEND named it. */
  readonly transferId: string;
  /** As the file was announced. */
  readonly file: { readonly filename: string; readonly filesize: number; readonly filehash: string };
  /** The file's bytes of a range, in pieces of CHUNK_SIZE at most. */
  readonly read: (offset: number, length: number) => Iterable<Uint8Array>;
  /** What came of it the last time was not what was announced: see whether the file still is. */
  readonly verifyDigest?: boolean;
  readonly signal?: AbortSignal;
  /** Another `bytes` have been sent. */
  readonly onSent?: (bytes: number) => void;
  /** Something broke; it is tried again. */
  readonly onTrouble?: (error: PiwError) => void;
}

type JugglerClient = ProtocolClient<typeof transfer.verbs>;
type ChunkAnswer = Answer<typeof transfer.verbs, 'CHUNK'>;

/** How long to wait before what failed is tried again: 0.1 s, doubled up to 5 s. */
const backOffMs = (tries: number): number => Math.min(100 * 2 ** tries, 5000);
/** Breaks in a row, without a byte between them, that end it: two minutes and more. */
const MAX_BREAKS = 30;
/**
 * How long to wait between two attempts while the receiver's disk is full or fails, and for how long in all,
 * milliseconds. The sender can do nothing about it, so these attempts are no breaks.
 */
const DISK_RETRY = { pauseMs: 3000, patienceMs: 3_600_000 };
/** How long one HELLO and one CHUNK wait for their answers, milliseconds, and how often CHUNK is said. */
const HELLO_TIMEOUT_MS = 3000;
const CHUNK_TIMEOUT_MS = 2000;
const MAX_CHUNK_REQUESTS = 10;
/** How long the File Juggler may take to make a bucket anew, milliseconds. */
const REPAIR_TIMEOUT_MS = 20_000;
/** Errors that the same again would only bring about again. */
const PERMANENT_CODES: ReadonlySet<string> = new Set(['PIW_UNKNOWN_TRANSFER', 'PIW_FILE_CHANGED']);

/**
 * Sends what the File Juggler asks for of one file, until it has all of it: the sender's side of the
 * conversation in protocols/file-juggler.ts, for slaves and importers.
 *
 *     HELLO --FETCH--> write the range's chunks, CHUNK for each piece --> FETCH: the next range | DONE
 *     any break: give up what is under way, wait 0.1 s, twice as long at each further one, HELLO again
 *     the receiver's disk is full or fails: the same, but every 3 s, for an hour
 *
 * Raises PIW_UNKNOWN_TRANSFER when nobody expects it any more; PIW_FILE_CHANGED when the file is not what was
 * announced; and what the last break was of, after MAX_BREAKS in a row that brought nothing.
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
        // A long line holds more: what is under way is a window for each round trip.
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
 * Tells the File Juggler that NATS doesn't store what this sender writes; resolves when it does again, or when it was
 * of no use.
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

/** One range on its way. What fails of it first gives up the rest. */
class RangeSender {
  readonly #options: SendFileOptions;
  readonly #juggler: JugglerClient;
  readonly #offset: number;
  readonly #length: number;
  readonly #abortController = new AbortController();
  readonly #segments = new Set<Promise<void>>();
  /** Bytes that were sent, of pieces that have not been answered. */
  #unacknowledgedBytes = 0;
  readonly #window: number;
  /** NATS stores nothing of it: it only passes by. */
  #isStorageBroken = false;
  #failure: Error | undefined;
  #lastAnswer: ChunkAnswer = { verb: 'DONE' };

  /** `window`: bytes that may be under way. */
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

  /** The answer to the last piece; `onArrived` is called when a piece has arrived. */
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
        // The loop is left after each, so that it leaves for the server before the next is read.
        await yieldToEventLoop();
        while (this.#unacknowledgedBytes >= this.#window && this.#failure === undefined)
          await Promise.race(this.#segments);
        signal?.throwIfAborted();
        if (this.#failure !== undefined) break;
        // What isn't known to be stored may still be under way.
        const storing = writer.write(data).then(() => {
          chunkBuffers.release(data);
        });
        // It is waited for with its piece; when this range ends before that, by nobody.
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
      // What belongs to no piece is of a file that ended early.
      await Promise.allSettled(chunkWrites);
      if (this.#failure === undefined && position !== end) throw this.#fileChangedError();
      while (this.#segments.size > 0 && this.#failure === undefined) await Promise.race(this.#segments);
      if (this.#failure !== undefined) throw this.#failure;
      return this.#lastAnswer;
    } finally {
      this.#abortController.abort();
    }
  }

  /** Says CHUNK for a piece of which everything has been sent. */
  #sendSegment(
    offset: number,
    length: number,
    chunkWrites: readonly Promise<void>[],
    onAcknowledged: () => void,
  ): void {
    const awaitAcknowledgement = async (): Promise<void> => {
      // What is written need not be stored as well; but no more is under way than NATS can store, if it stores anything.
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
        throw new PiwError('PIW_OBJECT_BROKEN', `bytes from ${String(answer.offset)} on got lost`);
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

  /** A juggler that takes its time is asked again, and waited for; one that is gone is a break. */
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

  /** Behind the last chunk. The digest of a whole file must be what was announced. */
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
      `${this.#options.file.filename} is not what was announced any more`,
    );
  }
}

/** The error, if it says that NATS doesn't store; throws any other. */
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

/** As many are kept as are under way of one file on a long line. */
const chunkBuffers = new BufferPool(SEND_WINDOW.farBytes / CHUNK_SIZE);

/**
 * How `read` reads a file on this machine. The buffers are used again when what was in them is stored, so that
 * they are few. Raises PIW_FILE_CHANGED where the file is gone.
 */
export function fileReader(path: string): SendFileOptions['read'] {
  return function* (offset, length) {
    const fd = openForReading(path);
    try {
      for (let at = offset; at < offset + length;) {
        const buffer = Buffer.from(chunkBuffers.acquire(CHUNK_SIZE));
        const read = readSync(fd, buffer, 0, Math.min(CHUNK_SIZE, offset + length - at), at);
        // It is shorter than it was: whoever counts the bytes sees that.
        if (read === 0) return;
        yield buffer.subarray(0, read);
        at += read;
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
    const text = `${path} can't be read any more: ${errorMessage(error)}`;
    throw new PiwError('PIW_FILE_CHANGED', text, { cause: error });
  }
}
