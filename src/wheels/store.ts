import { existsSync, mkdirSync, unlinkSync } from 'node:fs';
import { rm, statfs, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { PiwError, isDiskError, hasCode } from '../errors.js';
import type { CoreMetadata } from '../model/fields.js';
import type { FileState } from '../model/file-state.js';
import type { IncomingFile } from '../transfer/incoming-file.js';
import { TransferStaging } from '../transfer/staging.js';
import { takeName, type PublishedHistory, type TagPolicy } from './build-tag.js';
import { moveIntoPlace, writeTemporarySynced } from '../files/atomic.js';
import { makeFolders, syncFolder, syncPath, withDiskErrors } from '../files/disk.js';
import { reserveFile, stampOf, removeIfUnchanged, type FileStamp } from './published.js';
import { hashFile, readWheel } from './wheel.js';
import { formatQuantity } from '../units.js';

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

/**
 * The wheels under the output path.
 *
 * Only verify() makes a file visible, by a hard link, which fails if the name exists: a published file never
 * changes. A rebuilt wheel gets a build tag, if the policy allows it.
 */
export class WheelStore {
  readonly #outputPath: string;
  /** The files in transit, in `.transfers`, a folder that no web server reads. */
  readonly staging: TransferStaging;
  readonly #tagPolicy: TagPolicy;

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
    this.staging = new TransferStaging(join(outputPath, '.transfers'), instanceId);
    this.#tagPolicy = tagPolicy;
  }

  /** Creates the folders. Throws as diskError() does, like all methods here. */
  async setUp(): Promise<void> {
    withDiskErrors(this.#outputPath, () => {
      makeFolders(join(this.#outputPath, 'simple'));
    });
    await this.staging.setUp();
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
   * If its name is taken, what has arrived is kept until it is forgotten: the name may become free. `incoming` is
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
    const expected = this.staging.find(transferId);
    if (!expected) throw new PiwError('PIW_UNKNOWN_TRANSFER', `no transfer ${transferId} is expected`);
    const { file } = expected;
    const part = this.staging.partPath(transferId);
    try {
      await incoming?.waitForSync();
    } catch (error) {
      if (!isDiskError(error)) throw error;
      await this.staging.discardReceived(transferId);
      return { verb: 'AGAIN', reason: `bytes of ${file.filename} were lost: ${error.message}` };
    }
    const state = this.staging.stateOf(expected, incoming);
    if (!state.done) {
      const missing = file.filesize - state.received;
      return {
        verb: 'AGAIN',
        reason: `${formatQuantity(missing, 'byte')} of ${file.filename} ${missing === 1 ? 'is' : 'are'} missing`,
      };
    }
    if (file.filesize > 0 && (incoming?.sha256 ?? (await digest(part))) !== file.filehash) {
      await this.staging.discardReceived(transferId);
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
      await this.staging.forget(transferId);
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
        await this.staging.forget(transferId);
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
   * reserved it since. Returns DONE also if the file does not exist.
   */
  async remove(packageName: string, filename: string, stamp: string): Promise<RemovalOutcome> {
    const target = this.pathOf(packageName, filename);
    return (await withDiskErrors(target, () => removeIfUnchanged(target, stamp))) ? 'DONE' : 'KEPT';
  }

  /** Returns the stamp of a published file; undefined if the file does not exist. */
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
}

const digest = async (path: string): Promise<string> => (await hashFile(path)).sha256;

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
