import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import type { Bus } from '../bus/bus.js';
import { BufferPool } from '../bus/buffer-pool.js';
import { CHUNK_SIZE } from '../bus/objects.js';
import { PiwError, isDiskTrouble, reason } from '../errors.js';
import { PIECE, WINDOW, bucketOf, objectOf, transfer } from '../protocols/file-juggler.js';
import type { Answer } from '../protocols/protocol.js';
import { Client } from './client.js';
import type { Clock } from './clock.js';

export interface Sending {
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
  readonly doubtful?: boolean;
  readonly signal?: AbortSignal;
  /** Another `bytes` have been sent. */
  readonly onSent?: (bytes: number) => void;
  /** Something broke; it is tried again. */
  readonly onTrouble?: (error: PiwError) => void;
}

type Juggler = Client<typeof transfer.verbs>;
type Next = Answer<typeof transfer.verbs, 'CHUNK'>;

/** How long to wait before what failed is tried again: 0.1 s, doubled up to 5 s. */
const backOff = (tries: number): number => Math.min(100 * 2 ** tries, 5000);
/** Breaks in a row, without a byte between them, that end it: two minutes and more. */
const MAX_BREAKS = 30;
/**
 * How long to wait between two attempts while the receiver's disk is full or fails, and for how long in all,
 * milliseconds. The sender can do nothing about it, so these attempts are no breaks.
 */
const DISK = { pauseMs: 3000, patienceMs: 3_600_000 };
/** How long one HELLO and one CHUNK wait for their answers, milliseconds, and how often CHUNK is said. */
const HELLO_MS = 3000;
const CHUNK_MS = 2000;
const CHUNK_ASKED = 10;
/** How long the File Juggler may take to make a bucket anew, milliseconds. */
const REPAIR_MS = 20_000;
/** Errors that the same again would only bring about again. */
const FINAL: ReadonlySet<string> = new Set(['PIW_UNKNOWN_TRANSFER', 'PIW_FILE_CHANGED']);

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
export async function sendFile(sending: Sending): Promise<void> {
  const { bus, clock, user, session, signal } = sending;
  const juggler = new Client(bus, transfer, ['slave', user, session, transfer.name]);
  let breaks = 0;
  let diskMs = 0;
  let told: string | undefined;
  let answer: Next | undefined;
  let window = WINDOW.near;
  for (;;) {
    try {
      if (answer === undefined) {
        const hello = juggler.ask(
          'HELLO',
          { transfer_id: sending.transferId },
          { timeoutMs: HELLO_MS, patienceMs: 90_000, ...(signal ? { signal } : {}) },
        );
        // A long line holds more: what is under way is a window for each round trip.
        const rtt = sending.file.filesize > WINDOW.near ? bus.rtt().catch(() => 0) : 0;
        answer = await hello;
        window = (await rtt) > WINDOW.nearMs ? WINDOW.most : WINDOW.near;
      }
      if (answer.verb === 'DONE') return;
      const range: { offset: number; length: number } = answer;
      answer = await new Range(sending, juggler, range, window).send(() => {
        breaks = 0;
        diskMs = 0;
        told = undefined;
      });
    } catch (error) {
      if (signal?.aborted || !(error instanceof PiwError) || FINAL.has(error.code)) throw error;
      answer = undefined;
      const ofDisk: boolean = isDiskTrouble(error);
      if (ofDisk) {
        if (diskMs >= DISK.patienceMs) throw error;
        if (told !== error.message) sending.onTrouble?.(error);
        told = error.message;
        await pause(clock, DISK.pauseMs, signal);
        diskMs += DISK.pauseMs;
        continue;
      }
      if (breaks >= MAX_BREAKS) throw error;
      sending.onTrouble?.(error);
      if (error.code === 'PIW_NATS_STORAGE') await reportUnstored(sending);
      await pause(clock, backOff(breaks), signal);
      breaks += 1;
    }
  }
}

