import { createHash, type Hash } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { diskError } from '../files/disk.js';
import type { FileState } from '../model/file-state.js';
import type { ByteRange } from './byte-ranges.js';
import { PartFile } from './part-file.js';
import { TransferState } from './transfer-state.js';

/** An expected file and its sender. */
export interface ExpectedFile {
  readonly transferId: string;
  readonly sender: string;
  readonly file: FileState;
}

/** The files of a large transfer: its bytes, and a note of each range that has been written. */
interface TransferFiles {
  readonly part: PartFile;
  readonly notes: number;
}

/**
 * An incoming file, owned by one process. Bytes are written where they belong, once: a range that has arrived
 * is never overwritten, so the digest that is computed as bytes come, if they come in order, is the digest of
 * the file on the disk.
 */
export class IncomingFile implements ExpectedFile {
  readonly transferId: string;
  readonly sender: string;
  readonly file: FileState;
  readonly state: TransferState;
  /** The contents of a small file; missing bytes are 0. */
  readonly contents: Buffer | undefined;
  readonly #files: TransferFiles | undefined;
  #hash: Hash | undefined;
  #hashedBytes = 0;
  #pendingRange: ByteRange | undefined;
  /** Whether writing the last note failed: part of it may be in the file. */
  #isLastNoteTorn = false;

  /** `files` are its open files, which it takes over; a small file has none. `have` are the ranges in them. */
  constructor(expected: ExpectedFile, have: readonly ByteRange[] = [], files?: TransferFiles) {
    this.transferId = expected.transferId;
    this.sender = expected.sender;
    this.file = expected.file;
    this.state = new TransferState(expected.file.filesize, have);
    this.#files = files;
    this.contents = files ? undefined : Buffer.alloc(expected.file.filesize);
    // A digest that starts here lacks the bytes that arrived earlier, in another process or in this one.
    if (this.state.received === 0) this.#hash = createHash('sha256');
  }

  /** Opens the files of a large transfer, of which `have` has arrived. Throws errors of the file system. */
  static open(
    expected: ExpectedFile,
    have: readonly ByteRange[],
    paths: { readonly part: string; readonly notes: string },
  ): IncomingFile {
    const notes = openSync(paths.notes, 'a', 0o644);
    try {
      return new IncomingFile(expected, have, { part: new PartFile(paths.part), notes });
    } catch (error) {
      closeSync(notes);
      throw error;
    }
  }

  /**
   * Writes bytes that have arrived, at once; then waits while too many bytes are not on the disk. Bytes outside
   * the file, or that are there already, are left out. Throws as diskError() does.
   */
  async write(offset: number, data: Uint8Array): Promise<void> {
    if (!this.state.isWorthKeeping(offset, data.length)) return;
    try {
      for (const { start, end } of this.state.missing(offset, data.length)) {
        const bytes = data.subarray(start - offset, end - offset);
        if (this.#files) this.#files.part.write(start, bytes);
        else this.contents?.set(bytes, start);
        this.state.markReceived(start, end - start);
        this.#updateHash(start, bytes);
        this.#addRange({ start, end });
      }
    } catch (error) {
      throw diskError(this.file.filename, error);
    }
    if (this.#files) await PartFile.throttle();
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
      `${this.#isLastNoteTorn ? '\n' : ''}${range.start} ${range.end - range.start}\n`,
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
   * Waits for the disk. Throws as diskError() does if it has lost bytes that it had accepted.
   */
  async waitForSync(): Promise<void> {
    try {
      await this.#files?.part.waitForSync();
    } catch (error) {
      throw diskError(this.file.filename, error);
    }
  }

  /**
   * Closes its files, which stay on the disk; the bytes of a small file are lost. Throws as waitForSync() and
   * saveRanges() do.
   */
  async close(): Promise<void> {
    try {
      this.saveRanges();
    } finally {
      if (this.#files) {
        closeSync(this.#files.notes);
        await this.#files.part.close();
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
}
