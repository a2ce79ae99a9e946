import { statfsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { PiwError, isDiskError, type ErrorCode } from '../errors.js';
import { writeTemporarySynced } from './atomic.js';
import { makeFolders, withDiskErrors } from './disk.js';

/**
 * Errors that concern a whole disk. An error of a single file, such as EIO, says nothing about the next one.
 */
const WHOLE_DISK_ERRORS: Partial<Record<ErrorCode, DiskTrouble['kind']>> = {
  PIW_DISK_FULL: 'disk-full',
  PIW_DISK_READ_ONLY: 'disk-read-only',
};

/** What is wrong with a disk. */
export interface DiskTrouble {
  readonly code: ErrorCode;
  /** The kind of condition that people see. */
  readonly kind: 'disk-full' | 'disk-read-only';
  readonly text: string;
}

/** What a probe writes: more than the few blocks that a disk reserves for a file's name. */
const PROBE_CONTENTS = Buffer.alloc(64 * 1024, 'p');
/**
 * Bytes that must have been freed since the disk was full: what failed may have needed more than was left,
 * and would fail again.
 */
const MIN_FREED_BYTES = 1024 * 1024;
/**
 * Milliseconds until the next probe if the free space doesn't grow, because what failed has released its
 * space; doubled after each probe in vain.
 */
const RETRY_MS = { first: 5000, max: 300_000 };

/**
 * Tracks whether the disk that holds a folder is full or read-only. Work on that disk reports its failures
 * (`noteFailure`). From then on the trouble lasts until there is more space, or it is time to try again, and
 * a probe has written a file there (`probe`, to be called every few seconds). So its beginning and its end
 * are each reported once, however much work fails in between.
 */
export class DiskWatch {
  readonly #folder: string;
  readonly #onBegin: (trouble: DiskTrouble) => void;
  readonly #onEnd: (trouble: DiskTrouble) => void;
  #trouble: DiskTrouble | undefined;
  #freeAtFailure = 0;
  #failedAtMs = 0;
  #retryMs = RETRY_MS.first;
  #probing: Promise<void> | undefined;

  /** `onBegin` and `onEnd` are called when the trouble begins and ends. */
  constructor(
    folder: string,
    onBegin: (trouble: DiskTrouble) => void,
    onEnd: (trouble: DiskTrouble) => void = () => undefined,
  ) {
    this.#folder = folder;
    this.#onBegin = onBegin;
    this.#onEnd = onEnd;
  }

  get trouble(): DiskTrouble | undefined {
    return this.#trouble;
  }

  /** Records that work failed with `error`. Anything but an error of the whole disk is ignored. */
  noteFailure(error: unknown): void {
    const kind = error instanceof PiwError ? WHOLE_DISK_ERRORS[error.code] : undefined;
    if (this.#trouble || !(error instanceof PiwError) || kind === undefined) return;
    this.#freeAtFailure = this.#freeBytes();
    this.#failedAtMs = performance.now();
    this.#trouble = { code: error.code, kind, text: error.message };
    this.#onBegin(this.#trouble);
  }

  /** Throws the current trouble, if any, as a PiwError. */
  throwIfTrouble(): void {
    if (this.#trouble) throw new PiwError(this.#trouble.code, this.#trouble.text);
  }

  /** Runs `action`, and records its failure. */
  async during<T>(action: () => Promise<T> | T): Promise<T> {
    try {
      return await action();
    } catch (error) {
      this.noteFailure(error);
      throw error;
    }
  }

  /** Ends the trouble if a file can be written to the folder. Does nothing if there is none. */
  async probe(): Promise<void> {
    if (!this.#trouble) return;
    this.#probing ??= this.#probe().finally(() => (this.#probing = undefined));
    await this.#probing;
  }

  async #probe(): Promise<void> {
    const trouble = this.#trouble;
    if (!trouble) return;
    const hasMoreSpace = this.#freeBytes() >= this.#freeAtFailure + MIN_FREED_BYTES;
    if (trouble.kind === 'disk-full' && !hasMoreSpace && performance.now() < this.#failedAtMs + this.#retryMs)
      return;
    try {
      await withDiskErrors(this.#folder, async () => {
        makeFolders(this.#folder);
        await rm(await writeTemporarySynced(join(this.#folder, 'probe'), PROBE_CONTENTS), { force: true });
      });
    } catch (error) {
      if (!isDiskError(error)) throw error;
      return;
    }
    this.#retryMs = hasMoreSpace ? RETRY_MS.first : Math.min(2 * this.#retryMs, RETRY_MS.max);
    this.#trouble = undefined;
    this.#onEnd(trouble);
  }

  /** Returns the free bytes; if they can't be determined, so few that any space is more. */
  #freeBytes(): number {
    try {
      const { bavail, bsize } = statfsSync(this.#folder);
      return bavail * bsize;
    } catch {
      return -MIN_FREED_BYTES;
    }
  }
}