/**
 * Tells the File Juggler that NATS doesn't store what this sender writes; resolves when it does again, or when it was
 * of no use.
 */
export async function reportUnstored({
  bus,
  user,
  session,
  onTrouble,
}: Pick<Sending, 'bus' | 'user' | 'session' | 'onTrouble'>): Promise<void> {
  const juggler = new Client(bus, transfer, ['slave', user, session, transfer.name]);
  try {
    await juggler.ask('UNSTORED', {}, { timeoutMs: REPAIR_MS, once: true });
  } catch (error) {
    if (!(error instanceof PiwError)) throw error;
    onTrouble?.(error);
  }
}

/** One range on its way. What fails of it first gives up the rest. */
class Range {
  readonly #sending: Sending;
  readonly #juggler: Juggler;
  readonly #offset: number;
  readonly #length: number;
  readonly #stop = new AbortController();
  readonly #pieces = new Set<Promise<void>>();
  /** Bytes that were sent, of pieces that have not been answered. */
  #unanswered = 0;
  readonly #window: number;
  /** NATS stores nothing of it: it only passes by. */
  #unstored = false;
  #failure: Error | undefined;
  #last: Next = { verb: 'DONE' };

  /** `window`: bytes that may be under way. */
  constructor(
    sending: Sending,
    juggler: Juggler,
    { offset, length }: { offset: number; length: number },
    window: number,
  ) {
    this.#sending = sending;
    this.#juggler = juggler;
    this.#offset = offset;
    this.#length = length;
    this.#window = window;
  }

