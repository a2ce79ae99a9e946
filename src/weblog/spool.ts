import { randomBytes } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { open, unlink, type FileHandle } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { PiwError, errorMessage } from '../errors.js';
import { makeFolders } from '../wheels/disk.js';
import { bytesBefore, readAt } from './log-file.js';
import { LineSplitter, type LineBlock, type LogSource } from './source.js';

/** A piece ends with the line that makes it so long; bytes. */
const SEGMENT_BYTES = 16 * 1024 * 1024;
const READ_BYTES = 1024 * 1024;

export interface SpoolOptions {
  readonly folder: string;
  /** Of all that is in the folder. */
  readonly limitBytes: number;
  /** Names this process, also to those that come after it. */
  readonly owner: string;
  /** Whether the process of that name still runs. */
  readonly isRunning: (owner: string) => boolean;
}

/**
 * Where the lines from a pipe are kept until they are counted: a folder of pieces, each of which is read like a log
 * file. All that comes is written here first, and so survives this process; once a second it is brought to the disk, and
 * survives the machine. A piece has one owner, who alone writes it; one whose owner has ended is taken over by the
 * next that comes. Two may take over the same one: how far it is counted is known to the farm, so neither counts
 * what the other has.
 *
 * Pieces are called TIME-PID_START-RANDOM.log, so that they sort as they were begun.
 */
export class Spool {
  readonly folder: string;
  readonly #options: SpoolOptions;
  /** Those that wait to be read, and the names of all that did. */
  readonly #segments: SpoolSegment[] = [];
  readonly #knownNames = new Set<string>();
  #current: SpoolSegment | undefined;
  #bytes = 0;
  /** How many pieces are whole, and not yet counted. */
  #completeSegments = 0;
  #closed = false;
  #wake: () => void = () => undefined;

  private constructor(options: SpoolOptions) {
    this.folder = options.folder;
    this.#options = options;
  }

  /** Makes the folder if it is missing, and takes over what is left there. Raises PIW_NOT_WRITABLE. */
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

  /** Takes over what others have left since, and sees how much there is in all. */
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

  /** Bytes that are in the folder, counted ones of unfinished pieces included. */
  get bytes(): number {
    return this.#bytes;
  }

  /** There will be more room, when what is here already is counted. */
  get hasCompleteSegments(): boolean {
    return this.#completeSegments > 0;
  }

  /**
   * Keeps whole lines. False: there is no room for them. Raises PIW_NOT_WRITABLE where the disk is full. Either way the
   * piece that was begun ends here, so that it goes when it is counted.
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

  /** Brings what was added to the disk. */
  async sync(): Promise<void> {
    await this.#current?.sync();
  }

  /** Nothing more is added; pieces() ends after the last one. */
  async close(): Promise<void> {
    await this.#finishSegment();
    this.#closed = true;
    this.#wake();
  }

  /** The pieces, in the order in which they were begun, each once; it waits for further ones. */
  async *segments(): AsyncGenerator<SpoolSegment> {
    for (;;) {
      const segment = this.#segments.shift();
      if (segment) yield segment;
      else if (this.#closed) return;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** All of it was counted. */
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

/** How often somebody who waits for more of a piece is told that time has passed, milliseconds. */
const TICK_INTERVAL_MS = 250;

/** A piece of the spool. Its name is its own, and so what it is known by. */
export class SpoolSegment implements LogSource {
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
    // A file whose name isn't on the disk is lost with the machine.
    const folder = await open(join(this.name, '..'));
    await folder.sync().finally(() => folder.close());
  }

  async write(lines: Buffer): Promise<void> {
    const start = this.#size;
    try {
      for (let written = 0; written < lines.length;) {
        const wrote = await this.#handle?.write(lines, written, lines.length - written, start + written);
        written += wrote?.bytesWritten ?? lines.length;
      }
    } catch (error) {
      // Half of them is none of them.
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

  /** While it is being written, it waits for more. */
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

  /** Gives how large it was. */
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
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, TICK_INTERVAL_MS);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
      if (this.#size > at || !this.#growing) this.#wake();
    });
  }
}

const EMPTY = Buffer.alloc(0);
