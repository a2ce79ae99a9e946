import { setTimeout as sleep } from 'node:timers/promises';
import { Batcher } from '../../src/concurrency/batcher.js';
import { ProtocolClient } from '../../src/actor/client.js';
import type { Bus } from '../../src/bus/bus.js';
import { PiwError, isDiskError, errorMessage } from '../../src/errors.js';
import type { Log } from '../../src/log.js';
import { status } from '../../src/protocols/control.js';
import { fileSystem } from '../../src/protocols/file-juggler.js';
import { oracle } from '../../src/protocols/oracle.js';
import type { FileOrigin } from '../../src/model/project.js';
import type { LoggedBuild } from '../../src/model/build.js';
import type { Answer } from '../../src/protocols/protocol.js';
import type { BuiltMessage } from '../../src/protocols/slave-driver.js';
import type { BuildState, FileTransfer } from './build-state.js';
import type { LeaseState } from '../../src/model/lease-state.js';
import { failureClass } from '../../src/failures/classes.js';
import { fileToMessage } from '../../src/model/file-state.js';
import type { SlaveState } from './slave-state.js';
import { fileRefusal } from '../../src/wheels/accept.js';

type VerifyAnswer = Answer<typeof fileSystem.verbs, 'VERIFY'>;
type ExistingFileStanding = NonNullable<Extract<VerifyAnswer, { verb: 'TAKEN' }>['standing']>;
type LogBuildOutcome = readonly [outcome: string, buildId: number | null, againS: number | null];

/** Times that one file may arrive damaged. After that the build is requeued: the package is not to blame. */
const MAX_DAMAGED_TRANSFERS = 5;
/** Seconds after which a slave asks again whether its file can be taken. */
const RETRY_AFTER_S = 5;
/**
 * A published file that no build lists is abandoned after this many seconds: whoever publishes or claims a
 * file has it logged sooner, however slow the database is.
 */
const CLAIM_EXPIRY_S = 300;
const MAX_LEFTOVERS = 1000;
/** The limit for all files of one build together, in multiples of the limit for a single file. */
const BUILD_SIZE_FACTOR = 2;
/**
 * How often to check, and at what interval, whether a file that another slave has just published is listed.
 */
const LISTING_POLL = { attempts: 50, intervalMs: 200 };

/**
 * Errors caused by a single result, not by the database or the connection: the rest of the batch is logged
 * without it.
 */
const SINGLE_RESULT_ERRORS: ReadonlySet<string> = new Set([
  ...['PIW_FILE_EXISTS', 'PIW_DATABASE_FAULT', 'PIW_REFUSED', 'PIW_MESSAGE_INVALID', 'PIW_INTERNAL'],
  ...['PIW_TOO_LARGE', 'PIW_UNKNOWN_TARGET'],
]);

interface ResultRecorderOptions {
  readonly bus: Bus;
  readonly log: Log;
  /** Maximum bytes of one wheel. */
  readonly maxWheelBytes: number;
  /** All slaves that have said HELLO. */
  readonly slaves: Iterable<SlaveState>;
}

/**
 * The outcome of a file that a slave has sent:
 *
 *   taken     it is published, or an identical file of another build stands in for it
 *   damaged   bytes were lost or changed in transit; the slave is asked to send it again
 *   given up  it has arrived damaged too often; the build is requeued, and no failure is recorded
 *   refused   the file itself is unacceptable; the build fails with class wrong-wheel
 *   wait      the farm's own disk has a problem; what has arrived is kept, and the slave asks again
 */
export type FileVerdict =
  | { readonly is: 'taken' | 'damaged' }
  | { readonly is: 'given up' | 'refused'; readonly reason: string }
  | { readonly is: 'wait'; readonly reason: string; readonly seconds: number };

/** A file published for a build whose lease was lost, and since when (monotonic clock, milliseconds). */
interface Leftover {
  readonly package: string;
  readonly filename: string;
  readonly stamp: string;
  readonly since: number;
}

const TAKEN: FileVerdict = { is: 'taken' };

