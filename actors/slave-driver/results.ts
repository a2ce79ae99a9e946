import { Batcher } from '../../src/concurrency/batcher.js';
import { ProtocolClient } from '../../src/actor/client.js';
import type { Bus } from '../../src/bus/bus.js';
import { PiwError } from '../../src/errors.js';
import type { Log } from '../../src/log.js';
import { status } from '../../src/protocols/control.js';
import type { oracle } from '../../src/protocols/oracle.js';
import type { LoggedBuild } from '../../src/model/build.js';
import type { BuiltMessage } from '../../src/protocols/slave-driver.js';
import type { FileTransfer } from './build-state.js';
import type { Leftovers } from './leftovers.js';
import { failureClass } from '../../src/failures/classes.js';
import { fileToMessage } from '../../src/model/file-state.js';
import type { SlaveState } from './slave-state.js';

type LogBuildOutcome = readonly [outcome: string, buildId: number | null, retryAfterS: number | null];

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
  readonly database: ProtocolClient<typeof oracle.verbs>;
  readonly leftovers: Leftovers;
}

/** Logs the results of builds. */
export class ResultRecorder {
  readonly #options: ResultRecorderOptions;
  readonly #status: ProtocolClient<typeof status.verbs>;
  readonly #logBatch: Batcher<LoggedBuild, LogBuildOutcome>;

  constructor(options: ResultRecorderOptions) {
    const { bus, database } = options;
    this.#options = options;
    this.#status = new ProtocolClient(bus, status);
    this.#logBatch = new Batcher<LoggedBuild, LogBuildOutcome>({
      run: async (results) => (await database.request('LOGBUILD', { builds: [...results] })).outcomes,
      isItemError: (error) => error instanceof PiwError && SINGLE_RESULT_ERRORS.has(error.code),
      maxItems: 64,
      size: (result) => result.output.length,
      maxBytes: 8 * 1024 * 1024,
      // Nobody notices a delay this short, and one transaction per build costs several times as much as one
      // per ten builds. More in flight, or larger batches, would take CPU time from the next grants.
      maxInFlight: 1,
      delayMs: 20,
    });
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
    const [outcome, buildId, retry_after_s] = await this.#logBatch.add({
      lease: lease.lease,
      slave_id: slave.slaveId,
      package: name,
      version,
      abi,
      platform,
      status: worked,
      failure_class: failure,
      duration_s,
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
    log.debug('result logged', {
      slave: slave.slaveId,
      package: name,
      version,
      lease: lease.lease,
      outcome,
    });
    if (outcome === 'lost') await this.#options.leftovers.record(name, version, files);
    if (outcome !== 'logged' || buildId === null) return false;
    await this.#status.publish('BUILD', {
      slave_id: slave.slaveId,
      package: name,
      version,
      abi,
      status: worked,
      failure_class: failure,
      duration_s,
      retry_after_s,
      reason: worked ? null : built.details.reason,
    });
    return retry_after_s === null;
  }
}

/** Returns the note in the build log about the files of other builds that serve this one. */
const servedNote = (served: readonly string[]): string =>
  served.length === 0 ? '' : `\npiw: already published by another build: ${served.join(', ')}\n`;
