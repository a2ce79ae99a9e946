import { createHash, type Hash } from 'node:crypto';
import { closeSync, fdatasync, writeSync } from 'node:fs';
import type { FileState } from '../model/file-state.js';
import type { ByteRange } from './byte-ranges.js';
import type { TransferState } from './transfer-state.js';
import { diskError, writeAll } from '../files/disk.js';

/** An expected file and its sender. */
export interface ExpectedFile {
  readonly transferId: string;
  readonly sender: string;
  readonly file: FileState;
}

/** Bytes between syncs while the file arrives, so that no more than this is left for the end. */
const SYNC_INTERVAL_BYTES = 16 * 1024 * 1024;

/**
 * An incoming file, owned by one process. Bytes are written where they belong, once: a range that has arrived
 * is never overwritten, so the digest that is computed as bytes come, if they come in order, is the digest of
 * the file on the disk. Writing is synchronous: that costs less than handing the bytes to a thread, and
 * reading the socket faster than the disk would gain nothing.
 */
export class IncomingFile implements ExpectedFile {
  readonly transferId: string;
  readonly sender: string;
  readonly file: FileState;
  readonly state: TransferState;
  /** The contents of a small file; missing bytes are 0. */
  readonly contents: Buffer | undefined;
  readonly #files: { readonly part: number; readonly notes: number } | undefined;
  #hash: Hash | undefined;
  #hashedBytes = 0;
  #pendingRange: ByteRange | undefined;
  #unsyncedBytes = 0;
  /** Whether writing the last note failed: part of it may be in the file. */
  #isLastNoteTorn = false;
  #syncing: Promise<void> | undefined;
  #failure: unknown;

  /** `files` are its open file descriptors, which it takes over; a small file has none. */
  constructor(expected: ExpectedFile, state: TransferState, files?: { part: number; notes: number }) {
    this.transferId = expected.transferId;
    this.sender = expected.sender;
    this.file = expected.file;
    this.state = state;
    this.#files = files;
    this.contents = files ? undefined : Buffer.alloc(expected.file.filesize);
    // A digest that starts here lacks the bytes that arrived earlier, in another process or in this one.
    if (state.received === 0) this.#hash = createHash('sha256');
  }

  /**
   * Writes bytes that have arrived; `data` may be reused once this returns. Bytes outside the file, or that
   * are there already, are left out. Throws as diskError() does.
   */
  write(offset: number, data: Uint8Array): void {
    if (!this.state.isWorthKeeping(offset, data.length)) return;
    try {
      for (const { start, end } of this.state.missing(offset, data.length)) {
        const bytes = data.subarray(start - offset, end - offset);
        if (this.#files) writeAll(this.#files.part, bytes, start);
        else this.contents?.set(bytes, start);
        this.state.markReceived(start, end - start);
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
   * Records which ranges have arrived, for the process that continues after this one. A range that could not
   * be recorded is recorded the next time. Throws as diskError() does.
   */
  saveRanges(): void {
    const range = this.#pendingRange;
    if (!range || !this.#files) return;
    // A torn note gets a line of its own. Missing digits at its end make its range shorter, never wrong.
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

  /**
   * SHA-256 (hex) of the file on the disk; undefined unless all of it arrived in order and in this process.
   */
  get sha256(): string | undefined {
    if (this.#hash === undefined || this.#hashedBytes !== this.file.filesize) return undefined;
    return this.#hash.copy().digest('hex');
  }

  /**
   * Waits for the disk. Throws as diskError() does if it has lost bytes that it had accepted. The kernel
   * reports such an error once, so a later sync of the file would not see it.
   */
  async waitForSync(): Promise<void> {
    await this.#syncing;
    if (this.#failure !== undefined) throw diskError(this.file.filename, this.#failure);
  }

  /**
   * Closes its files, which stay on the disk; the bytes of a small file are lost. Throws as waitForSync() and
   * saveRanges() do.
   */
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

  /**
   * Merges a range into the pending note. Notes are written on request, or when a range doesn't follow the
   * previous one.
   */
  #addRange(range: ByteRange): void {
    if (this.#pendingRange?.end === range.start)
      this.#pendingRange = { start: this.#pendingRange.start, end: range.end };
    else {
      this.saveRanges();
      this.#pendingRange = range;
    }
  }

  /**
   * Starts a sync, one at a time. Its failure is kept, because a later sync of the file would not report it.
   */
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
