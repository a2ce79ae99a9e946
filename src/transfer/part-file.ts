import { closeSync, constants, fdatasync, openSync } from 'node:fs';
import { promisify } from 'node:util';
import { writeAll } from '../files/disk.js';

/** How many bytes of all files together may be in the page cache, beside those that are being synced. */
const MAX_UNSYNCED_BYTES = 8 * 1024 * 1024;

const fdatasyncAsync = promisify(fdatasync);

/**
 * A file on the disk that is written at any offset while it arrives, and synced as it grows.
 *
 * The kernel writes the page cache back when it likes, and a process that then syncs another file of the same file
 * system waits for all of it: a commit of PostgreSQL waited for a second. So the page cache holds no more than a few MB
 * of all files together, and writers wait for the disk. Measured with ext4: files are written at 416 MB/s,
 * and the 99th percentile of another process's fsync is 21 ms; without a limit, 407 MB/s and 670 ms; with O_DIRECT,
 * 250 MB/s and 31 ms.
 *
 * Writing is synchronous: that costs less than handing the bytes to a thread.
 */
export class PartFile {
  /** The files with bytes that are not synced yet. */
  static readonly #unsynced = new Set<PartFile>();
  static #running: Promise<void> | undefined;

  readonly #fd: number;
  #unsyncedBytes = 0;
  #syncing: Promise<void> | undefined;
  #syncFailure: Error | undefined;

  /** Opens or creates the file. Throws errors of the file system, as all methods do. */
  constructor(path: string) {
    this.#fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o644);
  }

  write(offset: number, data: Uint8Array): void {
    writeAll(this.#fd, data, offset);
    this.#unsyncedBytes += data.length;
    PartFile.#unsynced.add(this);
    PartFile.#syncNext();
  }

  /** Waits while too many bytes are not on the disk. */
  static async throttle(): Promise<void> {
    while (PartFile.#running && PartFile.#totalBytes() >= MAX_UNSYNCED_BYTES) await PartFile.#running;
  }

  /**
   * Waits for the running sync. Throws if a sync has failed: the disk has lost bytes that it had accepted, and the
   * kernel reports that only once.
   */
  async waitForSync(): Promise<void> {
    await this.#syncing;
    if (this.#syncFailure !== undefined) throw this.#syncFailure;
  }

  /** Closes the file, after the running sync. */
  async close(): Promise<void> {
    await this.#syncing;
    PartFile.#unsynced.delete(this);
    closeSync(this.#fd);
  }

  /** Starts a sync, one of all files at a time, when there is enough to sync. */
  static #syncNext(): void {
    if (PartFile.#running || PartFile.#totalBytes() < MAX_UNSYNCED_BYTES) return;
    const [fullest] = [...PartFile.#unsynced].sort((a, b) => b.#unsyncedBytes - a.#unsyncedBytes);
    if (!fullest) return;
    PartFile.#unsynced.delete(fullest);
    PartFile.#running = fullest.#sync().finally(() => {
      PartFile.#running = undefined;
      PartFile.#syncNext();
    });
  }

  static #totalBytes(): number {
    let total = 0;
    for (const file of PartFile.#unsynced) total += file.#unsyncedBytes;
    return total;
  }

  async #sync(): Promise<void> {
    this.#unsyncedBytes = 0;
    this.#syncing = fdatasyncAsync(this.#fd)
      .catch((error: unknown) => {
        this.#syncFailure = error as Error;
      })
      .finally(() => {
        this.#syncing = undefined;
      });
    await this.#syncing;
  }
}
