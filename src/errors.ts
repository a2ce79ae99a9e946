/**
 * All expected errors in one table: the code, the exit code of a command that ends with it, and what the user can do
 * about it. A code that was printed can be looked up here.
 */
interface ErrorDefinition {
  readonly exit: number;
  readonly advice: string;
}

/** What the exit codes of every command mean. */
export const EXIT_CODE_MEANINGS: Readonly<Record<number, string>> = {
  0: 'success',
  1: 'something was not done, and a message says what',
  2: 'wrong options or configuration',
  3: 'something required is missing on this machine',
  4: 'in use by another process or farm',
  5: 'a server is unreachable',
  6: 'incompatible version',
  70: 'bug in piw',
  130: 'interrupted',
};

export const ERRORS = {
  PIW_USAGE: { exit: 2, advice: 'See --help.' },
  PIW_CONFIG: {
    exit: 2,
    advice: 'Correct the configuration; piw config show says where each value comes from.',
  },
  PIW_BAD_REQUIREMENT: { exit: 2, advice: 'Write it as NAME or NAME==VERSION, for example six==1.16.0.' },
  PIW_WATCH_FILE: {
    exit: 2,
    advice: 'Each line is NAME, NAME==VERSION or a pattern such as zope.*; # begins a comment.',
  },
  PIW_NOT_WRITABLE: { exit: 2, advice: 'Choose a folder that this user can write to, or change its owner.' },
  PIW_ROOT: { exit: 2, advice: 'Run it as an ordinary user.' },
  PIW_SUPERUSER: { exit: 2, advice: 'Use the DSN of an ordinary role; piw initdb prepares one.' },
  PIW_NO_PYTHON: {
    exit: 3,
    advice:
      'Install Python 3.9 or later with pip (on Debian: apt install python3-pip python3-venv), or name one with --python.',
  },
  PIW_NO_NATS: {
    exit: 3,
    advice: 'Install nats-server 2.10 or later on PATH, or name a running one with --nats.',
  },
  PIW_NO_POSTGRES: {
    exit: 3,
    advice:
      'Install PostgreSQL 13 or later (on Debian: apt install postgresql), or name a running one with --dsn.',
  },
  PIW_NO_NATS_USERS: {
    exit: 3,
    advice:
      'Copy config/nats/piw-slaves.conf into the folder of the configuration of nats-server, and set nats-users to its path.',
  },
  PIW_SERVER_FAILED: { exit: 3, advice: 'See its own log, named above.' },
  PIW_IN_USE: { exit: 4, advice: 'Stop the other one, or choose another folder.' },
  PIW_OTHER_FARM: {
    exit: 4,
    advice:
      'Stop the other farm, or give this one a database of its own, and a prefix or NATS servers of its own.',
  },
  PIW_PORT_IN_USE: { exit: 4, advice: 'Choose another port with --port, or 0 for any free one.' },
  PIW_UNREACHABLE: {
    exit: 5,
    advice:
      'Check the address, the credentials, and that the server is running; piw slaves list shows which slaves may connect.',
  },
  PIW_TIMEOUT: { exit: 5, advice: 'The farm did not answer in time; is it running?' },
  PIW_NO_RESPONDERS: { exit: 5, advice: 'No process serves this request; is the farm running?' },
  PIW_DISCONNECTED: { exit: 5, advice: 'Check that nats-server is running, and try again.' },
  PIW_NO_CHANGELOG: {
    exit: 5,
    advice: 'Set pypi-xmlrpc to the address of a changelog, or to nothing for an index without one.',
  },
  PIW_INDEX: { exit: 5, advice: 'Check the index and the network.' },
  PIW_DATABASE: { exit: 5, advice: 'Check that PostgreSQL is running and that the DSN is right.' },
  PIW_DATABASE_READ_ONLY: {
    exit: 5,
    advice: 'Name the primary server in the DSN, or make this database writable; piw doctor says how.',
  },
  PIW_NO_DATABASE: {
    exit: 3,
    advice: 'Create it (sudo -u postgres createdb NAME), or correct the DSN.',
  },
  PIW_NO_ROLE: {
    exit: 3,
    advice: 'Create it (sudo -u postgres createuser NAME), or name another with --user.',
  },
  PIW_DATABASE_LOGIN: {
    exit: 2,
    advice:
      'Use the role and password that pg_hba.conf allows; over the local socket, run it as the user of that name (for initdb: sudo -u postgres piw initdb).',
  },
  PIW_DATABASE_RIGHTS: {
    exit: 2,
    advice: 'Run it as a superuser of PostgreSQL: sudo -u postgres piw initdb, or with the DSN of one.',
  },
  PIW_DATA_VERSION: { exit: 6, advice: 'Use the version of piw that created it, or another folder.' },
  PIW_DATABASE_FAULT: {
    exit: 70,
    advice: 'This is a bug in piw, or its tables are wrong; piw initdb checks their version.',
  },
  PIW_DATABASE_VERSION: { exit: 6, advice: 'Run piw initdb to bring the database to this version.' },
  PIW_DATABASE_NEWER: { exit: 6, advice: 'Install the version of piw that upgraded it, or a later one.' },
  PIW_DATABASE_FOREIGN: { exit: 6, advice: 'Give piw a database of its own.' },
  PIW_PROTOCOL_VERSION: { exit: 6, advice: 'Run the same version of piw on every machine.' },
  PIW_MESSAGE_INVALID: { exit: 70, advice: 'The sender is another version of piw, or is not piw.' },
  PIW_OBJECT_BROKEN: { exit: 70, advice: 'It is sent again automatically; if it is not, see the log.' },
  PIW_NATS_STORAGE: {
    exit: 5,
    advice:
      'Free space on the disk of nats-server (its store_dir); its own log says what it could not write.',
  },
  PIW_TOO_LARGE: { exit: 1, advice: 'Make it smaller, or raise that limit.' },
  PIW_NOT_LEADER: { exit: 70, advice: 'Another process holds the lease; try again.' },
  PIW_UNKNOWN_TASK: { exit: 2, advice: 'piw actor --list lists the tasks.' },
  PIW_UNKNOWN_PACKAGE: { exit: 1, advice: 'Check the name.' },
  PIW_UNKNOWN_VERSION: { exit: 1, advice: 'Check the version.' },
  PIW_UNKNOWN_BUILD: { exit: 1, advice: 'piw queue PACKAGE shows where each of its versions stands.' },
  PIW_UNKNOWN_SLAVE: {
    exit: 1,
    advice: 'piw monitor lists the connected slaves, piw slaves list those that may connect.',
  },
  PIW_SLAVE_EXISTS: { exit: 1, advice: 'Choose another name, or run piw slaves remove first.' },
  PIW_UNKNOWN_TRANSFER: { exit: 1, advice: 'It has ended or never began; the sender starts over.' },
  PIW_UNKNOWN_TARGET: { exit: 1, advice: 'Register it with piw abi add.' },
  PIW_LEASE_LOST: { exit: 1, advice: 'The build was given to another slave; you need not do anything.' },
  PIW_FENCED: { exit: 70, advice: 'A newer holder of the lease has taken over.' },
  PIW_FILE_REFUSED: { exit: 1, advice: 'Correct the file, and send it again.' },
  PIW_FILE_EXISTS: {
    exit: 1,
    advice:
      'A published file never changes: give this one a build tag, set on-duplicate-filename = tag, or remove the version first.',
  },
  PIW_NAME_SPENT: {
    exit: 1,
    advice:
      'A published name always stands for the same bytes: set on-duplicate-filename = tag-removed, or give this one a build tag.',
  },
  PIW_FILE_CHANGED: { exit: 1, advice: 'Do not change the file until it has been sent.' },
  PIW_BAD_WHEEL: {
    exit: 1,
    advice: 'Correct the package, and build the wheel again; if the file is damaged, copy it again.',
  },
  PIW_DISK_FULL: { exit: 1, advice: 'Free space on that disk; work then resumes automatically.' },
  PIW_DISK_READ_ONLY: {
    exit: 2,
    advice: 'Remount that file system writable; the system log says why it is read-only.',
  },
  PIW_DISK_ERROR: { exit: 1, advice: 'Check that disk and its mount; the system log says more.' },
  PIW_REFUSED: { exit: 1, advice: 'Change the request, and try again.' },
  PIW_PAUSED: { exit: 1, advice: 'piw resume lets it continue; then try again.' },
  PIW_UNCONFIRMED: { exit: 1, advice: 'Answer y at the terminal, or pass --yes.' },
  PIW_NOT_EMPTY: {
    exit: 1,
    advice: 'Nothing is overwritten: choose an empty folder or database, or move the existing contents away.',
  },
  PIW_NO_BACKUP: {
    exit: 1,
    advice: 'Name a folder that piw backup has written; run it again to complete one that was interrupted.',
  },
  PIW_BACKUP_DAMAGED: { exit: 1, advice: 'Use another copy of this backup, or an earlier one.' },
  PIW_FILES_MISSING: {
    exit: 1,
    advice:
      'Put them back, or pass --drop-missing: their records are then dropped, and they are built again.',
  },
  PIW_RESTORE_RIGHTS: {
    exit: 2,
    advice:
      'Create the database with this role as its owner (sudo -u postgres createdb --owner ROLE NAME), or use the DSN of a superuser.',
  },
  PIW_NOT_BUILT: { exit: 1, advice: 'Above is a line with the cause and the log of each.' },
  PIW_INTERRUPTED: { exit: 130, advice: 'Run it again to complete it.' },
  PIW_ACTOR_FAILING: { exit: 70, advice: 'The log says why the task keeps ending.' },
  PIW_INTERNAL: { exit: 70, advice: 'This is a bug in piw; --stack prints where it occurred.' },
} as const satisfies Record<string, ErrorDefinition>;

