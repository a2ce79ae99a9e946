import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { PiwError, errorMessage } from '../errors.js';
import { canAccess, chownTo, type Account } from './privileges.js';
import { makeFolders, undefinedIfMissing } from '../files/disk.js';
import { acquireLock } from './folder-lock.js';

/** The format of the data folder; a folder with another number belongs to another version of piw. */
const FORMAT = 1;
const MARKER_FILE = 'piw-farm.json';
const LOCK = 'piw-farm.lock';

/** Returns the path of the lock of a data folder: the id and start time of the farm that uses it. */
export const lockFile = (path: string): string => join(path, LOCK);

/**
 * The farm's data folder: its servers' data, credentials, logs, and by default its site. Only one farm can use it at
 * a time.
 */
export class DataFolder {
  readonly path: string;
  readonly account: Account | undefined;
  #unlock = (): void => undefined;

  private constructor(path: string, account: Account | undefined) {
    this.path = path;
    this.account = account;
  }

  /**
   * Creates the folder if it is missing, and locks it. Throws PIW_NOT_WRITABLE; PIW_IN_USE if another farm uses it;
   * PIW_DATA_VERSION if its format is another version's; PIW_CONFIG if it contains something else.
   */
  static open(path: string, account: Account | undefined): DataFolder {
    const folder = new DataFolder(path, account);
    try {
      if (!existsSync(path)) {
        makeFolders(dirname(path));
        mkdirSync(path, { mode: 0o755 });
        chownTo(path, account);
      }
    } catch (error) {
      throw new PiwError(
        'PIW_NOT_WRITABLE',
        `the data folder ${path} can't be created: ${errorMessage(error)}`,
        {
          cause: error,
        },
      );
    }
    if (!canAccess(account, 'w', path) || !canAccess(account, 'x', path)) {
      throw new PiwError(
        'PIW_NOT_WRITABLE',
        `${account?.name ?? 'this user'} can't write to the data folder ${path}`,
      );
    }
    folder.#unlock = acquireLock(lockFile(path), {
      folder: `the data folder ${path}`,
      holder: 'another farm',
    });
    try {
      folder.#checkFormat();
    } catch (error) {
      folder.close();
      throw error;
    }
    return folder;
  }

  join(...names: readonly string[]): string {
    return join(this.path, ...names);
  }

  /** Returns the path of a subfolder that belongs to the account, and creates it if it is missing. */
  subfolder(name: string, mode = 0o700): string {
    const path = this.join(name);
    mkdirSync(path, { recursive: true, mode });
    chownTo(path, this.account);
    return path;
  }

  /** Writes a file that only the account can read, and returns its path. */
  writeSecret(name: string, contents: string): string {
    const path = this.join(name);
    rmSync(path, { force: true });
    writeFileSync(path, contents, { mode: 0o600 });
    chownTo(path, this.account);
    return path;
  }

  /** Returns the path of a log that the account can append to. */
  prepareLog(name: string): string {
    const path = join(this.subfolder('logs'), name);
    closeSync(openSync(path, 'a', 0o600));
    chownTo(path, this.account);
    return path;
  }

  /** Returns the contents of a file; undefined if it doesn't exist. */
  read(name: string): string | undefined {
    return undefinedIfMissing(() => readFileSync(this.join(name), 'utf8'));
  }

  /** Unlocks the folder for other farms. */
  close(): void {
    this.#unlock();
  }

  #checkFormat(): void {
    const marker = this.read(MARKER_FILE);
    if (marker === undefined) {
      const others = readdirSync(this.path).filter((name) => !name.startsWith(LOCK));
      if (others.length > 0) {
        throw new PiwError(
          'PIW_CONFIG',
          `the folder ${this.path} contains files that don't belong to a farm; choose another with --data-dir`,
        );
      }
      writeFileSync(this.join(MARKER_FILE), `${JSON.stringify({ format: FORMAT })}\n`);
      chownTo(this.join(MARKER_FILE), this.account);
      return;
    }
    let format: unknown;
    try {
      format = (JSON.parse(marker) as { format?: unknown }).format;
    } catch {
      format = 'unknown';
    }
    if (format !== FORMAT) {
      throw new PiwError(
        'PIW_DATA_VERSION',
        `the data folder ${this.path} has format ${String(format)}; this version of piw uses format ${FORMAT}`,
      );
    }
  }
}