/**
 * Checks the results of slaves against their leases, hands the files to the File Juggler, and logs the
 * builds.
 */
export class ResultRecorder {
  readonly #options: ResultRecorderOptions;
  readonly #database: ProtocolClient<typeof oracle.verbs>;
  readonly #files: ProtocolClient<typeof fileSystem.verbs>;
  readonly #status: ProtocolClient<typeof status.verbs>;
  readonly #logBatch: Batcher<LoggedBuild, LogBuildOutcome>;
  readonly #leftovers: Leftover[] = [];

  constructor(options: ResultRecorderOptions) {
    const { bus } = options;
    const askOptions = { timeoutMs: 10_000, patienceMs: 30_000 };
    this.#options = options;
    this.#database = new ProtocolClient(bus, oracle, undefined, askOptions);
    this.#files = new ProtocolClient(bus, fileSystem, undefined, askOptions);
    this.#status = new ProtocolClient(bus, status);
    this.#logBatch = new Batcher<LoggedBuild, LogBuildOutcome>({
      run: async (results) => (await this.#database.request('LOGBUILD', { builds: [...results] })).outcomes,
      isItemError: (error) => error instanceof PiwError && SINGLE_RESULT_ERRORS.has(error.code),
      maxItems: 64,
      size: (result) => result.output.length,
      maxBytes: 8 * 1024 * 1024,
      // Nobody notices a delay this short, and one transaction per build costs several times as much as one
      // per ten builds. More in flight, or larger batches, would take CPU time from the next grants.
      ...{ maxInFlight: 1, delayMs: 20 },
    });
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
    return bytes > maxBytes
      ? `its files total ${String(bytes)} bytes, above the limit of ${String(maxBytes)}`
      : undefined;
  }

  /** Announces the files of a build to the File Juggler. Returns `wait` if its disk has a problem. */
  async expect({ user }: SlaveState, { files }: BuildState): Promise<FileVerdict> {
    try {
      for (const transfer of files) {
        const { transfer_id } = await this.#files.request('EXPECT', {
          transfer_id: transfer.transferId,
          sender: user,
          file_state: fileToMessage({ ...transfer.file, transferred: false }),
        });
        transfer.transferId = transfer_id;
      }
      return TAKEN;
    } catch (error) {
      if (!isDiskError(error)) throw error;
      return { is: 'wait', reason: error.message, seconds: RETRY_AFTER_S };
    }
  }

  /** Has the File Juggler verify and publish a file that a slave has sent. */
  async verify(slave: SlaveState, build: BuildState, transfer: FileTransfer): Promise<FileVerdict> {
    const { filename } = transfer.file;
    const verdict = await this.#requestVerdict(slave, build, transfer);
    switch (verdict.verb) {
      case 'VERIFIED':
        transfer.published = verdict.filename;
        transfer.stamp = verdict.stamp;
        transfer.metadataSha256 = verdict.metadata_sha256;
        transfer.requiresPython = verdict.requires_python;
        transfer.coreMetadata = verdict.core_metadata;
        return TAKEN;
      case 'AGAIN':
        this.#options.log.warning(
          `file arrived damaged slave=${String(slave.slaveId)} file=${filename}: ${verdict.reason}`,
        );
        transfer.damaged += 1;
        return transfer.damaged < MAX_DAMAGED_TRANSFERS
          ? { is: 'damaged' }
          : { is: 'given up', reason: verdict.reason };
      case 'LATER':
        return { is: 'wait', reason: verdict.reason, seconds: RETRY_AFTER_S };
      case 'REFUSED':
        if (verdict.code !== 'PIW_FILE_EXISTS') return { is: 'refused', reason: verdict.reason };
        return await this.#resolveNameConflict(slave, build, transfer, verdict.standing);
      case 'TAKEN':
        return await this.#resolveNameConflict(slave, build, transfer, verdict.standing, true);
    }
  }

  /**
   * Returns the File Juggler's verdict. A disk error that it throws when it takes a transfer over becomes
   * LATER, too.
   */
  async #requestVerdict(
    slave: SlaveState,
    build: BuildState,
    { file, transferId }: FileTransfer,
  ): Promise<VerifyAnswer> {
    const { files: past } = await this.#database.request('PUBLISHED', { filename: file.filename });
    try {
      return await this.#files.request('VERIFY', {
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
   * Logs a result, which ends its lease. Returns whether it says something about the slave: it was logged
   * just now, as a success or as a final failure.
   */
  async log(slave: SlaveState, built: BuiltMessage, files: readonly FileTransfer[]): Promise<boolean> {
    const { log } = this.#options;
    const { lease } = slave;
    if (!lease) return false;
    const { package: name, version, abi, platform } = lease;
    const { status: worked, duration_s } = built;
    const failure = worked ? null : failureClass(built.failure_class);
    const served = files.filter((transfer) => transfer.served).map(({ file }) => file.filename);
    const [outcome, buildId, again_s] = await this.#logBatch.add({
      ...{ lease: lease.lease, slave_id: slave.slaveId, package: name, version, abi, platform },
      ...{ status: worked, failure_class: failure, duration_s },
      output: `${built.output}${servedNote(served)}`,
      details: built.details,
      // What pip reads about a file comes from the file itself, not from the slave.
      files: files.flatMap(({ file, published: filename, metadataSha256, requiresPython, coreMetadata }) => {
        if (filename === undefined || metadataSha256 === undefined) return [];
        const publishedFile = { ...file, filename, requires_python: requiresPython, transferred: true };
        return [
          [fileToMessage(publishedFile), metadataSha256, coreMetadata] satisfies LoggedBuild['files'][number],
        ];
      }),
      served,
    });
    log.debug(
      `result logged slave=${String(slave.slaveId)} package=${name} version=${version} outcome=${outcome}`,
    );
    if (outcome === 'lost') await this.#recordLeftovers(slave, files);
    if (outcome !== 'logged' || buildId === null) return false;
    await this.#status.publish('BUILD', {
      ...{ slave_id: slave.slaveId, package: name, version, abi },
      ...{ status: worked, failure_class: failure, duration_s, again_s },
      reason: worked ? null : built.details.reason,
    });
    return again_s === null;
  }

  /**
   * Resolves a conflict with a file of the same name.
   *
   * A listed file stays, and serves this build too: two slaves have built the same wheel at once for two
   * targets, and the first one counts. With `allowBuildTag`, a listed file that was built for the same target
   * is being rebuilt: the slave's file gets a build tag, and the slave is asked to send it again
   * (PIW_UNKNOWN_TRANSFER).
   *
   * A file that is not listed yet may be listed soon by another slave, an import or another master's Slave
   * Driver, so this waits for it. A file that nobody has claimed for `CLAIM_EXPIRY_S` was left behind, and is
   * removed.
   */
  async #resolveNameConflict(
    slave: SlaveState,
    build: BuildState,
    transfer: FileTransfer,
    standing: ExistingFileStanding | null,
    allowBuildTag = false,
  ): Promise<FileVerdict> {
    const { filename } = transfer.file;
    const path = `${build.lease.package}/${filename}`;
    for (let attempt = 1; attempt <= LISTING_POLL.attempts; attempt += 1) {
      // Checked before the query: a slave that has dropped the file since then has had it listed.
      const publishedByOther = this.#otherSlaveHas(slave, ({ published }) => published === filename);
      const { origin } = await this.#database.request('FILEORIGIN', { filename });
      if (origin) {
        if (!allowBuildTag || !isRebuildOf(slave.lease, origin)) {
          transfer.served = true;
          await this.#forget(transfer);
          return TAKEN;
        }
        slave.rebuiltFilenames.add(filename);
        this.#options.log.info(`wheel was rebuilt and gets a build tag file=${path}`);
        slave.build = undefined;
        throw new PiwError('PIW_UNKNOWN_TRANSFER', `send ${filename} again`);
      }
      if (!publishedByOther) break;
      // It will be listed at any moment, unless the other slave has lost its lease.
      await sleep(LISTING_POLL.intervalMs);
    }
    // A file that one of our own lost builds left behind can go at once: an unchanged stamp means that nobody
    // has claimed it since.
    const isLeftover = this.#leftovers.some(
      (leftover) => leftover.filename === filename && leftover.stamp === standing?.stamp,
    );
    if (standing && (isLeftover || standing.age_s >= CLAIM_EXPIRY_S)) {
      this.#options.log.warning(`unlisted file is removed to make room for a new one file=${path}`);
      const { stamp } = standing;
      await this.#files.request('REMOVE', { package: build.lease.package, filename, stamp });
      return await this.verify(slave, build, transfer);
    }
    const reason = `${path} was published by another build, and is not listed yet`;
    return { is: 'wait', reason, seconds: RETRY_AFTER_S };
  }

  /**
   * Has the File Juggler forget a transfer. If that fails, the File Juggler's sweep forgets it within a day.
   */
  async #forget({ transferId, file }: FileTransfer): Promise<void> {
    await this.#files.request('FORGET', { transfer_id: transferId }).catch((error: unknown) => {
      this.#options.log.info(`transfer is forgotten later file=${file.filename}: ${errorMessage(error)}`);
    });
  }

  /**
   * Notes the files published for a build whose lease was lost. They aren't removed yet: another build may
   * have published or claimed the same files, and an Oracle that doesn't know the build can't justify
   * deleting its files.
   */
  async #recordLeftovers(slave: SlaveState, files: readonly FileTransfer[]): Promise<void> {
    const { package: name = '', version = '' } = slave.lease ?? {};
    if (files.every(({ published }) => published === undefined)) return;
    // If the database doesn't know the version, it may be another farm's: its answer is no reason to remove
    // anything.
    const { exists } = await this.#database.request('VEREXISTS', { package: name, version });
    if (!exists) {
      this.#options.log.warning(
        `files of a lost build are kept package=${name} version=${version}: the database does not know the version`,
      );
      return;
    }
    for (const { published, stamp } of files) {
      if (published === undefined || stamp === undefined || this.#leftovers.length >= MAX_LEFTOVERS) continue;
      this.#options.log.warning(
        `file of a lost build is removed unless it is listed within ${String(CLAIM_EXPIRY_S)} s file=${name}/${published}`,
      );
      this.#leftovers.push({ package: name, filename: published, stamp, since: performance.now() });
    }
  }

  /**
   * Removes the files left behind `CLAIM_EXPIRY_S` ago, unless they are listed, published or claimed again by
   * then. What an ended Slave Driver had noted stays on the disk; piw check reports it.
   */
  async removeLeftovers(now = performance.now()): Promise<void> {
    const due = this.#leftovers.filter(({ since }) => since + CLAIM_EXPIRY_S * 1000 <= now);
    for (const leftover of due) {
      const { package: name, filename, stamp } = leftover;
      const { origin } = await this.#database.request('FILEORIGIN', { filename });
      if (!origin) await this.#files.request('REMOVE', { package: name, filename, stamp });
      this.#leftovers.splice(this.#leftovers.indexOf(leftover), 1);
    }
  }

  /** Returns whether another slave is handing in a matching file, and its result is not logged yet. */
  #otherSlaveHas(slave: SlaveState, matches: (transfer: FileTransfer) => boolean): boolean {
    return [...this.#options.slaves].some(
      (other) => other !== slave && (other.build?.files.some(matches) ?? false),
    );
  }
}

/** Returns the note in the build log about the files of other builds that serve this one. */
const servedNote = (served: readonly string[]): string =>
  served.length === 0 ? '' : `\npiw: already published by another build: ${served.join(', ')}\n`;

/** Returns whether the file is from an earlier build for the same target. */
function isRebuildOf(lease: LeaseState | undefined, [name, version, abi, platform]: FileOrigin): boolean {
  return (
    lease?.package === name && lease.version === version && lease.abi === abi && lease.platform === platform
  );
}
