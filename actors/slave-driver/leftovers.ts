import type { ProtocolClient } from '../../src/actor/client.js';
import type { Clock } from '../../src/concurrency/clock.js';
import type { Log } from '../../src/log.js';
import type { fileJuggler } from '../../src/protocols/file-juggler.js';
import type { oracle } from '../../src/protocols/oracle.js';
import type { FileTransfer } from './build-state.js';

/**
 * A published file that no build lists is abandoned after this many seconds: whoever publishes or reserves a
 * file has it logged sooner, however slow the database is.
 */
export const RESERVATION_EXPIRY_S = 300;
const MAX_LEFTOVERS = 1000;

/** A file published for a build whose lease was lost, and since when (monotonic clock, milliseconds). */
interface Leftover {
  readonly package: string;
  readonly filename: string;
  readonly stamp: string;
  readonly since: number;
}

interface LeftoversOptions {
  readonly log: Log;
  readonly clock: Clock;
  readonly database: ProtocolClient<typeof oracle.verbs>;
  readonly files: ProtocolClient<typeof fileJuggler.verbs>;
}

/**
 * The files that were published for builds whose leases were lost. They are removed after a while: another
 * build may have published or reserved the same files.
 */
export class Leftovers {
  readonly #options: LeftoversOptions;
  readonly #leftovers: Leftover[] = [];

  constructor(options: LeftoversOptions) {
    this.#options = options;
  }

  /** Returns whether a file is a leftover that nobody has published or reserved again since. */
  includes(filename: string, stamp: string): boolean {
    return this.#leftovers.some((leftover) => leftover.filename === filename && leftover.stamp === stamp);
  }

  /**
   * Notes the files published for a build whose lease was lost, unless the database doesn't know the version:
   * then it may be another farm's, and its answer is no reason to remove anything.
   */
  async record(name: string, version: string, files: readonly FileTransfer[]): Promise<void> {
    const { log, clock, database } = this.#options;
    if (files.every(({ published }) => published === undefined)) return;
    const { exists } = await database.request('VEREXISTS', { package: name, version });
    if (!exists) {
      log.warning('files of a lost build are kept: the database does not know the version', {
        package: name,
        version,
      });
      return;
    }
    for (const { published, stamp } of files) {
      if (published === undefined || stamp === undefined || this.#leftovers.length >= MAX_LEFTOVERS) continue;
      log.warning('file of a lost build is removed unless it is listed in time', {
        package: name,
        file: published,
        limit_s: RESERVATION_EXPIRY_S,
      });
      this.#leftovers.push({ package: name, filename: published, stamp, since: clock.monotonicMs() });
    }
  }

  /**
   * Removes the files left behind `RESERVATION_EXPIRY_S` ago, unless they are listed, published or reserved again by
   * then. What an ended Slave Driver had noted stays on the disk; piw check reports it.
   */
  async removeExpired(): Promise<void> {
    const { clock, database, files } = this.#options;
    const newest = clock.monotonicMs() - RESERVATION_EXPIRY_S * 1000;
    for (const leftover of this.#leftovers.filter(({ since }) => since <= newest)) {
      const { package: name, filename, stamp } = leftover;
      const { origin } = await database.request('FILEORIGIN', { filename });
      if (!origin) await files.request('REMOVE', { package: name, filename, stamp });
      this.#leftovers.splice(this.#leftovers.indexOf(leftover), 1);
    }
  }
}
