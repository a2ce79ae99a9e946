import type { ProtocolClient } from '../../src/actor/client.js';
import { isDiskError } from '../../src/errors.js';
import type { Log } from '../../src/log.js';
import { fileToMessage } from '../../src/model/file-state.js';
import type { BuildLease } from '../../src/model/lease-state.js';
import type { FileOrigin } from '../../src/model/project.js';
import type { fileJuggler } from '../../src/protocols/file-juggler.js';
import type { oracle } from '../../src/protocols/oracle.js';
import type { Answer } from '../../src/protocols/protocol.js';
import { fileRefusal } from '../../src/wheels/accept.js';
import type { BuildState, FileTransfer } from './build-state.js';
import { RESERVATION_EXPIRY_S, type Leftovers } from './leftovers.js';
import type { SlaveState } from './slave-state.js';

type VerifyAnswer = Answer<typeof fileJuggler.verbs, 'VERIFY'>;
type NameConflict = Extract<VerifyAnswer, { verb: 'REFUSED' | 'TAKEN' }>;

/** How many times one file may arrive damaged before the build is requeued: the package is not to blame. */
const MAX_DAMAGED_TRANSFERS = 5;
/** Seconds after which a slave asks again whether its file can be accepted. */
const RETRY_AFTER_S = 5;
/** The limit for all files of one build together, in multiples of the limit for a single file. */
const BUILD_SIZE_FACTOR = 2;

interface ResultFilesOptions {
  readonly log: Log;
  readonly database: ProtocolClient<typeof oracle.verbs>;
  readonly files: ProtocolClient<typeof fileJuggler.verbs>;
  /** Maximum bytes of one wheel. */
  readonly maxWheelBytes: number;
  /** All slaves that have said HELLO. */
  readonly slaves: Iterable<SlaveState>;
  readonly leftovers: Leftovers;
}

/**
 * The Slave Driver's decision on a file that a slave has sent. A file is `listed` when the database has it for a build.
 *
 *   accepted  it is published, or a file of the same name that another build has published serves this build, too
 *   damaged   bytes were lost or changed in transit; the slave is asked to send it again
 *   rebuilt   an earlier build for the same target has published a file of this name; when the slave has sent the new
 *             one again, that gets a build tag
 *   unlisted  another slave has just published a file of this name, which will be listed at any moment
 *   given up  it has arrived damaged too often; the build is requeued, and no failure is recorded
 *   refused   the file itself is unacceptable; the build fails with class wrong-wheel
 *   wait      the farm's own disk has a problem; what has arrived is kept, and the slave asks again
 */
export type FileVerdict =
  | { readonly is: 'accepted' | 'damaged' | 'rebuilt' | 'unlisted' }
  | { readonly is: 'given up' | 'refused'; readonly reason: string }
  | { readonly is: 'wait'; readonly reason: string; readonly seconds: number };

const ACCEPTED: FileVerdict = { is: 'accepted' };

/**
 * Has the File Juggler receive, verify and publish the files of a build, and resolves conflicts with published files of
 * the same name.
 */
export class ResultFiles {
  readonly #options: ResultFilesOptions;

  constructor(options: ResultFilesOptions) {
    this.#options = options;
  }

  /** Returns why the files of a build are unacceptable for its lease; undefined if they are acceptable. */
  refusalReason({ files, lease }: BuildState, platform: string): string | undefined {
    const { maxWheelBytes } = this.#options;
    for (const { file } of files) {
      const reason = fileRefusal(file, lease, platform, maxWheelBytes);
      if (reason !== undefined) return reason;
    }
    if (new Set(files.map(({ file }) => file.filename)).size < files.length)
      return 'it announces the same file twice';
    const bytes = files.reduce((sum, { file }) => sum + file.filesize, 0);
    const maxBytes = maxWheelBytes * BUILD_SIZE_FACTOR;
    return bytes > maxBytes ? `its files total ${bytes} bytes, above the limit of ${maxBytes}` : undefined;
  }

