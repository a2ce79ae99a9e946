import { constants, existsSync, readFileSync } from 'node:fs';
import { access, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PiwError } from '../errors.js';
import { moveIntoPlace, replaceFile, writeTemporarySynced } from '../files/atomic.js';
import { codeOf, makeFolders, undefinedIfMissing, withDiskErrors } from '../files/disk.js';
import { MAX_SMALL_FILE_BYTES, fileFromMessage, fileToMessage, type FileState } from '../model/file-state.js';
import type { ByteRange } from './byte-ranges.js';
import { IncomingFile, type ExpectedFile } from './incoming-file.js';
import { TransferState } from './transfer-state.js';

const EXPECTED_SUFFIX = '.json';
const PART_SUFFIX = '.part';
const RANGES_SUFFIX = '.ranges';
/** The lock file of a takeover, and the milliseconds after which it is stale. */
const TAKEOVER_SUFFIX = '.taking';
const TAKEOVER_TIMEOUT_MS = 10_000;

/**
 * The files in transit: what is expected, from whom, and what has arrived of it.
 *
 * A file in transit is three files in one folder: what is expected, from whom and by which owner; its bytes so
 * far; and which ranges of them have been written (one line each, after the bytes). One process owns it at a
 * time, and only that one writes to it; any other process can take it over when the owner is gone, and continues
 * where that one stopped. A small file is kept in memory until it is complete: creating and removing several
 * files for each is what a file system is slowest at (ext4 looks at every inode that was freed within the last
 * minute before it allocates another), and it is quickly sent again.
 */
export class TransferStaging {
  readonly #folder: string;
  readonly #instanceId: string;
  /** The expected small files. */
  readonly #smallFiles = new Map<string, ExpectedFile & { readonly since: number }>();

  /** `instanceId` identifies this process among those that use the same folder. */
  constructor(folder: string, instanceId: string) {
    this.#folder = folder;
    this.#instanceId = instanceId;
  }

