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
import { PiwError, errorMessage } from '../errors.js';
import { userBucketName } from '../protocols/file-juggler.js';
import { wake } from '../protocols/slave-driver.js';

/** A slave's user on NATS: what it is called in its subjects, and how the servers know it. */
export interface SlaveUser {
  readonly name: string;
  readonly publicKey: string;
  readonly label: string | null;
  /** When it was added: ISO 8601, UTC. */
  readonly added: string;
}

/** Names that are, or look like, somebody else's on NATS. */
const RESERVED: ReadonlySet<string> = new Set(
  'admin administrator all farm importer internal leaf master monitor nats oracle piw piwheels root server slaves sys system'.split(
    ' ',
  ),
);

/** A name that a slave can have, which is a token of subjects. Raises PIW_USAGE. */
export function checkSlaveName(typed: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$/.test(typed)) {
    throw new PiwError(
      'PIW_USAGE',
      `${JSON.stringify(typed.slice(0, 60))} is no name for a slave; it has letters, digits, - and _, and up to 40 of them`,
    );
  }
  if (RESERVED.has(typed.toLowerCase()))
    throw new PiwError('PIW_USAGE', `${typed} can't be the name of a slave; it stands for something else`);
  return typed;
}

/**
 * All that a slave may do on NATS, in the terms of the servers' configuration: ask on subjects of its own,
 * store chunks in a bucket of its own, and hear its own answers and its own WAKE.
 */
export function natsPermissions(prefix: string, name: string): string {
  const list = (subjects: readonly string[]) => `[${subjects.map((one) => JSON.stringify(one)).join(', ')}]`;
  const bucket = userBucketName(prefix, name);
  const publish = [`${prefix}.slave.${name}.>`, `$O.${bucket}.C.>`, `$O.${bucket}.M.>`];
  const subscribe = [`_INBOX_${name}.>`, `${prefix}.${wake.name}.${name}.>`];
  return `{ publish: { allow: ${list(publish)} }, subscribe: { allow: ${list(subscribe)} }, allow_responses: false }`;
}

const HEAD = `# The slaves' users. Written by piw slaves add and piw slaves remove; the configuration of each nats-server
# includes it in the account SLAVES. It holds public keys and no secret.
users: [
`;
const TAIL = ']\n';
const USER_LINE = /^ {2}\{ nkey: "?(U[A-Z2-7]{55})"?, .* \} # (\{.*\})$/;

/** The lines of the file for these users. */
export function formatUsers(users: readonly SlaveUser[], prefix: string): string {
  const lines = users.map(({ name, publicKey, label, added }) => {
    const about = JSON.stringify({ name, added, ...(label === null ? {} : { label }) });
    return `  { nkey: ${publicKey}, permissions: ${natsPermissions(prefix, name)} } # ${about}\n`;
  });
  return `${HEAD}${lines.join('')}${TAIL}`;
}

/** The users in such a file. Raises PIW_CONFIG for a line that piw has not written. */
export function parseUsers(contents: string, file: string): readonly SlaveUser[] {
  return contents.split(/\r?\n/).flatMap((line, i): SlaveUser[] => {
    const trimmed = line.trim();
    if (trimmed === '' || trimmed.startsWith('#') || /^users: \[$|^\]$|^users: \[\s*\]$/.test(trimmed))
      return [];
    const [, publicKey = '', metadataJson = ''] = USER_LINE.exec(line) ?? [];
    const metadata = publicKey === '' ? undefined : parseJsonObject(metadataJson);
    if (typeof metadata?.['name'] !== 'string' || typeof metadata['added'] !== 'string') {
      throw new PiwError('PIW_CONFIG', `${file}, line ${String(i + 1)}: piw slaves has not written this`);
    }
    const label = typeof metadata['label'] === 'string' ? metadata['label'] : null;
    return [{ name: metadata['name'], publicKey, label, added: metadata['added'] }];
  });
}

function parseJsonObject(text: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

/** The file with the slaves' users, which the nats-servers' configuration includes. */
export class SlaveUsers {
  readonly file: string;
  readonly #prefix: string;

  constructor(file: string, prefix: string) {
    this.file = file;
    this.#prefix = prefix;
  }

  /** Raises PIW_NO_NATS_USERS where there is no such file. */
  list(): readonly SlaveUser[] {
    let contents: string;
    try {
      contents = readFileSync(this.file, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        throw new PiwError('PIW_NOT_WRITABLE', `${this.file} can't be read: ${errorMessage(error)}`, {
          cause: error,
        });
      throw new PiwError(
        'PIW_NO_NATS_USERS',
        `there is no ${this.file} for a nats-server to read the slaves from`,
      );
    }
    return parseUsers(contents, this.file);
  }

  /** Raises PIW_SLAVE_EXISTS where there is one of that name, however its letters are written. */
  add(user: SlaveUser): void {
    this.#update((users) => {
      const same = users.find(({ name }) => name.toLowerCase() === user.name.toLowerCase());
      if (same) {
        throw new PiwError('PIW_SLAVE_EXISTS', `there is a slave ${same.name} already, added ${same.added}`);
      }
      return [...users, user];
    });
  }

  /** Raises PIW_UNKNOWN_SLAVE. */
  remove(name: string): void {
    this.#update((users) => {
      const rest = users.filter((user) => user.name !== name);
      if (rest.length === users.length)
        throw new PiwError('PIW_UNKNOWN_SLAVE', `${this.file} has no slave ${name}`);
      return rest;
    });
  }

  /** One at a time: whoever has made the new file may put it in the place of the old one. */
  #update(transform: (users: readonly SlaveUser[]) => readonly SlaveUser[]): void {
    this.list();
    const newFile = `${this.file}.new`;
    let handle: number;
    try {
      handle = openSync(newFile, 'wx', 0o644);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') {
        throw new PiwError(
          'PIW_IN_USE',
          `another one is changing ${this.file}; if none is, remove ${newFile}`,
        );
      }
      throw notWritable(this.file, error);
    }
    try {
      const users = transform(this.list());
      const { uid, gid } = statSync(this.file);
      writeSync(handle, formatUsers(users, this.#prefix));
      fsyncSync(handle);
      // The servers' own account may be the file's, and root the one who changes it.
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