  /** Announces the files of a build to the File Juggler. Returns `wait` if its disk has a problem, else `accepted`. */
  async expect({ user }: SlaveState, { files }: BuildState): Promise<FileVerdict> {
    try {
      for (const transfer of files) {
        const { transfer_id } = await this.#options.files.request('EXPECT', {
          transfer_id: transfer.transferId,
          sender: user,
          file_state: fileToMessage({ ...transfer.file, transferred: false }),
        });
        transfer.transferId = transfer_id;
      }
      return ACCEPTED;
    } catch (error) {
      if (!isDiskError(error)) throw error;
      return { is: 'wait', reason: error.message, seconds: RETRY_AFTER_S };
    }
  }

  /**
   * Has the File Juggler verify and publish a file that a slave has sent. The verdict is `unlisted` only if the
   * caller `awaitsListing`; it then calls this again.
   */
  async verify(
    slave: SlaveState,
    build: BuildState,
    transfer: FileTransfer,
    awaitsListing: boolean,
  ): Promise<FileVerdict> {
    const { filename } = transfer.file;
    const verdict = await this.#requestVerdict(slave, build, transfer);
    switch (verdict.verb) {
      case 'VERIFIED':
        transfer.published = verdict.filename;
        transfer.stamp = verdict.stamp;
        transfer.metadataSha256 = verdict.metadata_sha256;
        transfer.requiresPython = verdict.requires_python;
        transfer.coreMetadata = verdict.core_metadata;
        return ACCEPTED;
      case 'AGAIN':
        this.#options.log.warning('file arrived damaged', {
          slave: slave.slaveId,
          file: filename,
          reason: verdict.reason,
        });
        transfer.damaged += 1;
        return transfer.damaged < MAX_DAMAGED_TRANSFERS
          ? { is: 'damaged' }
          : { is: 'given up', reason: verdict.reason };
      case 'LATER':
        return { is: 'wait', reason: verdict.reason, seconds: RETRY_AFTER_S };
      case 'REFUSED':
        if (verdict.code !== 'PIW_FILE_EXISTS') return { is: 'refused', reason: verdict.reason };
        return await this.#resolveNameConflict(slave, build, transfer, verdict, awaitsListing);
      case 'TAKEN':
        return await this.#resolveNameConflict(slave, build, transfer, verdict, awaitsListing);
    }
  }

  /**
   * Returns the File Juggler's answer to VERIFY. If it answers with a disk error, which can happen when it takes over a
   * transfer, that becomes LATER.
   */
  async #requestVerdict(
    slave: SlaveState,
    build: BuildState,
    { file, transferId }: FileTransfer,
  ): Promise<VerifyAnswer> {
    const { files: past } = await this.#options.database.request('PUBLISHED', { filename: file.filename });
    try {
      return await this.#options.files.request('VERIFY', {
        transfer_id: transferId,
        package: build.lease.package,
        rebuilt: slave.rebuiltFilenames.has(file.filename),
        past,
      });
    } catch (error) {
      if (!isDiskError(error)) throw error;
      return { verb: 'LATER', code: error.code, reason: error.message };
    }
  }

  /**
   * Resolves a conflict with a file of the same name.
   *
   * A listed file is kept, and serves this build, too: two slaves have built the same wheel at the same time for two
   * targets, and the first one counts. The exception is the answer TAKEN (the name is taken) for a listed file that was
   * built for the same target: then this is a rebuild, and the slave's file gets a build tag once the slave has sent it
   * again.
   *
   * A file that is not listed yet may be listed soon by another slave, an import or another master's Slave Driver, so
   * this build waits for that: a moment if the file is another slave's (`unlisted`), or longer (`wait`). A file that
   * nobody has reserved for `RESERVATION_EXPIRY_S` was left behind, and is removed.
   */
  async #resolveNameConflict(
    slave: SlaveState,
    build: BuildState,
    transfer: FileTransfer,
    { verb, file_stamp: fileStamp }: NameConflict,
    awaitsListing: boolean,
  ): Promise<FileVerdict> {
    const { filename } = transfer.file;
    const { package: name } = build.lease;
    const fields = { slave: slave.slaveId, package: name, file: filename };
    // This is checked before the query: if the other slave's build has been logged since, the query finds the file.
    const publishedByOther = this.#otherSlaveHas(slave, ({ published }) => published === filename);
    const { origin } = await this.#options.database.request('FILEORIGIN', { filename });
    if (origin) {
      if (verb !== 'TAKEN' || !isRebuildOf(build.lease, origin)) {
        transfer.served = true;
        await this.#forget(transfer);
        return ACCEPTED;
      }
      this.#options.log.info('wheel was rebuilt and gets a build tag', fields);
      return { is: 'rebuilt' };
    }
    // The file will be listed at any moment, unless the other slave has lost its lease.
    if (publishedByOther && awaitsListing) return { is: 'unlisted' };
    // A file that this Slave Driver has published for a build that lost its lease can be removed at once: an unchanged
    // stamp means that nobody has reserved it since.
    const mayGo =
      fileStamp &&
      (this.#options.leftovers.includes(filename, fileStamp.stamp) ||
        fileStamp.age_s >= RESERVATION_EXPIRY_S);
    if (mayGo) {
      this.#options.log.warning('unlisted file is removed to make room for a new one', fields);
      const { stamp } = fileStamp;
      await this.#options.files.request('REMOVE', { package: name, filename, stamp });
      return await this.verify(slave, build, transfer, awaitsListing);
    }
    const reason = `${name}/${filename} was published by another build, and is not listed yet`;
    return { is: 'wait', reason, seconds: RETRY_AFTER_S };
  }

  /**
   * Has the File Juggler forget a transfer. If that fails, the File Juggler's own cleanup forgets it within a day.
   */
  async #forget({ transferId, file }: FileTransfer): Promise<void> {
    await this.#options.files.request('FORGET', { transfer_id: transferId }).catch((error: unknown) => {
      this.#options.log.info('transfer is forgotten later', { file: file.filename }, error);
    });
  }

  /** Returns whether another slave is handing in a matching file, and its result is not logged yet. */
  #otherSlaveHas(slave: SlaveState, matches: (transfer: FileTransfer) => boolean): boolean {
    return [...this.#options.slaves].some(
      (other) => other !== slave && (other.build?.files.some(matches) ?? false),
    );
  }
}

/** Returns whether the file's origin is an earlier build of the same package and version for the same target. */
function isRebuildOf(lease: BuildLease, [name, version, abi, platform]: FileOrigin): boolean {
  return (
    lease.package === name && lease.version === version && lease.abi === abi && lease.platform === platform
  );
}
