import { closeSync, constants, existsSync, mkdirSync, openSync, readFileSync, unlinkSync } from 'node:fs';
import { access, readdir, rm, stat, statfs, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { PiwError, isDiskError, hasCode } from '../errors.js';
import type { CoreMetadata } from '../model/fields.js';
import { fileFromMessage, fileToMessage, type FileState } from '../model/file-state.js';
import type { ByteRange } from '../transfer/byte-ranges.js';
import { MAX_SMALL_FILE_BYTES } from '../model/file-state.js';
import { TransferState } from '../transfer/transfer-state.js';
import { IncomingFile, type ExpectedFile } from '../transfer/incoming-file.js';
import { takeName, type PublishedHistory, type TagPolicy } from './build-tag.js';
import { moveIntoPlace, replaceFile, writeTemporarySynced } from '../files/atomic.js';
import {
  codeOf,
  makeFolders,
  syncFolder,
  syncPath,
  undefinedIfMissing,
  withDiskErrors,
} from '../files/disk.js';
import { reserveFile, stampOf, removeIfUnchanged, type FileStamp } from './published.js';
import { hashFile, readWheel } from './wheel.js';

export type TransferVerdict =
  | {
      readonly verb: 'VERIFIED';
      readonly filename: string;
      readonly metadata_sha256: string;
      readonly requires_python: string | null;
      readonly core_metadata: CoreMetadata;
      /** The stamp of the published file: see published.ts. */
      readonly stamp: string;
    }
  | { readonly verb: 'AGAIN'; readonly reason: string }
  | { readonly verb: 'LATER'; readonly code: string; readonly reason: string }
  /**
   * `file_stamp` is that of the file that has the name; null if that is not the reason, or the file no longer
   * exists.
   */
  | { readonly verb: 'TAKEN'; readonly reason: string; readonly file_stamp: FileStamp | null }
  | {
      readonly verb: 'REFUSED';
      readonly code: string;
      readonly reason: string;
      readonly file_stamp: FileStamp | null;
    };

/** Whether a published file was removed, or kept because somebody has published or reserved it since. */
type RemovalOutcome = 'DONE' | 'KEPT';

const EXPECTED_SUFFIX = '.json';
const PART_SUFFIX = '.part';
const RANGES_SUFFIX = '.ranges';
/** The lock file of a takeover, and the milliseconds after which it is stale. */
const TAKEOVER_SUFFIX = '.taking';
const TAKEOVER_TIMEOUT_MS = 10_000;

/**
 * The wheels under the output path, and those in transit.
 *
 * A file in transit is three files in `.transfers`, a folder that no web server reads: what is expected, from
 * whom and by which owner; its bytes so far; and which ranges of them have been written (one line each, after
 * the bytes). One process owns it at a time, and only that one writes to it; any other process can take it
 * over when the owner is gone, and continues where that one stopped. A small file is kept in memory until it
 * is complete: creating and removing several files for each is what a file system is slowest at (ext4 looks
 * at every inode that was freed within the last minute before it allocates another), and it is quickly sent
 * again.
 *
 * Only verify() makes a file visible, by a hard link, which fails if the name exists: a published file never
 * changes. A rebuilt wheel gets a build tag, if the policy allows it.
 */
export class WheelStore {
  readonly #outputPath: string;
  readonly #transfersPath: string;
  readonly #instanceId: string;
  readonly #tagPolicy: TagPolicy;
  /** The expected small files. */
  readonly #smallFiles = new Map<string, ExpectedFile & { readonly since: number }>();

  /**
   * `instanceId` identifies this process among those that use the same folder. `tagPolicy` says when a
   * rebuilt wheel may get a build tag.
   */
  constructor(
    outputPath: string,
    instanceId: string,
    tagPolicy: TagPolicy = { published: false, removed: false },
  ) {
    this.#outputPath = outputPath;
    this.#transfersPath = join(outputPath, '.transfers');
    this.#instanceId = instanceId;
    this.#tagPolicy = tagPolicy;
  }

  /** Creates the folders. Throws as diskError() does, like all methods here. */
  async setUp(): Promise<void> {
    await withDiskErrors(this.#outputPath, async () => {
      makeFolders(join(this.#outputPath, 'simple'));
      makeFolders(this.#transfersPath, 0o700);
      await access(this.#transfersPath, constants.W_OK);
    });
  }

  /**
   * Records an expected file, which this process owns from now on. Repeating the call changes nothing; a
   * different file under the same id starts over. The record isn't synced: if it is lost in a crash, the
   * sender's retry creates it again.
   */
  async expect(expected: ExpectedFile, now = Date.now()): Promise<void> {
    const existing = this.#loadExpected(expected.transferId);
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
    return this.#loadExpected(transferId)?.owner;
  }

  /**
   * Opens a transfer that this process owns; returns undefined if another does. Throws PIW_UNKNOWN_TRANSFER
   * if no such transfer is expected from that sender.
   */
  openIncoming(transferId: string, sender: string): IncomingFile | undefined {
    const expected = this.#loadExpected(transferId);
    if (expected?.sender !== sender) {
      throw new PiwError('PIW_UNKNOWN_TRANSFER', `no transfer ${transferId} is expected from ${sender}`);
    }
    if (expected.owner !== this.#instanceId) return undefined;
    const { filesize } = expected.file;
    if (filesize <= MAX_SMALL_FILE_BYTES) return new IncomingFile(expected, new TransferState(filesize));
    return withDiskErrors(this.#outputPath, () => {
      const state = new TransferState(filesize, this.#loadRanges(transferId));
      const part = openSync(this.#path(transferId, PART_SUFFIX), constants.O_RDWR | constants.O_CREAT, 0o644);
      try {
        const notes = openSync(this.#path(transferId, RANGES_SUFFIX), 'a', 0o644);
        return new IncomingFile(expected, state, { part, notes });
      } catch (error) {
        closeSync(part);
        throw error;
      }
    });
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
        const expected = this.#loadExpected(transferId);
        if (expected?.owner !== from) return;
        // Replaced atomically, so that the record exists at every moment.
        const path = this.#path(transferId, EXPECTED_SUFFIX);
        moveIntoPlace(await writeTemporarySynced(path, this.#serialise(expected)), path);
      } finally {
        await rm(lock, { force: true });
      }
    });
  }

  /**
   * Verifies what has arrived, and publishes it under `simple/<package>/`: the wheel, then its metadata. The
   * verdicts:
   *
   *   VERIFIED  the file is published
   *   AGAIN     bytes are missing or wrong; if wrong, what has arrived is discarded
   *   REFUSED   it isn't a wheel, or its name is taken
   *   TAKEN     its name is taken, and it would get a build tag if the caller said that it was `rebuilt`
   *   LATER     the disk is full or failing; what has arrived is kept, and the same call succeeds once the
   *             disk is well again
   *
   * If its name is taken, what has arrived is kept until forget(): the name may become free. `incoming` is
   * the file as this process received it; without it, or if it has no digest, the file is read again.
   */
  async verify(
    transferId: string,
    packageName: string,
    incoming?: IncomingFile,
    rebuilt = false,
    past: PublishedHistory = [],
  ): Promise<TransferVerdict> {
    try {
      return await withDiskErrors(this.#outputPath, () =>
        this.#verify(transferId, packageName, incoming, rebuilt, past),
      );
    } catch (error) {
      if (!isDiskError(error)) throw error;
      return { verb: 'LATER', code: error.code, reason: error.message };
    }
  }

  async #verify(
    transferId: string,
    packageName: string,
    incoming: IncomingFile | undefined,
    rebuilt: boolean,
    past: PublishedHistory,
  ): Promise<TransferVerdict> {
    const expected = this.#loadExpected(transferId);
    if (!expected) throw new PiwError('PIW_UNKNOWN_TRANSFER', `no transfer ${transferId} is expected`);
    const { file } = expected;
    const part = this.#path(transferId, PART_SUFFIX);
    try {
      await incoming?.waitForSync();
    } catch (error) {
      if (!isDiskError(error)) throw error;
      await this.#discardReceived(transferId);
      return { verb: 'AGAIN', reason: `bytes of ${file.filename} were lost: ${error.message}` };
    }
    const state =
      incoming?.contents || (incoming && existsSync(part))
        ? incoming.state
        : this.#savedState(transferId, file);
    if (!state.done) {
      const missing = file.filesize - state.received;
      return { verb: 'AGAIN', reason: `${String(missing)} bytes of ${file.filename} are missing` };
    }
    if (file.filesize > 0 && (incoming?.sha256 ?? (await digest(part))) !== file.filehash) {
      await this.#discardReceived(transferId);
      return {
        verb: 'AGAIN',
        reason: `the SHA-256 of ${file.filename} differs from the announced one`,
      };
    }
    try {
      if (file.filesize === 0) throw new PiwError('PIW_BAD_WHEEL', `${file.filename} is empty`);
      const wheel = await readWheel(incoming?.contents ?? part, { filename: file.filename });
      const target = this.pathOf(packageName, file.filename);
      const { filename, stamp } = await withDiskErrors(target, () =>
        this.#publish(
          incoming?.contents ?? part,
          target,
          file,
          wheel.metadata,
          { ...this.#tagPolicy, published: rebuilt && this.#tagPolicy.published },
          past,
        ),
      );
      await this.forget(transferId);
      return {
        verb: 'VERIFIED',
        filename,
        metadata_sha256: wheel.metadataSha256,
        requires_python: wheel.requiresPython,
        core_metadata: wheel.coreMetadata,
        stamp,
      };
    } catch (error) {
      if (!hasCode(error, 'PIW_BAD_WHEEL', 'PIW_FILE_EXISTS', 'PIW_NAME_SPENT')) throw error;
      const { code, message } = error;
      if (code !== 'PIW_FILE_EXISTS') {
        await this.forget(transferId);
        return { verb: 'REFUSED', code, reason: message, file_stamp: null };
      }
      const fileStamp = this.fileStamp(packageName, file.filename) ?? null;
      if (this.#tagPolicy.published && !rebuilt)
        return { verb: 'TAKEN', reason: message, file_stamp: fileStamp };
      return { verb: 'REFUSED', code, reason: message, file_stamp: fileStamp };
    }
  }

  /**
   * Returns the path of a published file. Both names come from validated messages and contain no path. Throws
   * PIW_FILE_REFUSED.
   */
  pathOf(packageName: string, filename: string): string {
    if (!/^[a-z0-9][a-z0-9-]*$/.test(packageName) || /^\.|[/\\\0]/.test(filename)) {
      throw new PiwError(
        'PIW_FILE_REFUSED',
        `${packageName}/${filename} is not a valid path of a published file`,
      );
    }
    return join(this.#outputPath, 'simple', packageName, filename);
  }

  /**
   * Removes a published file and its metadata if its stamp is unchanged: not if anybody has published or
   * reserved it since. Returns DONE also if there is none.
   */
  async remove(packageName: string, filename: string, stamp: string): Promise<RemovalOutcome> {
    const target = this.pathOf(packageName, filename);
    return (await withDiskErrors(target, () => removeIfUnchanged(target, stamp))) ? 'DONE' : 'KEPT';
  }

  /** Returns the stamp of a published file; undefined if there is none. */
  fileStamp(packageName: string, filename: string): FileStamp | undefined {
    const target = this.pathOf(packageName, filename);
    return withDiskErrors(target, () => stampOf(target));
  }

  /** Reserves a published file for a build that is not listed yet; returns undefined if it is gone. */
  async reserve(packageName: string, filename: string): Promise<FileStamp | undefined> {
    const target = this.pathOf(packageName, filename);
    return await withDiskErrors(target, () => reserveFile(target));
  }

  /** Returns the total and free bytes of the file system. */
  async diskSpace(): Promise<{ total: number; free: number }> {
    const { bsize, blocks, bavail } = await withDiskErrors(this.#outputPath, () => statfs(this.#outputPath));
    return { total: bsize * blocks, free: bsize * bavail };
  }

  /** Returns whether a transfer of that id is expected. */
  isExpected(transferId: string): boolean {
    return this.#loadExpected(transferId) !== undefined;
  }

  /** Ends a transfer and removes what has arrived. */
  async forget(transferId: string): Promise<void> {
    if (this.#smallFiles.delete(transferId)) return;
    await this.#discardReceived(transferId);
    await rm(this.#path(transferId, EXPECTED_SUFFIX), { force: true });
  }

  /** Removes transfers that have not been written to for `ms` milliseconds; returns their senders and ids. */
  async sweep(ms: number, now: number): Promise<readonly { transferId: string; sender: string }[]> {
    return await withDiskErrors(this.#transfersPath, () => this.#sweep(ms, now));
  }

  async #sweep(ms: number, now: number): Promise<readonly { transferId: string; sender: string }[]> {
    const swept: { transferId: string; sender: string }[] = [];
    for (const [transferId, { sender, since }] of this.#smallFiles) {
      if (now - since <= ms) continue;
      this.#smallFiles.delete(transferId);
      swept.push({ transferId, sender });
    }
    for (const name of await readdir(this.#transfersPath)) {
      const path = join(this.#transfersPath, name);
      if (!name.endsWith(EXPECTED_SUFFIX)) {
        const isOrphan = !(await exists(path.replace(/\.[^.]+$/, EXPECTED_SUFFIX)));
        if (isOrphan && (await ageMs(path, now)) > ms) await rm(path, { force: true });
        continue;
      }
      const transferId = name.slice(0, -EXPECTED_SUFFIX.length);
      const lastWritten = (await exists(this.#path(transferId, PART_SUFFIX)))
        ? this.#path(transferId, PART_SUFFIX)
        : path;
      if ((await ageMs(lastWritten, now)) <= ms) continue;
      const expected = this.#loadExpected(transferId);
      await this.forget(transferId);
      swept.push({ transferId, sender: expected?.sender ?? '' });
    }
    return swept;
  }

  /**
   * Publishes a wheel and its metadata. Both files are synced before either is visible, and both names before
   * this returns. Returns the wheel's filename and stamp.
   */
  async #publish(
    contents: string | Buffer,
    target: string,
    file: FileState,
    metadata: Buffer,
    tagPolicy: TagPolicy,
    past: PublishedHistory,
  ): Promise<{ filename: string; stamp: string }> {
    const folder = dirname(target);
    const createdFolder = existsSync(folder) ? undefined : mkdirSync(folder, { recursive: true });
    const [metadataTemporary, wheelTemporary] = await bothOrUndo(
      writeTemporarySynced(`${target}.metadata`, metadata),
      typeof contents === 'string'
        ? syncPath(contents).then(() => contents)
        : writeTemporarySynced(target, contents),
      (path) => {
        if (path !== contents) unlinkSync(path);
      },
    );
    let filename: string;
    try {
      // Its age starts now.
      if (wheelTemporary === contents) await utimes(wheelTemporary, new Date(), new Date());
      filename = await takeName(wheelTemporary, folder, file, tagPolicy, past);
    } catch (error) {
      await rm(metadataTemporary, { force: true });
      throw error;
    } finally {
      if (wheelTemporary !== contents) unlinkSync(wheelTemporary);
    }
    moveIntoPlace(metadataTemporary, join(folder, `${filename}.metadata`));
    await syncFolder(folder);
    if (createdFolder !== undefined) await syncFolder(dirname(folder));
    return { filename, stamp: stampOf(join(folder, filename))?.stamp ?? '' };
  }

  /** Returns the saved state of the bytes on the disk; an empty one if the bytes are gone. */
  #savedState(transferId: string, { filesize }: FileState): TransferState {
    const hasPart = existsSync(this.#path(transferId, PART_SUFFIX));
    return new TransferState(filesize, hasPart ? this.#loadRanges(transferId) : []);
  }

  /** Removes all that has arrived of a transfer. */
  async #discardReceived(transferId: string): Promise<void> {
    for (const ending of [RANGES_SUFFIX, PART_SUFFIX]) {
      const path = this.#path(transferId, ending);
      if (existsSync(path)) await rm(path, { force: true });
    }
  }

  /** Returns the record of an expected file that this process owns. */
  #serialise({ sender, file }: ExpectedFile): Buffer {
    return Buffer.from(JSON.stringify([sender, fileToMessage(file), this.#instanceId]));
  }

  #loadExpected(transferId: string): (ExpectedFile & { readonly owner: string }) | undefined {
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

  #path(transferId: string, ending: string): string {
    if (!/^[A-Za-z0-9_-]{1,64}$/.test(transferId)) {
      throw new PiwError('PIW_UNKNOWN_TRANSFER', 'a transfer id consists of letters, digits, - and _');
    }
    return join(this.#transfersPath, transferId + ending);
  }
}

function sameFile(a: FileState, b: FileState): boolean {
  return a.filename === b.filename && a.filehash === b.filehash && a.filesize === b.filesize;
}

const digest = async (path: string): Promise<string> => (await hashFile(path)).sha256;

/** Reads a small file; returns undefined if there is none, as for most transfers: so it does not try to open one. */
function readIfExists(path: string): string | undefined {
  if (!existsSync(path)) return undefined;
  return withDiskErrors(path, () => undefinedIfMissing(() => readFileSync(path, 'utf8')));
}

/** Returns the results of both; if one fails, `undo` removes what the other has created. */
async function bothOrUndo(
  first: Promise<string>,
  second: Promise<string>,
  undo: (path: string) => void,
): Promise<readonly [string, string]> {
  const results = await Promise.allSettled([first, second]);
  const [a, b] = results;
  if (a.status === 'fulfilled' && b.status === 'fulfilled') return [a.value, b.value];
  for (const result of results) if (result.status === 'fulfilled') undo(result.value);
  throw a.status === 'rejected' ? a.reason : b.status === 'rejected' ? b.reason : undefined;
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
