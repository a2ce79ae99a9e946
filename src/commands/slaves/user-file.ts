import {
  chownSync,
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { PiwError, errorMessage } from '../../errors.js';
import { codeOf } from '../../files/disk.js';
import { formatUsers, parseUsers, type SlaveUser } from '../../servers/slave-users.js';

/** Names that are, or look like, those of other users of NATS. */
const RESERVED: ReadonlySet<string> = new Set(
  'admin administrator all farm importer internal leaf master monitor nats oracle piw piwheels root server slaves sys system'.split(
    ' ',
  ),
);

/** Returns the name if a slave can have it: it becomes a token of subjects. Otherwise throws PIW_USAGE. */
export function checkSlaveName(typed: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$/.test(typed)) {
    throw new PiwError(
      'PIW_USAGE',
      `${JSON.stringify(typed.slice(0, 60))} is not a valid slave name; use up to 40 letters, digits, - and _, and begin with a letter or a digit`,
    );
  }
  if (RESERVED.has(typed.toLowerCase()))
    throw new PiwError('PIW_USAGE', `the slave name ${typed} is reserved; choose another one`);
  return typed;
}

/** The file with the slaves' users, which the configuration of each nats-server includes. */
export class SlaveUsers {
  readonly file: string;
  readonly #prefix: string;

  constructor(file: string, prefix: string) {
    this.file = file;
    this.#prefix = prefix;
  }

  /** Returns the users. Throws PIW_NO_NATS_USERS if the file doesn't exist. */
  list(): readonly SlaveUser[] {
    let contents: string;
    try {
      contents = readFileSync(this.file, 'utf8');
    } catch (error) {
      if (codeOf(error) !== 'ENOENT')
        throw new PiwError('PIW_NOT_WRITABLE', `${this.file} can't be read: ${errorMessage(error)}`, {
          cause: error,
        });
      throw new PiwError(
        'PIW_NO_NATS_USERS',
        `there is no ${this.file}, the file from which nats-server reads the slaves' users`,
      );
    }
    return parseUsers(contents, this.file);
  }

  /** Adds a user. Throws PIW_SLAVE_EXISTS if the name is taken; upper and lower case are the same. */
  add(user: SlaveUser): void {
    this.#update((users) => {
      const existing = users.find(({ name }) => name.toLowerCase() === user.name.toLowerCase());
      if (existing) {
        throw new PiwError(
          'PIW_SLAVE_EXISTS',
          `slave ${existing.name} already exists, added ${existing.added}`,
        );
      }
      return [...users, user];
    });
  }

  /** Removes a user. Throws PIW_UNKNOWN_SLAVE if there is none of that name. */
  remove(name: string): void {
    this.#update((users) => {
      const rest = users.filter((user) => user.name !== name);
      if (rest.length === users.length)
        throw new PiwError('PIW_UNKNOWN_SLAVE', `${this.file} has no slave ${name}`);
      return rest;
    });
  }

  /** Replaces the file. The new file serves as a lock: only the process that created it may rename it into place. */
  #update(transform: (users: readonly SlaveUser[]) => readonly SlaveUser[]): void {
    this.list();
    const newFile = `${this.file}.new`;
    let handle: number;
    try {
      handle = openSync(newFile, 'wx', 0o644);
    } catch (error) {
      if (codeOf(error) === 'EEXIST') {
        throw new PiwError(
          'PIW_IN_USE',
          `another process is changing ${this.file}; if none is, remove ${newFile}`,
        );
      }
      throw notWritable(this.file, error);
    }
    try {
      const users = transform(this.list());
      const { uid, gid } = statSync(this.file);
      writeSync(handle, formatUsers(users, this.#prefix));
      fsyncSync(handle);
      // When root changes the file, it stays the property of the servers' account.
      if (process.getuid?.() === 0) chownSync(newFile, uid, gid);
      renameSync(newFile, this.file);
    } catch (error) {
      rmSync(newFile, { force: true });
      throw error instanceof PiwError ? error : notWritable(this.file, error);
    } finally {
      closeSync(handle);
    }
  }
}

function notWritable(file: string, error: unknown): PiwError {
  return new PiwError('PIW_NOT_WRITABLE', `${file} can't be changed: ${errorMessage(error)}`, {
    cause: error,
  });
}
