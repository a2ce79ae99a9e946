import { setTimeout as sleep } from 'node:timers/promises';
import { Batch } from '../../src/actor/batch.js';
import { Client } from '../../src/actor/client.js';
import type { Bus } from '../../src/bus/bus.js';
import { PiwError, reason } from '../../src/errors.js';
import type { Log } from '../../src/log.js';
import { status } from '../../src/protocols/control.js';
import { fileSystem } from '../../src/protocols/file-juggler.js';
import { oracle, type FileOrigin, type LoggedBuild } from '../../src/protocols/oracle.js';
import type { Built } from '../../src/protocols/slave-driver.js';
import { secretary } from '../../src/protocols/web.js';
import type { BuildState, FileTransfer, LeaseState } from '../../src/states/build-state.js';
import { failureClass } from '../../src/states/failure.js';
import { fileToMessage } from '../../src/states/file-state.js';
import type { SlaveState } from '../../src/states/slave-state.js';
import { refuseFile } from '../../src/wheels/accept.js';

type Outcome = readonly [outcome: string, buildId: number | null, againS: number | null];

/** How often one file is asked for before its build counts as failed. */
const MAX_TRIES = 3;
/** The bytes of all files of one build, in those of the largest single one. */
const FILES = 2;
/** How long it is waited until a file is listed that another slave has just handed in, and how often it is looked. */
const LISTED = { tries: 50, pauseMs: 200 };

/** Of one result, and not of the database or the way to it: the others of its batch are logged without it. */
const OF_ONE_RESULT: ReadonlySet<string> = new Set([
  ...['PIW_FILE_EXISTS', 'PIW_DATABASE_FAULT', 'PIW_REFUSED', 'PIW_MESSAGE_INVALID', 'PIW_INTERNAL'],
  ...['PIW_TOO_LARGE', 'PIW_UNKNOWN_TARGET'],
]);

export interface ResultsOptions {
  readonly bus: Bus;
  readonly log: Log;
  /** Bytes of one wheel. */
  readonly maxFile: number;
  /** All that are known. */
  readonly slaves: Iterable<SlaveState>;
  /** Does something in the background. */
  readonly track: (what: () => Promise<void>) => Promise<void>;
}

/** What slaves have built: held against their leases, handed to the File Juggler, and logged. */
export class Results {
  readonly #options: ResultsOptions;
  readonly #database: Client<typeof oracle.verbs>;
  readonly #files: Client<typeof fileSystem.verbs>;
  readonly #secretary: Client<typeof secretary.verbs>;
  readonly #status: Client<typeof status.verbs>;
  readonly #logged: Batch<LoggedBuild, Outcome>;