export type ErrorCode = keyof typeof ERRORS;

/** An expected error. `text` is for the user: one plain line without secrets. */
export class PiwError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, text: string, options?: ErrorOptions) {
    super(text, options);
    this.name = 'PiwError';
    this.code = code;
  }

  /** The exit code of a command that ends with this error, 1 to 130. */
  get exitCode(): number {
    return ERRORS[this.code].exit;
  }

  get advice(): string {
    return ERRORS[this.code].advice;
  }

  /** The line that a command prints when it ends with this error. */
  get line(): string {
    return `piw: ${this.sentence} ${this.advice}`;
  }

  /** The text with the punctuation mark at its end. */
  get sentence(): string {
    return /[.?]$/.test(this.message) ? this.message : `${this.message}.`;
  }

  /** Returns the error that a command has ended with, by the line that it printed; undefined if that is another line. */
  static fromLine(line: string): PiwError | undefined {
    const [, text] = /^piw: (.*)$/.exec(line) ?? [];
    if (text === undefined) return undefined;
    const [, usage] = /^(.*) See piw .*--help\.$/.exec(text) ?? [];
    const codes = Object.keys(ERRORS) as ErrorCode[];
    const code =
      usage === undefined ? codes.find((key) => text.endsWith(` ${ERRORS[key].advice}`)) : 'PIW_USAGE';
    const sentence = usage ?? (code && text.slice(0, -` ${ERRORS[code].advice}`.length));
    return code && sentence !== undefined
      ? new PiwError(code, sentence.replace(/(?<!\.)\.$/, ''))
      : undefined;
  }

  /** Returns the error for an ERROR answer; an unknown code, of another version, becomes PIW_REFUSED. */
  static fromAnswer(code: string, text: string): PiwError {
    return new PiwError(code in ERRORS ? (code as ErrorCode) : 'PIW_REFUSED', text);
  }
}

/** Returns whether an error is a PiwError with one of these codes. */
export const hasCode = (error: unknown, ...codes: readonly ErrorCode[]): error is PiwError =>
  error instanceof PiwError && codes.includes(error.code);

/** Throws an error again unless it is an expected one: a PiwError. */
export function rethrowUnexpected(error: unknown): asserts error is PiwError {
  if (!(error instanceof PiwError)) throw error;
}

/** The codes for errors of a local disk, which the sender of a file can do nothing about. */
const DISK_ERRORS: ReadonlySet<string> = new Set<ErrorCode>([
  'PIW_DISK_FULL',
  'PIW_DISK_READ_ONLY',
  'PIW_DISK_ERROR',
  'PIW_NOT_WRITABLE',
]);

/** Whether an error is due to a disk, and not to what was to be written to it. */
export const isDiskError = (error: unknown): error is PiwError =>
  error instanceof PiwError && DISK_ERRORS.has(error.code);

/** Returns the message of a thrown value, whether or not it is an Error. */
export function errorMessage(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
