import {
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { PiwError, reason } from '../errors.js';
import { can, give, type Account } from './privileges.js';
import { makeFolders } from '../wheels/disk.js';
import { runs, startTime } from './process.js';

/** What this version of the farm keeps in its folder; another number is another program's. */
const FORMAT = 1;
const MARK = 'piw-farm.json';
const LOCK = 'piw-farm.lock';

/**
 * The farm's data folder: its servers' data, credentials, logs, and (unless told otherwise) its
 * site. One farm has it at a time.
 */
export class DataFolder {
  readonly path: string;
  readonly account: Account | undefined;
  readonly #lock: string;

  private constructor(path: string, account: Account | undefined) {
    this.path = path;
    this.account = account;
    this.#lock = join(path, LOCK);
  }

  /**
   * Makes the folder if it is missing, and takes it. Raises PIW_NOT_WRITABLE, PIW_IN_USE when another
   * farm has it, PIW_DATA_VERSION for another version's, PIW_CONFIG for a folder of something else.
   */
  static open(path: string, account: Account | undefined): DataFolder {
    const folder = new DataFolder(path, account);
    try {
      if (!existsSync(path)) {
        makeFolders(dirname(path));
        mkdirSync(path, { mode: 0o755 });
        give(path, account);
      }
    } catch (error) {
      throw new PiwError('PIW_NOT_WRITABLE', `the data folder ${path} can't be made: ${reason(error)}`, {
        cause: error,
      });
    }
    if (!can(account, 'w', path) || !can(account, 'x', path)) {
      throw new PiwError(
        'PIW_NOT_WRITABLE',
        `${account?.name ?? 'this user'} can't write to the data folder ${path}`,
      );
    }
    folder.#take();
    try {
      folder.#check();
    } catch (error) {
      folder.close();
      throw error;
    }
    return folder;
  }

  join(...names: readonly string[]): string {
    return join(this.path, ...names);
  }

  /** A folder in here that belongs to the account. */
  sub(name: string, mode = 0o700): string {
    const path = this.join(name);
    mkdirSync(path, { recursive: true, mode });
    give(path, this.account);
    return path;
  }

  /** Writes a file that only the account can read. */
  writeSecret(name: string, contents: string): string {
    const path = this.join(name);
    rmSync(path, { force: true });
    writeFileSync(path, contents, { mode: 0o600 });
    give(path, this.account);
    return path;
  }

  /** The path of a log that the account can add to. */
  writeLog(name: string): string {
    const path = join(this.sub('logs'), name);
    closeSync(openSync(path, 'a', 0o600));
    give(path, this.account);
    return path;
  }

  read(name: string): string | undefined {
    try {
      return readFileSync(this.join(name), 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** Lets another farm have it. */
  close(): void {
    rmSync(this.#lock, { force: true });
  }

  /**
   * The lock is a file with the number and start time of its process. It is written aside and linked
   * into place, so it is never seen without them; one whose process is gone is taken over.
   */
  #take(): void {
    const mine = `${this.#lock}.${String(process.pid)}`;
    const handle = openSync(mine, 'w', 0o600);
    writeSync(handle, `${String(process.pid)} ${startTime(process.pid)}\n`);
    closeSync(handle);
    try {
      for (let tries = 0; tries < 3; tries += 1) {
        try {
          linkSync(mine, this.#lock);
          return;
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
        }
        const holder = runs(this.read(LOCK) ?? '');
        if (holder !== undefined) {
          throw new PiwError(
            'PIW_IN_USE',
            `the data folder ${this.path} is in use by the farm with process number ${String(holder)}`,
          );
        }
        rmSync(this.#lock, { force: true });
      }
      throw new PiwError('PIW_IN_USE', `the data folder ${this.path} is just being taken by another farm`);
    } finally {
      rmSync(mine, { force: true });
    }
  }

  #check(): void {
    const mark = this.read(MARK);
    if (mark === undefined) {
      const others = readdirSync(this.path).filter((name) => !name.startsWith(LOCK));
      if (others.length > 0) {
        throw new PiwError(
          'PIW_CONFIG',
          `the folder ${this.path} holds other things than a farm; choose another with --data-dir`,
        );
      }
      writeFileSync(this.join(MARK), `${JSON.stringify({ format: FORMAT })}\n`);
      give(this.join(MARK), this.account);
      return;
    }
    let format: unknown;
    try {
      format = (JSON.parse(mark) as { format?: unknown }).format;
    } catch {
      format = 'unknown';
    }
    if (format !== FORMAT) {
      throw new PiwError(
        'PIW_DATA_VERSION',
        `the data folder ${this.path} has format ${String(format)}, and this piw has ${String(FORMAT)}`,
      );
    }
  }
}