  constructor(options: ResultsOptions) {
    const { bus } = options;
    const patient = { timeoutMs: 10_000, patienceMs: 30_000 };
    this.#options = options;
    this.#database = new Client(bus, oracle, undefined, patient);
    this.#files = new Client(bus, fileSystem, undefined, patient);
    this.#secretary = new Client(bus, secretary, undefined, { timeoutMs: 3000, patienceMs: 15_000 });
    this.#status = new Client(bus, status);
    this.#logged = new Batch<LoggedBuild, Outcome>({
      run: async (results) => (await this.#database.ask('LOGBUILD', { builds: [...results] })).outcomes,
      isOfItem: (error) => error instanceof PiwError && OF_ONE_RESULT.has(error.code),
      maxItems: 64,
      size: (result) => result.output.length,
      maxBytes: 8 * 1024 * 1024,
      // Nobody notices so short a wait, and a transaction for each build costs several times as much as one for
      // ten. More at once, or for more, would keep a core from whoever asks for the next build.
      ...{ maxInFlight: 1, delayMs: 20 },
    });
  }

  /** Why the files of a build can't be what it was to yield; undefined: they can. */
  refusal({ files, lease }: BuildState, platform: string): string | undefined {
    const { maxFile } = this.#options;
    for (const { file } of files) {
      const why = refuseFile(file, lease, platform, maxFile);
      if (why !== undefined) return why;
    }
    if (new Set(files.map(({ file }) => file.filename)).size < files.length)
      return 'it announces one file twice';
    const bytes = files.reduce((sum, { file }) => sum + file.filesize, 0);
    const most = maxFile * FILES;
    return bytes > most ? `its files have ${String(bytes)} bytes, more than ${String(most)}` : undefined;
  }

  /** Announces the files of a build to the File Juggler. */
  async expect({ user }: SlaveState, { files }: BuildState): Promise<void> {
    for (const transfer of files) {
      const { transfer_id } = await this.#files.ask('EXPECT', {
        transfer_id: transfer.transferId,
        sender: user,
        file_state: fileToMessage({ ...transfer.file, transferred: false }),
      });
      transfer.transferId = transfer_id;
    }
  }

  /**
   * Has a file verified and published that a slave has sent. Gives why it will never do; undefined: it is in its
   * place, or is to be sent again.
   */
  async verify(slave: SlaveState, build: BuildState, transfer: FileTransfer): Promise<string | undefined> {
    const { filename } = transfer.file;
    const { files: past } = await this.#database.ask('PUBLISHED', { filename });
    const verdict = await this.#files.ask('VERIFY', {
      transfer_id: transfer.transferId,
      package: build.lease.package,
      rebuilt: slave.rebuilt.has(filename),
      past,
    });
    switch (verdict.verb) {
      case 'VERIFIED':
        transfer.published = verdict.filename;
        transfer.metadataSha256 = verdict.metadata_sha256;
        transfer.requiresPython = verdict.requires_python;
        transfer.coreMetadata = verdict.core_metadata;
        return undefined;
      case 'AGAIN':
        this.#options.log.warning(`slave ${String(slave.slaveId)}, ${filename}: ${verdict.reason}`);
        return transfer.tries >= MAX_TRIES ? verdict.reason : undefined;
      case 'REFUSED':
        if (verdict.code !== 'PIW_FILE_EXISTS') return verdict.reason;
        transfer.served = await this.#serves(slave, filename);
        return transfer.served ? undefined : verdict.reason;
      case 'TAKEN':
        transfer.served = await this.#serves(slave, filename, true);
        return transfer.served ? undefined : verdict.reason;
    }
  }

  /**
   * Logs a result, which ends its lease. Returns whether it says something about the slave: a success or a failure
   * for good, which was logged just now.
   */
  async log(slave: SlaveState, built: Built, files: readonly FileTransfer[]): Promise<boolean> {
    const { log, track } = this.#options;
    const { lease } = slave;
    if (!lease) return false;
    const { package: name, version, abi, platform } = lease;
    const { status: worked, duration_s } = built;
    const failure = worked ? null : failureClass(built.failure_class);
    const served = files.filter((one) => one.served).map(({ file }) => file.filename);
    const [outcome, buildId, again_s] = await this.#logged.add({
      ...{ lease: lease.lease, slave_id: slave.slaveId, package: name, version, abi, platform },
      ...{ status: worked, failure_class: failure, duration_s },
      output: `${built.output}${said(served)}`,
      details: built.details,
      // What pip is told of a file is what the file itself says.
      files: files.flatMap(({ file, published: filename, metadataSha256, requiresPython, coreMetadata }) => {
        if (filename === undefined || metadataSha256 === undefined) return [];
        const its = { ...file, filename, requires_python: requiresPython, transferred: true };
        return [[fileToMessage(its), metadataSha256, coreMetadata] satisfies LoggedBuild['files'][number]];
      }),
      served,
    });
    log.debug(`slave ${String(slave.slaveId)}: ${name} ${version} is ${outcome}`);
    if (outcome === 'lost') await this.#takeBack(slave, files);
    if (outcome !== 'logged' || buildId === null) return false;
    await this.#status.publish('BUILD', {
      ...{ slave_id: slave.slaveId, package: name, version, abi },
      ...{ status: worked, failure_class: failure, duration_s, again_s },
      reason: worked ? null : built.details.reason,
    });
    const counts = again_s === null;
    if (files.length === 0) return counts;
    // The pages are noted with the build itself; this only makes a new file's page come sooner.
    void track(async () => {
      await this.#secretary.ask('PKG', { package: name }).catch((error: unknown) => {
        log.info(`the Secretary will find ${name} later: ${reason(error)}`);
      });
    });
    return counts;
  }

  /**
   * A file of this name is there already. One that is listed stays, and serves this build too: two have built the
   * same wheel at once, for two targets, and the first one counts. But where `tags` are given, one that was built for
   * the same target has been built again, and the slave's gets one. One that nothing lists was left by a removal, or
   * by a result that came to no end: it makes room for the slave's. In these two cases that is asked for again:
   * raises PIW_UNKNOWN_TRANSFER. False: room was made before, and here is another one.
   */
  async #serves(slave: SlaveState, filename: string, tags = false): Promise<boolean> {
    const { package: name = '' } = slave.lease ?? {};
    for (let tries = 1; tries <= LISTED.tries; tries += 1) {
      // Before the question: whoever has it no more by now has had it listed.
      const others = this.#anotherHas(slave, ({ published }) => published === filename);
      const { origin } = await this.#database.ask('FILEORIGIN', { filename });
      if (origin) {
        if (!tags || !isOf(slave.lease, origin)) return true;
        slave.rebuilt.add(filename);
        this.#options.log.info(`${name}/${filename} was built again; it gets a build tag`);
        break;
      }
      if (!others) {
        if (slave.madeRoom.has(filename)) return false;
        slave.madeRoom.add(filename);
        this.#options.log.warning(`${name}/${filename} is listed nowhere; it is removed for a new one`);
        await this.#files.ask('REMOVE', { package: name, filename });
        break;
      }
      // It will be listed any moment, unless that one has lost its lease.
      await sleep(LISTED.pauseMs);
    }
    slave.build = undefined;
    throw new PiwError('PIW_UNKNOWN_TRANSFER', `${filename} is to be sent again`);
  }

  /** Removes what was published of a build that nobody wants any more, unless it is listed or another's too. */
  async #takeBack(slave: SlaveState, files: readonly FileTransfer[]): Promise<void> {
    const { package: name = '', version = '' } = slave.lease ?? {};
    if (files.every(({ published }) => published === undefined)) return;
    // An Oracle that doesn't know the version may be of another database: its word is no order to remove anything.
    const { exists } = await this.#database.ask('VEREXISTS', { package: name, version });
    if (!exists) {
      this.#options.log.warning(`files of ${name} ${version} stay: the database does not know that version`);
      return;
    }
    for (const { published } of files) {
      if (published === undefined) continue;
      // Whoever is about to hand it in finds it there, and has it listed.
      if (this.#anotherHas(slave, (its) => [its.published, its.file.filename].includes(published))) continue;
      const { origin } = await this.#database.ask('FILEORIGIN', { filename: published });
      if (origin) continue;
      this.#options.log.warning(
        `${name}/${published} is of a build that is not wanted any more; it is removed`,
      );
      await this.#files.ask('REMOVE', { package: name, filename: published });
    }
  }

  /** Another slave hands in such a file, and its result is not logged yet. */
  #anotherHas(slave: SlaveState, such: (its: FileTransfer) => boolean): boolean {
    return [...this.#options.slaves].some(
      (other) => other !== slave && (other.build?.files.some(such) ?? false),
    );
  }
}

/** What the log says of the files that serve a build and aren't its own. */
const said = (served: readonly string[]): string =>
  served.length === 0 ? '' : `\npiw: published before by another build: ${served.join(', ')}\n`;

/** The file is of an earlier build for the same target. */
function isOf(lease: LeaseState | undefined, [name, version, abi, platform]: FileOrigin): boolean {
  return (
    lease?.package === name && lease.version === version && lease.abi === abi && lease.platform === platform
  );
}
