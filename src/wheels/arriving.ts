import { createHash, type Hash } from 'node:crypto';
import { closeSync, fdatasync, writeSync } from 'node:fs';
import type { FileState } from '../states/file-state.js';
import type { ByteRange } from '../states/ranges.js';
import type { TransferState } from '../states/transfer-state.js';
import { diskError, writeAll } from './disk.js';

/** A file that is expected, and from whom. */
export interface Expected {
  readonly transferId: string;
  readonly sender: string;
  readonly file: FileState;
}

/** Bytes after which the disk is told to begin: what is left for the end is no more than that. */
const SYNC_BYTES = 16 * 1024 * 1024;

/**
 * A file on its way to its place, in the hands of one process. Bytes are written where they belong, once: a
 * range that is there is never written again, so the digest that is taken while they come, as long as they
 * come in order, is that of what is on the disk. Writing is synchronous: it costs less than handing the bytes
 * to a thread, and whoever reads them from a socket isn't faster than the disk for it.
 */
export class Arriving implements Expected {
  readonly transferId: string;
  readonly sender: string;
  readonly file: FileState;
  readonly state: TransferState;
  /** The contents of a small file; what isn't there yet is 0. */
  readonly whole: Buffer | undefined;
  readonly #open: { readonly part: number; readonly notes: number } | undefined;
  #hash: Hash | undefined;
  #hashed = 0;
  #unnoted: ByteRange | undefined;
  #unsynced = 0;
  /** Writing the last note failed: part of it may be in the file. */
  #torn = false;
  #syncing: Promise<void> | undefined;
  #failure: unknown;

  /** `open` are its files, which are its own from now on; a small file has none. */
  constructor(expected: Expected, state: TransferState, open?: { part: number; notes: number }) {
    this.transferId = expected.transferId;
    this.sender = expected.sender;
    this.file = expected.file;
    this.state = state;
    this.#open = open;
    this.whole = open ? undefined : Buffer.alloc(expected.file.filesize);
    // What came before, to another process or this one, isn't in a digest that begins here.
    if (state.received === 0) this.#hash = createHash('sha256');
  }

  /**
   * Bytes have come; they are not looked at any more when this returns. What is no part of the file, or is there, is
   * left out. Throws what diskError() gives.
   */
  write(offset: number, data: Uint8Array): void {
    if (!this.state.wants(offset, data.length)) return;
    try {
      for (const { start, end } of this.state.missing(offset, data.length)) {
        const bytes = data.subarray(start - offset, end - offset);
        if (this.#open) writeAll(this.#open.part, bytes, start);
        else this.whole?.set(bytes, start);
        this.state.chunk(start, end - start);
        this.#digest(start, bytes);
        this.#remember({ start, end });
        this.#unsynced += end - start;
      }
    } catch (error) {
      throw diskError(this.file.filename, error);
    }
    if (this.#open && this.#unsynced >= SYNC_BYTES) this.#sync(this.#open.part);
  }

  /**
   * Notes which ranges are there, for whoever goes on after this process. A range that could not be noted is noted the
   * next time. Throws what diskError() gives.
   */
  note(): void {
    const range = this.#unnoted;
    if (!range || !this.#open) return;
    // A torn note gets a line of its own. Digits that are missing at its end make its range shorter, never wrong.
    const line = Buffer.from(
      `${this.#torn ? '\n' : ''}${String(range.start)} ${String(range.end - range.start)}\n`,
    );
    this.#torn = true;
    try {
      for (let written = 0; written < line.length;) written += writeSync(this.#open.notes, line, written);
    } catch (error) {
      throw diskError(this.file.filename, error);
    }
    this.#torn = false;
    this.#unnoted = undefined;
  }

  /** SHA-256 of what is on the disk, hexadecimal, if all of it came in order and into these hands. */
  get sha256(): string | undefined {
    if (this.#hash === undefined || this.#hashed !== this.file.filesize) return undefined;
    return this.#hash.copy().digest('hex');
  }

  /**
   * Waits for the disk. Throws what diskError() gives if it has lost bytes that it had accepted: an error like this is
   * reported once, so nobody who syncs the file later is told.
   */
  async settle(): Promise<void> {
    await this.#syncing;
    if (this.#failure !== undefined) throw diskError(this.file.filename, this.#failure);
  }

  /** Closes its files, which stay; the bytes of a small file are gone. Throws as settle() and note() do. */
  async close(): Promise<void> {
    await this.#syncing;
    try {
      this.note();
    } finally {
      if (this.#open) {
        closeSync(this.#open.part);
        closeSync(this.#open.notes);
      }
    }
    await this.settle();
  }

  #digest(start: number, bytes: Uint8Array): void {
    if (this.#hash === undefined || start !== this.#hashed) {
      this.#hash = undefined;
      return;
    }
    this.#hash.update(bytes);
    this.#hashed += bytes.length;
  }

  /** Notes are written when they are asked for, or when what comes doesn't follow what came. */
  #remember(range: ByteRange): void {
    if (this.#unnoted?.end === range.start) this.#unnoted = { start: this.#unnoted.start, end: range.end };
    else {
      this.note();
      this.#unnoted = range;
    }
  }

  /** One at a time; a failure isn't told to whoever syncs the file later, so it is kept. */
  #sync(part: number): void {
    if (this.#syncing) return;
    this.#unsynced = 0;
    this.#syncing = new Promise((resolve) => {
      fdatasync(part, (error) => {
        if (error) this.#failure = error;
        this.#syncing = undefined;
        resolve();
      });
    });
  }
}
