import { randomBytes } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { open, unlink, type FileHandle } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { systemClock } from '../concurrency/clock.js';
import { deferred } from '../concurrency/deferred.js';
import { withTimeLimit } from '../concurrency/time-limit.js';
import { PiwError, errorMessage } from '../errors.js';
import { makeFolders } from '../files/disk.js';
import { bytesBefore, readAt } from './log-file.js';
import { LineSplitter, type LineBlock, type LogSource } from './source.js';

/** Size from which a segment is complete, bytes. */
const SEGMENT_BYTES = 16 * 1024 * 1024;
const READ_BYTES = 1024 * 1024;

interface SpoolOptions {
  readonly folder: string;
  /** Maximum size of the whole folder, bytes. */
  readonly limitBytes: number;
  /** Identifies this process, for later processes, too. */
  readonly owner: string;
  /** Returns whether the process with that identity is still running. */
  readonly isRunning: (owner: string) => boolean;
}

/**
 * Keeps the lines of a pipe until they are counted: a folder of segments, each of which is read like a log file. Every
 * line is written here first, and so survives a crash of this process; the spool is synced once a second, after which
 * lines survive a crash of the machine. Only its owner writes a segment. The next process that opens the spool adopts
 * segments whose owner has exited. Two processes may adopt the same segment: the farm knows how far it has been
 * counted, so that neither counts lines twice.
 *
 * Segments are named TIME-PID_START-RANDOM.log, so that they sort by age.
 */
export class Spool {
  readonly folder: string;
  readonly #options: SpoolOptions;
  /** Segments that wait to be read, and the names of all segments that this process owns or has adopted. */
  readonly #segments: SpoolSegment[] = [];
  readonly #knownNames = new Set<string>();
  #current: SpoolSegment | undefined;
  #bytes = 0;
  /** Number of segments that are complete, but not yet removed. */
  #completeSegments = 0;
  #closed = false;
  #wake: () => void = () => undefined;

  private constructor(options: SpoolOptions) {
    this.folder = options.folder;
    this.#options = options;
  }

  /** Creates the folder if it is missing, and adopts the segments left there. Throws PIW_NOT_WRITABLE. */
  static open(options: SpoolOptions): Spool {
    const { folder } = options;
    try {
      makeFolders(folder, 0o700);
      const spool = new Spool(options);
      spool.rescan();
      return spool;
    } catch (error) {
      const text = `the spool folder ${folder} can't be used: ${errorMessage(error)}`;
      throw new PiwError('PIW_NOT_WRITABLE', text, { cause: error });
    }
  }

