import { setTimeout as sleep } from 'node:timers/promises';
import { Batcher } from '../../src/concurrency/batcher.js';
import { ProtocolClient } from '../../src/actor/client.js';
import type { Bus } from '../../src/bus/bus.js';
import { PiwError, isDiskError, errorMessage } from '../../src/errors.js';
import type { Log } from '../../src/log.js';
import { status } from '../../src/protocols/control.js';
import { fileSystem } from '../../src/protocols/file-juggler.js';
import { oracle } from '../../src/protocols/oracle.js';
import { type FileOrigin } from '../../src/model/project.js';
import { type LoggedBuild } from '../../src/model/build.js';
import type { Answer } from '../../src/protocols/protocol.js';
import type { BuiltMessage } from '../../src/protocols/slave-driver.js';
import { secretary } from '../../src/protocols/web.js';
import type { BuildState, FileTransfer } from './build-state.js';
import type { LeaseState } from '../../src/model/lease-state.js';
import { failureClass } from '../../src/failures/classes.js';
import { fileToMessage } from '../../src/model/file-state.js';
import type { SlaveState } from './slave-state.js';
import { fileRefusal } from '../../src/wheels/accept.js';

type VerifyAnswer = Answer<typeof fileSystem.verbs, 'VERIFY'>;
type ExistingFileStanding = NonNullable<Extract<VerifyAnswer, { verb: 'TAKEN' }>['standing']>;
type LogBuildOutcome = readonly [outcome: string, buildId: number | null, againS: number | null];

/** How often one file may arrive damaged. After that its build goes back to the queue: no package is to blame for it. */
const MAX_DAMAGED_TRANSFERS = 5;
/** Seconds after which a slave asks again whether its file can be taken. */
const RETRY_AFTER_S = 5;
/**
 * A published file that nothing lists is nobody's after so many seconds: whoever publishes or claims one has it logged
 * sooner, however slow the database.
 */
const CLAIM_EXPIRY_S = 300;
const MAX_LEFTOVERS = 1000;
/** The bytes of all files of one build, in those of the largest single one. */
const BUILD_SIZE_FACTOR = 2;
/** How long it is waited until a file is listed that another slave has just handed in, and how often it is looked. */
const LISTING_POLL = { attempts: 50, intervalMs: 200 };

/** Of one result, and not of the database or the way to it: the others of its batch are logged without it. */
const SINGLE_RESULT_ERRORS: ReadonlySet<string> = new Set([
  ...['PIW_FILE_EXISTS', 'PIW_DATABASE_FAULT', 'PIW_REFUSED', 'PIW_MESSAGE_INVALID', 'PIW_INTERNAL'],
  ...['PIW_TOO_LARGE', 'PIW_UNKNOWN_TARGET'],
]);

export interface ResultRecorderOptions {
  readonly bus: Bus;
  readonly log: Log;
  /** Bytes of one wheel. */
  readonly maxWheelBytes: number;
  /** All that are known. */
  readonly slaves: Iterable<SlaveState>;
  /** Does something in the background. */
  readonly track: (what: () => Promise<void>) => Promise<void>;
}

/**
 * What became of a file that a slave has sent:
 *
 *   taken     it is in its place, or another's serves for it
 *   damaged   bytes were lost or changed on the way; the slave is asked for it again
 *   given up  it has arrived damaged too often; the build goes back to the queue, and no failure is recorded
 *   refused   the file itself will never do; the build is a failure, of class wrong-wheel
 *   wait      the farm's own disk is in the way; what has arrived stays, and the slave asks again
 */
export type FileVerdict =
  | { readonly is: 'taken' | 'damaged' }
  | { readonly is: 'given up' | 'refused'; readonly reason: string }
  | { readonly is: 'wait'; readonly reason: string; readonly seconds: number };

/** A file that was published for a build that nobody wants any more, and since when, by the monotonic clock. */
interface Leftover {
  readonly package: string;
  readonly filename: string;
  readonly stamp: string;
  readonly since: number;
}

const TAKEN: FileVerdict = { is: 'taken' };

/** What slaves have built: held against their leases, handed to the File Juggler, and logged. */
export class ResultRecorder {
  readonly #options: ResultRecorderOptions;
  readonly #database: ProtocolClient<typeof oracle.verbs>;
  readonly #files: ProtocolClient<typeof fileSystem.verbs>;
  readonly #secretary: ProtocolClient<typeof secretary.verbs>;
  readonly #status: ProtocolClient<typeof status.verbs>;
  readonly #logBatch: Batcher<LoggedBuild, LogBuildOutcome>;
  readonly #leftovers: Leftover[] = [];

