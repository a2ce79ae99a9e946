import { createHash, type Hash } from 'node:crypto';
import { closeSync, fdatasync, writeSync } from 'node:fs';
import type { FileState } from '../model/file-state.js';
import type { ByteRange } from './byte-ranges.js';
import type { TransferState } from './transfer-state.js';
import { diskError, writeAll } from '../files/disk.js';

/** A file that is expected, and from whom. */
export interface ExpectedFile {
  readonly transferId: string;
  readonly sender: string;
  readonly file: FileState;
}

/** Bytes after which the disk is told to begin: what is left for the end is no more than that. */
const SYNC_INTERVAL_BYTES = 16 * 1024 * 1024;

/**
 * A file on its way to its place, in the hands of one process. Bytes are written where they belong, once: a
 * range that is there is never written again, so the digest that is taken while they come, as long as they
 * come in order, is that of what is on the disk. Writing is synchronous: it costs less than handing the bytes
 * to a thread, and whoever reads them from a socket isn't faster than the disk for it.
 */
export class IncomingFile implements ExpectedFile {
  readonly transferId: string;
  readonly sender: string;
  readonly file: FileState;
  readonly state: TransferState;
  /** The contents of a small file; what isn't there yet is 0. */
  readonly contents: Buffer | undefined;
  readonly #files: { readonly part: number; readonly notes: number } | undefined;
  #hash: Hash | undefined;
  #hashedBytes = 0;
  #pendingRange: ByteRange | undefined;
  #unsyncedBytes = 0;
  /** Writing the last note failed: part of it may be in the file. */
  #isLastNoteTorn = false;
  #syncing: Promise<void> | undefined;
  #failure: unknown;

  /** `open` are its files, which are its own from now on; a small file has none. */
  constructor(expected: ExpectedFile, state: TransferState, files?: { part: number; notes: number }) {
    this.transferId = expected.transferId;
    this.sender = expected.sender;
    this.file = expected.file;
    this.state = state;
    this.#files = files;
    this.contents = files ? undefined : Buffer.alloc(expected.file.filesize);
    // What came before, to another process or this one, isn't in a digest that begins here.
    if (state.received === 0) this.#hash = createHash('sha256');
  }

  /**
   * Bytes have come; they are not looked at any more when this returns. What is no part of the file, or is there, is
   * left out. Throws what diskError() gives.
   */
  write(offset: number, data: Uint8Array): void {
    if (!this.state.isWorthKeeping(offset, data.length)) return;
    try {
      for (const { start, end } of this.state.missing(offset, data.length)) {
        const bytes = data.subarray(start - offset, end - offset);
        if (this.#files) writeAll(this.#files.part, bytes, start);
        else this.contents?.set(bytes, start);
        this.state.chunk(start, end - start);
        this.#updateHash(start, bytes);
        this.#addRange({ start, end });
        this.#unsyncedBytes += end - start;
      }
    } catch (error) {
      throw diskError(this.file.filename, error);
    }
    if (this.#files && this.#unsyncedBytes >= SYNC_INTERVAL_BYTES) this.#startSync(this.#files.part);
  }

  /**
   * Notes which ranges are there, for whoever goes on after this process. A range that could not be noted is noted the
   * next time. Throws what diskError() gives.
   */
  saveRanges(): void {
    const range = this.#pendingRange;
    if (!range || !this.#files) return;
    // A torn note gets a line of its own. Digits that are missing at its end make its range shorter, never wrong.
    const line = Buffer.from(
      `${this.#isLastNoteTorn ? '\n' : ''}${String(range.start)} ${String(range.end - range.start)}\n`,
    );
    this.#isLastNoteTorn = true;
    try {
      for (let written = 0; written < line.length;) written += writeSync(this.#files.notes, line, written);
    } catch (error) {
      throw diskError(this.file.filename, error);
    }
    this.#isLastNoteTorn = false;
    this.#pendingRange = undefined;
  }

  /** SHA-256 of what is on the disk, hexadecimal, if all of it came in order and into these hands. */
  get sha256(): string | undefined {
    if (this.#hash === undefined || this.#hashedBytes !== this.file.filesize) return undefined;
    return this.#hash.copy().digest('hex');
  }

  /**
   * Waits for the disk. Throws what diskError() gives if it has lost bytes that it had accepted: an error like this is
   * reported once, so nobody who syncs the file later is told.
   */
  async waitForSync(): Promise<void> {
    await this.#syncing;
    if (this.#failure !== undefined) throw diskError(this.file.filename, this.#failure);
  }

  /** Closes its files, which stay; the bytes of a small file are gone. Throws as settle() and note() do. */
  async close(): Promise<void> {
    await this.#syncing;
    try {
      this.saveRanges();
    } finally {
      if (this.#files) {
        closeSync(this.#files.part);
        closeSync(this.#files.notes);
      }
    }
    await this.waitForSync();
  }

  #updateHash(start: number, bytes: Uint8Array): void {
    if (this.#hash === undefined || start !== this.#hashedBytes) {
      this.#hash = undefined;
      return;
    }
    this.#hash.update(bytes);
    this.#hashedBytes += bytes.length;
  }

  /** Notes are written when they are asked for, or when what comes doesn't follow what came. */
  #addRange(range: ByteRange): void {
    if (this.#pendingRange?.end === range.start)
      this.#pendingRange = { start: this.#pendingRange.start, end: range.end };
    else {
      this.saveRanges();
      this.#pendingRange = range;
    }
  }

  /** One at a time; a failure isn't told to whoever syncs the file later, so it is kept. */
  #startSync(part: number): void {
    if (this.#syncing) return;
    this.#unsyncedBytes = 0;
    this.#syncing = new Promise((resolve) => {
      fdatasync(part, (error) => {
        if (error) this.#failure = error;
        this.#syncing = undefined;
        resolve();
      });
    });
  }
}