  /** Creates the folder. Throws as diskError() does, like all methods here. */
  async setUp(): Promise<void> {
    await withDiskErrors(this.#folder, async () => {
      makeFolders(this.#folder, 0o700);
      await access(this.#folder, constants.W_OK);
    });
  }

  /**
   * Records an expected file, which this process owns from now on. Repeating the call changes nothing; a
   * different file under the same id starts over. The record isn't synced: if it is lost in a crash, the
   * sender's retry creates it again.
   */
  async expect(expected: ExpectedFile, now = Date.now()): Promise<void> {
    const existing = this.find(expected.transferId);
    if (existing?.sender === expected.sender && sameFile(existing.file, expected.file)) return;
    if (existing) await this.forget(expected.transferId);
    if (expected.file.filesize > MAX_SMALL_FILE_BYTES) {
      replaceFile(this.#path(expected.transferId, EXPECTED_SUFFIX), this.#serialise(expected));
      return;
    }
    this.#smallFiles.set(expected.transferId, { ...expected, since: now });
  }

  /** Returns the owner of a transfer; undefined if no such transfer is expected. */
  owner(transferId: string): string | undefined {
    return this.find(transferId)?.owner;
  }

  /**
   * Opens a transfer that this process owns; returns undefined if another does. Throws PIW_UNKNOWN_TRANSFER
   * if no such transfer is expected from that sender.
   */
  openIncoming(transferId: string, sender: string): IncomingFile | undefined {
    const expected = this.find(transferId);
    if (expected?.sender !== sender) {
      throw new PiwError('PIW_UNKNOWN_TRANSFER', `no transfer ${transferId} is expected from ${sender}`);
    }
    if (expected.owner !== this.#instanceId) return undefined;
    const { filesize } = expected.file;
    if (filesize <= MAX_SMALL_FILE_BYTES) return new IncomingFile(expected);
    return withDiskErrors(this.#folder, () =>
      IncomingFile.open(expected, this.#loadRanges(transferId), {
        part: this.partPath(transferId),
        notes: this.#path(transferId, RANGES_SUFFIX),
      }),
    );
  }

  /**
   * Takes a transfer over from an owner that is gone; of several processes that try at once, one succeeds.
   */
  async takeOver(transferId: string, from: string): Promise<void> {
    const lock = this.#path(transferId, TAKEOVER_SUFFIX);
    await withDiskErrors(lock, async () => {
      try {
        await writeFile(lock, '', { flag: 'wx' });
      } catch (error) {
        if (codeOf(error) !== 'EEXIST') throw error;
        // A process that was killed during a takeover left this behind; the sender retries.
        if ((await ageMs(lock, Date.now())) > TAKEOVER_TIMEOUT_MS) await rm(lock, { force: true });
        return;
      }
      try {
        const expected = this.find(transferId);
        if (expected?.owner !== from) return;
        // Replaced atomically, so that the record exists at every moment.
        const path = this.#path(transferId, EXPECTED_SUFFIX);
        moveIntoPlace(await writeTemporarySynced(path, this.#serialise(expected)), path);
      } finally {
        await rm(lock, { force: true });
      }
    });
  }

  /** Returns whether a transfer of that id is expected. */
  isExpected(transferId: string): boolean {
    return this.find(transferId) !== undefined;
  }

  /** Ends a transfer and removes what has arrived. */
  async forget(transferId: string): Promise<void> {
    if (this.#smallFiles.delete(transferId)) return;
    await this.discardReceived(transferId);
    await rm(this.#path(transferId, EXPECTED_SUFFIX), { force: true });
  }

  /** Removes transfers that have not been written to for `ms` milliseconds; returns their senders and ids. */
  async sweep(ms: number, now: number): Promise<readonly { transferId: string; sender: string }[]> {
    return await withDiskErrors(this.#folder, () => this.#sweep(ms, now));
  }

  async #sweep(ms: number, now: number): Promise<readonly { transferId: string; sender: string }[]> {
    const swept: { transferId: string; sender: string }[] = [];
    for (const [transferId, { sender, since }] of this.#smallFiles) {
      if (now - since <= ms) continue;
      this.#smallFiles.delete(transferId);
      swept.push({ transferId, sender });
    }
    for (const name of await readdir(this.#folder)) {
      const path = join(this.#folder, name);
      if (!name.endsWith(EXPECTED_SUFFIX)) {
        const isOrphan = !(await exists(path.replace(/\.[^.]+$/, EXPECTED_SUFFIX)));
        if (isOrphan && (await ageMs(path, now)) > ms) await rm(path, { force: true });
        continue;
      }
      const transferId = name.slice(0, -EXPECTED_SUFFIX.length);
      const lastWritten = (await exists(this.partPath(transferId))) ? this.partPath(transferId) : path;
      if ((await ageMs(lastWritten, now)) <= ms) continue;
      const expected = this.find(transferId);
      await this.forget(transferId);
      swept.push({ transferId, sender: expected?.sender ?? '' });
    }
    return swept;
  }

  /** Returns the state of an expected file: as this process has received it, or else as it is on the disk. */
  stateOf({ transferId, file: { filesize } }: ExpectedFile, incoming?: IncomingFile): TransferState {
    const hasPart = existsSync(this.partPath(transferId));
    if (incoming && (incoming.contents || hasPart)) return incoming.state;
    return new TransferState(filesize, hasPart ? this.#loadRanges(transferId) : []);
  }

  /** Removes all that has arrived of a transfer. */
  async discardReceived(transferId: string): Promise<void> {
    for (const ending of [RANGES_SUFFIX, PART_SUFFIX]) {
      const path = this.#path(transferId, ending);
      if (existsSync(path)) await rm(path, { force: true });
    }
  }

  /** Returns the record of an expected file that this process owns. */
  #serialise({ sender, file }: ExpectedFile): Buffer {
    return Buffer.from(JSON.stringify([sender, fileToMessage(file), this.#instanceId]));
  }

  /** Returns an expected file and its owner. */
  find(transferId: string): (ExpectedFile & { readonly owner: string }) | undefined {
    const small = this.#smallFiles.get(transferId);
    if (small) return { ...small, owner: this.#instanceId };
    const text = readIfExists(this.#path(transferId, EXPECTED_SUFFIX));
    if (text === undefined) return undefined;
    try {
      const [sender, tuple, owner] = JSON.parse(text) as [string, ReturnType<typeof fileToMessage>, string];
      return { transferId, sender, file: fileFromMessage(tuple), owner };
    } catch {
      // It was truncated when its process or machine crashed.
      return undefined;
    }
  }

  /** Loads the recorded ranges. The last line may be truncated by a crash of its process. */
  #loadRanges(transferId: string): readonly ByteRange[] {
    const text = readIfExists(this.#path(transferId, RANGES_SUFFIX)) ?? '';
    const lines = text.slice(0, text.lastIndexOf('\n') + 1).split('\n');
    return lines
      .filter((line) => line !== '')
      .map((line): ByteRange => {
        const [offset = NaN, length = NaN] = line.split(' ').map(Number);
        return { start: offset, end: offset + length };
      });
  }

  /** Returns the path of the bytes of a large file. */
  partPath(transferId: string): string {
    return this.#path(transferId, PART_SUFFIX);
  }

  #path(transferId: string, ending: string): string {
    if (!/^[A-Za-z0-9_-]{1,64}$/.test(transferId)) {
      throw new PiwError('PIW_UNKNOWN_TRANSFER', 'a transfer id consists of letters, digits, - and _');
    }
    return join(this.#folder, transferId + ending);
  }
}

function sameFile(a: FileState, b: FileState): boolean {
  return a.filename === b.filename && a.filehash === b.filehash && a.filesize === b.filesize;
}

/** Reads a small file. Returns undefined, at the cost of one stat, if it does not exist: most transfers have none. */
function readIfExists(path: string): string | undefined {
  if (!existsSync(path)) return undefined;
  return withDiskErrors(path, () => undefinedIfMissing(() => readFileSync(path, 'utf8')));
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}

/** Returns the milliseconds since a file was written to; 0 if another process has just removed it. */
async function ageMs(path: string, now: number): Promise<number> {
  return now - ((await undefinedIfMissing(() => stat(path)))?.mtimeMs ?? now);
}