  constructor(options: ResultRecorderOptions) {
    const { bus } = options;
    const askOptions = { timeoutMs: 10_000, patienceMs: 30_000 };
    this.#options = options;
    this.#database = new ProtocolClient(bus, oracle, undefined, askOptions);
    this.#files = new ProtocolClient(bus, fileSystem, undefined, askOptions);
    this.#secretary = new ProtocolClient(bus, secretary, undefined, { timeoutMs: 3000, patienceMs: 15_000 });
    this.#status = new ProtocolClient(bus, status);
    this.#logBatch = new Batcher<LoggedBuild, LogBuildOutcome>({
      run: async (results) => (await this.#database.request('LOGBUILD', { builds: [...results] })).outcomes,
      isItemError: (error) => error instanceof PiwError && SINGLE_RESULT_ERRORS.has(error.code),
      maxItems: 64,
      size: (result) => result.output.length,
      maxBytes: 8 * 1024 * 1024,
      // Nobody notices so short a wait, and a transaction for each build costs several times as much as one for
      // ten. More at once, or for more, would keep a core from whoever asks for the next build.
      ...{ maxInFlight: 1, delayMs: 20 },
    });
  }

  /** Why the files of a build can't be what it was to yield; undefined: they can. */
  refusalReason({ files, lease }: BuildState, platform: string): string | undefined {
    const { maxWheelBytes } = this.#options;
    for (const { file } of files) {
      const why = fileRefusal(file, lease, platform, maxWheelBytes);
      if (why !== undefined) return why;
    }
    if (new Set(files.map(({ file }) => file.filename)).size < files.length)
      return 'it announces one file twice';
    const bytes = files.reduce((sum, { file }) => sum + file.filesize, 0);
    const maxBytes = maxWheelBytes * BUILD_SIZE_FACTOR;
    return bytes > maxBytes
      ? `its files have ${String(bytes)} bytes, more than ${String(maxBytes)}`
      : undefined;
  }

  /** Announces the files of a build to the File Juggler. Returns what to wait for if its disk is in the way. */
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

  /** Has a file verified and published that a slave has sent. */
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
        this.#options.log.warning(`slave ${String(slave.slaveId)}, ${filename}: ${verdict.reason}`);
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

  /** The File Juggler's verdict. Trouble with its disk that it raises, when it takes a transfer over, is LATER too. */
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
   * Logs a result, which ends its lease. Returns whether it says something about the slave: a success or a failure
   * for good, which was logged just now.
   */
  async log(slave: SlaveState, built: BuiltMessage, files: readonly FileTransfer[]): Promise<boolean> {
    const { log, track } = this.#options;
    const { lease } = slave;
    if (!lease) return false;
    const { package: name, version, abi, platform } = lease;
    const { status: worked, duration_s } = built;
    const failure = worked ? null : failureClass(built.failure_class);
    const served = files.filter((one) => one.served).map(({ file }) => file.filename);
    const [outcome, buildId, again_s] = await this.#logBatch.add({
      ...{ lease: lease.lease, slave_id: slave.slaveId, package: name, version, abi, platform },
      ...{ status: worked, failure_class: failure, duration_s },
      output: `${built.output}${servedNote(served)}`,
      details: built.details,
      // What pip is told of a file is what the file itself says.
      files: files.flatMap(({ file, published: filename, metadataSha256, requiresPython, coreMetadata }) => {
        if (filename === undefined || metadataSha256 === undefined) return [];
        const publishedFile = { ...file, filename, requires_python: requiresPython, transferred: true };
        return [
          [fileToMessage(publishedFile), metadataSha256, coreMetadata] satisfies LoggedBuild['files'][number],
        ];
      }),
      served,
    });
    log.debug(`slave ${String(slave.slaveId)}: ${name} ${version} is ${outcome}`);
    if (outcome === 'lost') await this.#recordLeftovers(slave, files);
    if (outcome !== 'logged' || buildId === null) return false;
    await this.#status.publish('BUILD', {
      ...{ slave_id: slave.slaveId, package: name, version, abi },
      ...{ status: worked, failure_class: failure, duration_s, again_s },
      reason: worked ? null : built.details.reason,
    });
    const isFinal = again_s === null;
    if (files.length === 0) return isFinal;
    // The pages are noted with the build itself; this only makes a new file's page come sooner.
    void track(async () => {
      await this.#secretary.request('PKG', { package: name }).catch((error: unknown) => {
        log.info(`the Secretary will find ${name} later: ${errorMessage(error)}`);
      });
    });
    return isFinal;
  }

  /**
   * Decides about a file whose name another has. One that is listed stays, and serves this build too: two have built the
   * same wheel at once, for two targets, and the first one counts. But where `tags` are given, one that was built for
   * the same target has been built again, and the slave's gets one: it is asked for again (PIW_UNKNOWN_TRANSFER). One
   * that is not listed yet may be about to be, by another slave, an import or another master's Slave Driver: it is waited
   * for. Only one that nobody has claimed for CLAIM_S was left behind, and makes room.
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
      // Before the question: whoever has it no more by now has had it listed.
      const publishedByOther = this.#otherSlaveHas(slave, ({ published }) => published === filename);
      const { origin } = await this.#database.request('FILEORIGIN', { filename });
      if (origin) {
        if (!allowBuildTag || !isRebuildOf(slave.lease, origin)) {
          transfer.served = true;
          await this.#forget(transfer);
          return TAKEN;
        }
        slave.rebuiltFilenames.add(filename);
        this.#options.log.info(`${path} was built again; it gets a build tag`);
        slave.build = undefined;
        throw new PiwError('PIW_UNKNOWN_TRANSFER', `${filename} is to be sent again`);
      }
      if (!publishedByOther) break;
      // It will be listed any moment, unless that one has lost its lease.
      await sleep(LISTING_POLL.intervalMs);
    }
    // One that a lost build of ours has left behind is nobody's at once: with this stamp nobody has claimed it since.
    const isLeftover = this.#leftovers.some(
      (left) => left.filename === filename && left.stamp === standing?.stamp,
    );
    if (standing && (isLeftover || standing.age_s >= CLAIM_EXPIRY_S)) {
      this.#options.log.warning(`${path} is listed nowhere; it is removed for a new one`);
      const { stamp } = standing;
      await this.#files.request('REMOVE', { package: build.lease.package, filename, stamp });
      return await this.verify(slave, build, transfer);
    }
    const why = `${path} was published by another build, and is not listed yet`;
    return { is: 'wait', reason: why, seconds: RETRY_AFTER_S };
  }

  /** Where it isn't done now, the File Juggler does it by itself within a day. */
  async #forget({ transferId, file }: FileTransfer): Promise<void> {
    await this.#files.request('FORGET', { transfer_id: transferId }).catch((error: unknown) => {
      this.#options.log.info(`the transfer of ${file.filename} is forgotten later: ${errorMessage(error)}`);
    });
  }

  /**
   * Notes what was published of a build that nobody wants any more. It isn't removed yet: another may have published or
   * claimed the same, and an Oracle that doesn't know a build gives no order to delete its files.
   */
  async #recordLeftovers(slave: SlaveState, files: readonly FileTransfer[]): Promise<void> {
    const { package: name = '', version = '' } = slave.lease ?? {};
    if (files.every(({ published }) => published === undefined)) return;
    // An Oracle that doesn't know the version may be of another database: its word is no order to remove anything.
    const { exists } = await this.#database.request('VEREXISTS', { package: name, version });
    if (!exists) {
      this.#options.log.warning(`files of ${name} ${version} stay: the database does not know that version`);
      return;
    }
    for (const { published, stamp } of files) {
      if (published === undefined || stamp === undefined || this.#leftovers.length >= MAX_LEFTOVERS) continue;
      this.#options.log.warning(
        `${name}/${published} is of a build that is not wanted any more; it goes if nothing lists it within ${String(CLAIM_EXPIRY_S)} s`,
      );
      this.#leftovers.push({ package: name, filename: published, stamp, since: performance.now() });
    }
  }

  /**
   * Removes files that were left behind CLAIM_S ago, unless they are listed by now, or were published or claimed again.
   * What a Slave Driver that ended had noted stays on the disk; piw check reports it.
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

  /** Another slave hands in such a file, and its result is not logged yet. */
  #otherSlaveHas(slave: SlaveState, matches: (its: FileTransfer) => boolean): boolean {
    return [...this.#options.slaves].some(
      (other) => other !== slave && (other.build?.files.some(matches) ?? false),
    );
  }
}

/** What the log says of the files that serve a build and aren't its own. */
const servedNote = (served: readonly string[]): string =>
  served.length === 0 ? '' : `\npiw: published before by another build: ${served.join(', ')}\n`;

/** The file is of an earlier build for the same target. */
function isRebuildOf(lease: LeaseState | undefined, [name, version, abi, platform]: FileOrigin): boolean {
  return (
    lease?.package === name && lease.version === version && lease.abi === abi && lease.platform === platform
  );
}