  /** Adopts the segments of processes that have exited since, and recalculates the size of the folder. */
  rescan(): void {
    const { folder, isRunning } = this.#options;
    let bytes = 0;
    for (const name of readdirSync(folder).sort()) {
      const owner = SEGMENT_NAME_PATTERN.exec(name)?.[1]?.replace('_', ' ');
      if (owner === undefined) continue;
      bytes += statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0;
      if (this.#knownNames.has(name) || isRunning(owner)) continue;
      this.#knownNames.add(name);
      this.#segments.push(new SpoolSegment(folder, name));
      this.#completeSegments += 1;
    }
    this.#bytes = bytes;
    this.#wake();
  }

  /** Size of the folder, bytes, including counted lines of segments that are not removed yet. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether there will be room as soon as complete segments have been counted. */
  get hasCompleteSegments(): boolean {
    return this.#completeSegments > 0;
  }

  /**
   * Adds whole lines. Returns false if they exceed the limit, and throws PIW_NOT_WRITABLE if they can't be written, e.g.
   * because the disk is full. In both cases the current segment is completed, so that it is removed once it is counted.
   */
  async add(lines: Buffer): Promise<boolean> {
    if (this.#bytes + lines.length > this.#options.limitBytes) {
      await this.#rotate();
      return false;
    }
    try {
      this.#current ??= await this.#startSegment();
      await this.#current.write(lines);
    } catch (error) {
      await this.#rotate();
      const text = `the spool folder ${this.folder} can't be written to: ${errorMessage(error)}`;
      throw new PiwError('PIW_NOT_WRITABLE', text, { cause: error });
    }
    this.#bytes += lines.length;
    if (this.#current.size >= SEGMENT_BYTES) await this.#finishSegment();
    return true;
  }

  /** Syncs added lines to disk. */
  async sync(): Promise<void> {
    await this.#current?.sync();
  }

  /** Completes the current segment; segments() ends after the last one. */
  async close(): Promise<void> {
    await this.#finishSegment();
    this.#closed = true;
    this.#wake();
  }

  /** Yields each segment once, oldest first, and waits for further ones until close(). */
  async *segments(): AsyncGenerator<SpoolSegment> {
    for (;;) {
      const segment = this.#segments.shift();
      if (segment) yield segment;
      else if (this.#closed) return;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** Deletes a segment that has been counted. */
  async removeSegment(segment: SpoolSegment): Promise<void> {
    this.#bytes -= await segment.remove();
    this.#completeSegments -= 1;
    this.#knownNames.delete(basename(segment.name));
  }

  async #startSegment(): Promise<SpoolSegment> {
    const { folder, owner } = this.#options;
    const time = String(Date.now()).padStart(15, '0');
    const name = `${time}-${owner.replace(' ', '_')}-${randomBytes(6).toString('hex')}.log`;
    const segment = new SpoolSegment(folder, name, true);
    this.#knownNames.add(name);
    await segment.create();
    this.#segments.push(segment);
    this.#wake();
    return segment;
  }

  async #finishSegment(): Promise<void> {
    const segment = this.#current;
    this.#current = undefined;
    if (segment) this.#completeSegments += 1;
    await segment?.end();
  }

  async #rotate(): Promise<void> {
    if (this.#current && this.#current.size > 0) await this.#finishSegment().catch(() => undefined);
  }
}

const SEGMENT_NAME_PATTERN = /^\d{15}-(\d+_\d*)-[0-9a-f]{12}\.log$/;

/** How often a reader that waits for more lines of a segment gets an empty block, milliseconds. */
const TICK_INTERVAL_MS = 250;

/** A segment of the spool. Its name is unique, and so serves as its identity. */
class SpoolSegment implements LogSource {
  readonly name: string;
  readonly #head: string;
  #size = 0;
  #handle: FileHandle | undefined;
  #growing: boolean;
  #dirty = false;
  #wake: () => void = () => undefined;

  constructor(folder: string, name: string, growing = false) {
    this.name = join(folder, name);
    this.#head = `spool ${name}`;
    this.#growing = growing;
  }

  get size(): number {
    return this.#size;
  }

  async create(): Promise<void> {
    this.#handle = await open(this.name, 'wx+', 0o600);
    // Sync the folder: otherwise a crash of the machine could lose the file's name.
    const folder = await open(join(this.name, '..'));
    await folder.sync().finally(() => folder.close());
  }

  async write(lines: Buffer): Promise<void> {
    const start = this.#size;
    try {
      for (let written = 0; written < lines.length;) {
        const result = await this.#handle?.write(lines, written, lines.length - written, start + written);
        written += result?.bytesWritten ?? lines.length;
      }
    } catch (error) {
      // All or nothing: remove lines that were partly written.
      await this.#handle?.truncate(start).catch(() => undefined);
      throw error;
    }
    this.#size = start + lines.length;
    this.#dirty = true;
    this.#wake();
  }

  async sync(): Promise<void> {
    if (!this.#dirty) return;
    this.#dirty = false;
    await this.#handle?.datasync();
  }

  async end(): Promise<void> {
    try {
      await this.sync();
    } finally {
      this.#growing = false;
      this.#wake();
    }
  }

  head(): Promise<string> {
    return Promise.resolve(this.#head);
  }

  async tailBefore(offset: number): Promise<Buffer | undefined> {
    const handle = await this.#open();
    const { size } = await handle.stat();
    return size < offset ? undefined : await bytesBefore(handle, offset);
  }

  /** Yields lines from the position `from`, and waits for more until the segment is complete. */
  async *blocks(from: number): AsyncGenerator<LineBlock> {
    const handle = await this.#open();
    const lines = new LineSplitter(from);
    for (let at = from; ;) {
      const growing = this.#growing;
      const end = growing ? this.#size - at : READ_BYTES;
      const bytes = end > 0 ? await readAt(handle, at, Math.min(READ_BYTES, end)) : EMPTY;
      at += bytes.length;
      yield* lines.add(bytes);
      if (bytes.length > 0) continue;
      if (!growing) return;
      await this.#waitForMore(at);
      yield { from: at, to: at, bytes: EMPTY };
    }
  }

  /** Deletes the file. Returns its size, bytes. */
  async remove(): Promise<number> {
    const handle = await this.#open().catch(() => undefined);
    const size = (await handle?.stat())?.size ?? 0;
    await handle?.close();
    this.#handle = undefined;
    await unlink(this.name).catch(() => undefined);
    return size;
  }

  async close(): Promise<void> {
    await this.#handle?.close();
    this.#handle = undefined;
  }

  async #open(): Promise<FileHandle> {
    this.#handle ??= await open(this.name);
    return this.#handle;
  }

  async #waitForMore(at: number): Promise<void> {
    if (this.#size > at || !this.#growing) return;
    const woken = deferred();
    this.#wake = woken.resolve;
    await withTimeLimit(systemClock, TICK_INTERVAL_MS, woken.promise);
  }
}

const EMPTY = Buffer.alloc(0);
