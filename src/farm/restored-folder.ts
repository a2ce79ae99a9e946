import { basename, dirname, join } from 'node:path';
import type { PiwError } from '../errors.js';
import { DataFolder } from '../servers/data-folder.js';
import { USERS_FILE } from '../servers/nats-server.js';
import { startPostgres, type RunningPostgres } from '../servers/postgres.js';
import { unprivilegedAccount } from '../servers/privileges.js';
import { farmConfigFile } from '../servers/running-farms.js';
import { ensureReachable } from './reachable-folder.js';

interface RestoredFolderOptions {
  readonly dataDir: string;
  readonly log: (line: string) => void;
  readonly signal: AbortSignal;
}

/** The data folder of a farm on one machine, with its PostgreSQL running, while a backup is restored into it. */
export class RestoredFolder {
  readonly #folder: DataFolder;
  readonly #postgres: RunningPostgres;

  private constructor(folder: DataFolder, postgres: RunningPostgres) {
    this.#folder = folder;
    this.#postgres = postgres;
  }

  /** Throws what DataFolder.open() and startPostgres() throw: PIW_IN_USE if the farm is running. */
  static async open({ dataDir, log, signal }: RestoredFolderOptions): Promise<RestoredFolder> {
    const account = unprivilegedAccount();
    const folder = DataFolder.open(ensureReachable(dataDir, account, log), account);
    try {
      const onFailure = (error: PiwError): void => {
        log(error.message);
      };
      return new RestoredFolder(folder, await startPostgres({ folder, log, onFailure, signal }));
    } catch (error) {
      folder.close();
      throw error;
    }
  }

  /** The DSN of the role that creates the tables, and the master's role. */
  get database(): { readonly dsn: string; readonly user: string } {
    return { dsn: this.#postgres.adminDsn, user: this.#postgres.role };
  }

  get outputPath(): string {
    return this.#folder.join('www');
  }

  /**
   * Puts what the next start needs of the former configuration into the folder: the users of slaves elsewhere, and the
   * configuration that says what was watched. `files` are the paths in the backup, `read` returns their contents.
   */
  restoreConfiguration(files: readonly string[], read: (path: string) => string): void {
    const users = files.find((path) => basename(path) === USERS_FILE);
    if (users === undefined) return;
    this.#folder.writeSecret(USERS_FILE, read(users));
    const configFile = basename(farmConfigFile(this.#folder.path));
    const former = join(dirname(users), configFile);
    if (files.includes(former)) this.#folder.writeSecret(configFile, read(former));
  }

  async close(): Promise<void> {
    await this.#postgres.process.stop();
    this.#folder.close();
  }
}