  /** The answer to the last piece; `onArrived` is called when a piece has arrived. */
  async send(onArrived: () => void): Promise<Next> {
    const { bus, user, transferId, file, read, doubtful, signal, onSent } = this.#sending;
    const either = signal ? AbortSignal.any([signal, this.#stop.signal]) : this.#stop.signal;
    const object = objectOf(transferId, file.filesize, () => randomBytes(6).toString('hex'));
    const whole = this.#offset === 0 && this.#length === file.filesize;
    const writer = bus.objects.writer(bucketOf(bus.prefix, user), object, this.#offset, {
      sha256: whole && !doubtful ? file.filehash : undefined,
      signal: either,
    });
    const end = this.#offset + this.#length;
    let at = this.#offset;
    let begun = at;
    let stored: Promise<void>[] = [];
    try {
      for (const data of read(this.#offset, this.#length)) {
        // The loop is left after each, so that it leaves for the server before the next is read.
        await turn();
        while (this.#unanswered >= this.#window && this.#failure === undefined)
          await Promise.race(this.#pieces);
        signal?.throwIfAborted();
        if (this.#failure !== undefined) break;
        // What isn't known to be stored may still be under way.
        const storing = writer.write(data).then(() => {
          buffers.giveBack(data);
        });
        // It is waited for with its piece; when this range ends before that, by nobody.
        storing.catch(() => undefined);
        stored.push(storing);
        at += data.length;
        this.#unanswered += data.length;
        onSent?.(data.length);
        if (at - begun < PIECE && at < end) continue;
        if (at === end) stored.push(this.#metadata(writer));
        this.#piece(begun, at - begun, stored, onArrived);
        begun = at;
        stored = [];
      }
      // What belongs to no piece is of a file that ended early.
      await Promise.allSettled(stored);
      if (this.#failure === undefined && at !== end) throw this.#changed();
      while (this.#pieces.size > 0 && this.#failure === undefined) await Promise.race(this.#pieces);
      if (this.#failure !== undefined) throw this.#failure;
      return this.#last;
    } finally {
      this.#stop.abort();
    }
  }

  /** Says CHUNK for a piece of which everything has been sent. */
  #piece(offset: number, length: number, stored: readonly Promise<void>[], onArrived: () => void): void {
    const arrived = async (): Promise<void> => {
      // What is written need not be stored as well; but no more is under way than NATS can store, if it stores anything.
      const storing = Promise.all(stored).then(() => undefined, storageError);
      storing.catch(() => undefined);
      const waits = this.#unstored ? undefined : storing;
      const [answer, unstored] = await Promise.all([this.#chunk(offset, length), waits]);
      if (unstored && !this.#unstored) {
        this.#unstored = true;
        this.#sending.onTrouble?.(unstored);
        void reportUnstored(this.#sending);
      }
      if (answer.verb === 'FETCH' && answer.offset < offset + length) {
        throw new PiwError('PIW_OBJECT_BROKEN', `bytes from ${String(answer.offset)} on got lost`);
      }
      if (offset + length === this.#offset + this.#length) this.#last = answer;
      onArrived();
    };
    const piece = arrived()
      .catch((error: unknown) => {
        this.#failure ??= error instanceof Error ? error : new Error(reason(error));
      })
      .finally(() => {
        this.#unanswered -= length;
        this.#pieces.delete(piece);
      });
    this.#pieces.add(piece);
  }

  /** A juggler that takes its time is asked again, and waited for; one that is gone is a break. */
  async #chunk(offset: number, length: number): Promise<Next> {
    for (let asked = 1; ; asked += 1) {
      try {
        return await this.#juggler.ask('CHUNK', { offset, length }, { timeoutMs: CHUNK_MS, once: true });
      } catch (error) {
        const slow = error instanceof PiwError && error.code === 'PIW_TIMEOUT';
        if (!slow || asked >= CHUNK_ASKED || this.#stop.signal.aborted) throw error;
      }
    }
  }

  /** Behind the last chunk. The digest of a whole file must be what was announced. */
  #metadata(writer: ReturnType<Bus['objects']['writer']>): Promise<void> {
    const { size, sha256, stored } = writer.end();
    const { filesize, filehash } = this.#sending.file;
    if (size === filesize && sha256 !== filehash) {
      stored.catch(() => undefined);
      throw this.#changed();
    }
    return stored;
  }

  #changed(): PiwError {
    return new PiwError(
      'PIW_FILE_CHANGED',
      `${this.#sending.file.filename} is not what was announced any more`,
    );
  }
}

/** The error, if it says that NATS doesn't store; throws any other. */
function storageError(error: unknown): PiwError {
  if (error instanceof PiwError && error.code === 'PIW_NATS_STORAGE') return error;
  throw error;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function pause(clock: Clock, ms: number, signal: AbortSignal | undefined): Promise<void> {
  if (signal?.aborted) return;
  await new Promise<void>((resolve) => {
    const over = () => {
      cancel();
      signal?.removeEventListener('abort', over);
      resolve();
    };
    const cancel = clock.after(ms, over);
    signal?.addEventListener('abort', over);
  });
}

/** As many are kept as are under way of one file on a long line. */
const buffers = new BufferPool(WINDOW.most / CHUNK_SIZE);

/**
 * How `read` reads a file on this machine. The buffers are used again when what was in them is stored, so that
 * they are few. Raises PIW_FILE_CHANGED where the file is gone.
 */
export function readerOf(path: string): Sending['read'] {
  return function* (offset, length) {
    const file = opened(path);
    try {
      for (let at = offset; at < offset + length;) {
        const buffer = Buffer.from(buffers.take(CHUNK_SIZE));
        const read = readSync(file, buffer, 0, Math.min(CHUNK_SIZE, offset + length - at), at);
        // It is shorter than it was: whoever counts the bytes sees that.
        if (read === 0) return;
        yield buffer.subarray(0, read);
        at += read;
      }
    } finally {
      closeSync(file);
    }
  };
}

function opened(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (error) {
    const text = `${path} can't be read any more: ${reason(error)}`;
    throw new PiwError('PIW_FILE_CHANGED', text, { cause: error });
  }
}
