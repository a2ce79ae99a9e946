import pg from 'pg';

/**
 * What a PostgreSQL error means for piw. All kinds but `retry` and `fault` are states of the server that are temporary,
 * or that an administrator ends: the request was valid, and succeeds once the state is over.
 */
export type DatabaseErrorKind =
  /** The server is unreachable, is starting or stopping, or dropped the connection. */
  | 'away'
  /** The server accepts only reads: it is a standby, or configured so. */
  | 'read-only'
  /** The server's disk is full. */
  | 'full'
  /** The server is out of connections or memory. */
  | 'busy'
  /** The statement took longer than STATEMENT_TIMEOUT_MS. */
  | 'slow'
  /** The server rejects our role or this operation: a password, pg_hba.conf or a grant has changed. */
  | 'denied'
  /** The server reports that its data, or its own code, is broken. */
  | 'damaged'
  /** The transaction conflicted with another one, and is retried at once. */
  | 'retry'
  /** The statement or its values are wrong: a bug in piw, which no retry fixes. */
  | 'fault';

/**
 * Every class of SQLSTATE (PostgreSQL manual, appendix A), and the codes that differ from their class. The longest
 * matching prefix decides. Anything else (a class of an extension or of a future version) is a fault.
 */
const KIND_BY_SQLSTATE: Readonly<Record<string, DatabaseErrorKind>> = {
  // 00, 01, 02: success, warning, no data: never errors.
  '03': 'fault', // SQL statement not yet complete
  '08': 'away', // connection exception
  '08P01': 'fault', // protocol violation by the driver, or by a proxy
  '09': 'fault', // triggered action exception
  '0A': 'fault', // feature not supported
  '0B': 'fault', // invalid transaction initiation
  '0F': 'fault', // locator exception
  '0L': 'fault', // invalid grantor
  '0P': 'denied', // invalid role specification: the role was dropped
  '0Z': 'fault', // diagnostics exception
  '20': 'fault', // case not found
  '21': 'fault', // cardinality violation
  '22': 'fault', // data exception: piw failed to validate a value that a column can't hold
  '23': 'fault', // integrity constraint violation: piw failed to validate what the tables don't allow
  '24': 'fault', // invalid cursor state
  '25': 'fault', // invalid transaction state
  '25006': 'read-only', // read-only transaction: after a failover this server is the standby
  '25P03': 'away', // idle-in-transaction timeout: this process was suspended
  '25P04': 'slow', // transaction timeout
  '26': 'fault', // invalid SQL statement name
  '27': 'fault', // triggered data change violation
  '28': 'denied', // invalid authorization, invalid password
  '2B': 'fault', // dependent privilege descriptors still exist
  '2D': 'fault', // invalid transaction termination
  '2F': 'fault', // SQL routine exception
  '2F002': 'read-only', // modifying SQL data not permitted
  '34': 'fault', // invalid cursor name
  '38': 'fault', // external routine exception
  '39': 'fault', // external routine invocation exception
  '3B': 'fault', // savepoint exception
  '3D': 'denied', // invalid catalog name: the database doesn't exist, e.g. while it is being restored
  '3F': 'fault', // invalid schema name
  '40': 'retry', // transaction rollback: serialization failure 40001, deadlock 40P01
  '40002': 'fault', // integrity constraint violation at commit
  '40003': 'away', // statement completion unknown, as when the connection breaks during the commit
  '42': 'fault', // syntax error or access rule violation
  '42501': 'denied', // insufficient privilege
  '44': 'fault', // WITH CHECK OPTION violation
  '53': 'busy', // insufficient resources: too many connections 53300, out of memory 53200
  '53100': 'full', // disk full
  '54': 'fault', // program limit exceeded
  '55': 'fault', // object not in prerequisite state, and others
  '55000': 'denied', // the database accepts no connections: an administrator is working on it
  '55006': 'retry', // object in use
  '55P03': 'retry', // lock not available
  '57': 'away', // operator intervention: shutdown 57P01, crash 57P02, starting up 57P03
  '57014': 'slow', // query canceled: by statement_timeout, or by an administrator
  '57P04': 'denied', // database dropped
  '58': 'away', // system error outside PostgreSQL: its disk doesn't respond, or a file is missing
  '72': 'retry', // snapshot too old
  F0: 'away', // configuration file error, lock file exists
  HV: 'fault', // foreign data wrapper error
  P0: 'fault', // PL/pgSQL error
  XX: 'damaged', // internal error, data corrupted, index corrupted
};

/** Complete messages of driver errors that have no code. */
const AWAY_MESSAGES: ReadonlySet<string> = new Set([
  'Connection terminated',
  'Connection terminated unexpectedly',
  'Connection terminated due to connection timeout',
  'Client has encountered a connection error and is not queryable',
  'Client was closed and is not queryable',
  'Cannot use a pool after calling end on the pool',
  'timeout expired',
  'timeout exceeded when trying to connect',
]);
const SLOW_MESSAGES: ReadonlySet<string> = new Set(['Query read timeout']);

/** Returns the kind of a SQLSTATE, by its longest known prefix. */
export function classifySqlState(state: string): DatabaseErrorKind {
  return KIND_BY_SQLSTATE[state] ?? KIND_BY_SQLSTATE[state.slice(0, 2)] ?? 'fault';
}

/** Returns the kind of an error that the driver has thrown; undefined for an error of our own. */
export function classifyDatabaseError(error: unknown): DatabaseErrorKind | undefined {
  if (error instanceof pg.DatabaseError) return classifySqlState(error.code ?? '');
  if (!(error instanceof Error)) return undefined;
  // A system error names the failed system call; a TLS error has a code but no system call.
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (
    syscall !== undefined ||
    (code !== undefined && /^(E[A-Z]+|ERR_TLS_.*|ERR_SSL_.*|.*CERT.*)$/.test(code))
  )
    return 'away';
  if (AWAY_MESSAGES.has(error.message)) return 'away';
  // The driver's own messages about a missing password, and about a server without TLS.
  if (error.message.startsWith('SASL: ') || error.message.startsWith('The server does not support SSL'))
    return 'denied';
  return SLOW_MESSAGES.has(error.message) ? 'slow' : undefined;
}
