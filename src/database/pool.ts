import { readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import pg from 'pg';
import copyStreams from 'pg-copy-streams';
import { onAbort } from '../concurrency/abort.js';
import { systemClock } from '../concurrency/clock.js';
import { deferred } from '../concurrency/deferred.js';
import { pause } from '../concurrency/pause.js';
import { retry } from '../concurrency/retry.js';
import { PiwError, errorMessage } from '../errors.js';
import { classifyDatabaseError } from './sql-states.js';
import { SERVER_PROBLEMS, ServerProblemMonitor, type ConditionSink } from './trouble.js';

export type SqlRow = Readonly<Record<string, unknown>>;

/** Anything that can run queries: the pool, or the connection of a transaction. */
export interface Queryable {
  query<R extends SqlRow>(sql: string, values?: readonly unknown[]): Promise<readonly R[]>;
}

/** The connection of a transaction. */
export interface Transaction extends Queryable {
  /** Runs `sql`, a COPY … FROM STDIN, with `rows` as its input in PostgreSQL's text format. */
  copy(sql: string, rows: string): Promise<void>;
  /** Does the same with more rows than fit into memory. Returns how many there were. */
  copyFrom(sql: string, rows: Readable): Promise<number>;
}

/** The connection of a transaction that sees the database as it was at one moment, and changes nothing. */
export interface Snapshot extends Queryable {
  /**
   * Runs `sql`, a COPY … TO STDOUT, and has `consume` read its output in PostgreSQL's text format to the end. Returns the
   * number of rows.
   */
  copyTo(sql: string, consume: (rows: Readable) => Promise<void>): Promise<number>;
}

/** Connections per process. An actor that needs more at once waits; PostgreSQL's default limit for all is 100. */
const MAX_CONNECTIONS = 6;
const STATEMENT_TIMEOUT_MS = 60_000;
/**
 * A host that is cut off, or loses its power, closes no connection. PostgreSQL would notice that after two hours, and
 * until then keep the locks of the transactions that were open; with these options it does after 15 s.
 */
const DEAD_CLIENT_OPTIONS =
  '-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=2 -c tcp_user_timeout=15000';
/** Attempts at a transaction that conflicts with others, and the longest pause before the second one. */
const MAX_ATTEMPTS = 5;
const MAX_RETRY_PAUSE_MS = 30;

// Counts and sizes are far below 2^53; the driver's default, strings, would need a conversion everywhere.
pg.types.setTypeParser(pg.types.builtins.INT8, Number);

/**
 * A PostgreSQL database, behind a pool that reconnects by itself. While the server can't serve requests (see
 * sql-states.ts), every request throws PIW_DATABASE; an actor returns that error and keeps running, and the requester
 * retries. Errors that no retry fixes throw PIW_DATABASE_FAULT. No other error of the driver leaves this class.
 */
export class Database implements Queryable {
  readonly #pool: pg.Pool;
  readonly #config: pg.PoolConfig;
  readonly #problemMonitor: ServerProblemMonitor;

  private constructor(config: pg.PoolConfig) {
    this.#config = config;
    this.#pool = new pg.Pool(config);
    // The pool discards an idle connection that breaks.
    this.#pool.on('error', () => undefined);
    const { host = '', port = 0, database = '' } = config;
    this.#problemMonitor = new ServerProblemMonitor(`${host}:${port}/${database}`, async () => {
      const { rows } = await this.#pool.query<{ transaction_read_only: string }>(
        'show transaction_read_only',
      );
      return rows[0]?.transaction_read_only === 'off';
    });
  }

  /**
   * Opens a pool for this DSN and tests the connection. Throws PIW_CONFIG for an invalid DSN; PIW_NO_DATABASE,
   * PIW_NO_ROLE or PIW_DATABASE_LOGIN if the server answers that way, and PIW_DATABASE if the connection fails.
   *
   * `name`: the application name, which pg_stat_activity shows.
   * `schema`: the schema of the tables (default: the role's search path).
   * `relaxed`: doesn't wait until changes are on disk; a crash of PostgreSQL may lose the latest ones.
   * `byKey`: plans each statement once, for index scans; planning costs more than finding a few rows.
   * `lazy`: doesn't test the connection, so that the server may be down for now.
   */
  static async open(
    dsn: string,
    name: string,
    options: {
      schema?: string;
      connections?: number;
      relaxed?: boolean;
      byKey?: boolean;
      lazy?: boolean;
    } = {},
  ): Promise<Database> {
    const database = new Database({
      ...poolConfig(dsn),
      application_name: `piw ${name}`,
      max: options.connections ?? MAX_CONNECTIONS,
      connectionTimeoutMillis: 5000,
      idleTimeoutMillis: 60_000,
      statement_timeout: STATEMENT_TIMEOUT_MS,
      allowExitOnIdle: true,
      options: [
        // With enable_seqscan off, plans look expensive, and PostgreSQL would JIT-compile them each time, for a second.
        '-c jit=off',
        DEAD_CLIENT_OPTIONS,
        ...(options.schema === undefined ? [] : [`-c search_path=${options.schema}`]),
        ...(options.relaxed ? ['-c synchronous_commit=off'] : []),
        ...(options.byKey ? ['-c plan_cache_mode=force_generic_plan -c enable_seqscan=off'] : []),
      ].join(' '),
    });
    if (options.lazy) return database;
    try {
      await database.query('select 1');
    } catch (error) {
      await database.close();
      throw loginError(error, database.#config);
    }
    return database;
  }

  /** Reports the server's problems to `sink` from now on: when each begins, and when it is over. */
  reportTo(sink: ConditionSink): void {
    this.#problemMonitor.reportTo(sink);
  }

  async query<R extends SqlRow>(sql: string, values: readonly unknown[] = []): Promise<readonly R[]> {
    return await this.#withRetry(() => runQuery<R>(this.#pool, sql, values));
  }

  /**
   * Runs `work` in one transaction, and retries it if the transaction conflicts with another one. So `work` must not
   * have side effects outside the database.
   */
  async transaction<T>(work: (db: Transaction) => Promise<T>): Promise<T> {
    return await this.#withRetry(() => this.#runTransaction(work));
  }

  /**
   * Runs `work` in a transaction that sees the database as it is now, however long it takes. It is not retried, because
   * `work` may have side effects elsewhere.
   */
  async snapshot<T>(work: (db: Snapshot) => Promise<T>): Promise<T> {
    return await this.#withRetry(async () => {
      const client = await this.#pool.connect();
      let failure: Error | undefined;
      const onError = (error: Error) => (failure = error);
      client.on('error', onError);
      try {
        await client.query('begin isolation level repeatable read read only');
        const result = await work({
          query: (sql, values = []) => runQuery(client, sql, values),
          copyTo: (sql, consume) => copyTo(client, sql, consume),
        });
        await client.query('commit');
        return result;
      } catch (error) {
        // A COPY that was broken off leaves a connection on which nothing else can run.
        failure = error instanceof Error ? error : new Error(errorMessage(error));
        throw error;
      } finally {
        client.off('error', onError);
        client.release(failure);
      }
    }, 1);
  }

  /**
   * Calls `onHint` whenever the channel is notified, and after each (re)connection, because notifications may have been
   * lost before it. A notification is only ever a hint.
   */
  listen(channel: string, onHint: () => void, signal: AbortSignal): void {
    const keepListening = async (): Promise<void> => {
      while (!signal.aborted) {
        const client = new pg.Client(this.#config);
        const disconnected = deferred();
        const onEnd = (): void => {
          disconnected.resolve();
        };
        const removeListener = onAbort(signal, onEnd);
        try {
          client.on('error', onEnd);
          client.on('end', onEnd);
          await client.connect();
          client.on('notification', onHint);
          await client.query(`listen ${channel}`);
          onHint();
          await disconnected.promise;
        } catch {
          // The database is unreachable; until it is back, the caller depends on its slow poll.
        }
        removeListener();
        await client.end().catch(() => undefined);
        await pause(systemClock, 500, signal);
      }
    };
    void keepListening();
  }

  async close(): Promise<void> {
    this.#problemMonitor.close();
    await this.#pool.end();
  }

  /**
   * Runs `operation`, up to `maxAttempts` times while it conflicts with other transactions; PostgreSQL has then rolled
   * it back. Converts errors of the driver to PIW_DATABASE or PIW_DATABASE_FAULT.
   */
  async #withRetry<T>(operation: () => Promise<T>, maxAttempts = MAX_ATTEMPTS): Promise<T> {
    return await retry(operation, (error, failures) => {
      const errorKind = error instanceof PiwError ? undefined : classifyDatabaseError(error);
      if (errorKind === undefined) throw error;
      if (errorKind === 'fault')
        throw new PiwError(
          'PIW_DATABASE_FAULT',
          `the database rejected a query: ${errorMessage(error)} (SQLSTATE ${sqlState(error)})`,
          { cause: error },
        );
      if (errorKind === 'retry' && failures < maxAttempts)
        return Math.random() * MAX_RETRY_PAUSE_MS * failures;
      const text = `${SERVER_PROBLEMS[errorKind].text}: ${errorMessage(error)}`;
      this.#problemMonitor.recordFailure(errorKind, text);
      throw new PiwError('PIW_DATABASE', text, { cause: error });
    });
  }

  async #runTransaction<T>(work: (db: Transaction) => Promise<T>): Promise<T> {
    const client = await this.#pool.connect();
    let connectionError: Error | undefined;
    // Without a listener, an error between two queries would crash the process.
    const onError = (error: Error) => (connectionError = error);
    client.on('error', onError);
    try {
      await client.query('begin');
      const result = await work({
        query: (sql, values = []) => runQuery(client, sql, values),
        copy: (sql, rows) => copy(client, sql, rows),
        copyFrom: (sql, rows) => copyFrom(client, sql, rows),
      });
      await client.query('commit');
      return result;
    } catch (error) {
      await client
        .query('rollback')
        .catch((rollbackError: unknown) => (connectionError = rollbackError as Error));
      throw error;
    } finally {
      client.off('error', onError);
      client.release(connectionError);
    }
  }
}

async function runQuery<R extends SqlRow>(
  executor: pg.Pool | pg.PoolClient,
  sql: string,
  values: readonly unknown[],
): Promise<readonly R[]> {
  // A statement with parameters is prepared once per connection, under a name that belongs to its text.
  const name = values.length > 0 ? statementName(sql) : undefined;
  const result = await executor.query<R>({
    text: sql,
    values: [...values],
    ...(name === undefined ? {} : { name }),
  });
  return result.rows;
}

async function copy(client: pg.PoolClient, sql: string, rows: string): Promise<void> {
  const stream = client.query(copyStreams.from(sql));
  await new Promise<void>((resolve, reject) => {
    stream.once('error', reject);
    stream.once('finish', resolve);
    stream.end(Buffer.from(rows, 'utf8'));
  });
}

async function copyFrom(client: pg.PoolClient, sql: string, rows: Readable): Promise<number> {
  const stream = client.query(copyStreams.from(sql));
  await pipeline(rows, stream);
  return stream.rowCount;
}

async function copyTo(
  client: pg.PoolClient,
  sql: string,
  consume: (rows: Readable) => Promise<void>,
): Promise<number> {
  const stream = client.query(copyStreams.to(sql));
  await consume(stream);
  // The number of rows follows the last of them; it has been read once the next statement is complete.
  await client.query('select 1');
  return stream.rowCount;
}

const statementNames = new Map<string, string>();
function statementName(sql: string): string {
  let name = statementNames.get(sql);
  if (name === undefined) {
    name = `s${statementNames.size}`;
    statementNames.set(sql, name);
  }
  return name;
}

/** Returns the SQLSTATE, or another code, of a driver error or of the PiwError that wraps it; '' if it has none. */
export function sqlState(error: unknown): string {
  const driverError = error instanceof PiwError ? error.cause : error;
  return typeof driverError === 'object' && driverError !== null && 'code' in driverError
    ? String(driverError.code)
    : '';
}

/** Returns the error for a first connection that failed: the server may say what is wrong with the DSN. */
function loginError(error: unknown, { database = '', user = '' }: pg.PoolConfig): unknown {
  if (!(error instanceof PiwError)) return error;
  const { cause } = error;
  const text = errorMessage(cause);
  switch (sqlState(error)) {
    case '3D000':
      return new PiwError('PIW_NO_DATABASE', `PostgreSQL has no database ${JSON.stringify(database)}`, {
        cause,
      });
    case '28000':
      // Also for a role that pg_hba.conf does not let in.
      if (text.includes('does not exist'))
        return new PiwError('PIW_NO_ROLE', `PostgreSQL has no role ${JSON.stringify(user)}`, { cause });
  }
  return error.message.startsWith(SERVER_PROBLEMS.denied.text)
    ? new PiwError('PIW_DATABASE_LOGIN', `PostgreSQL does not let in role ${JSON.stringify(user)}: ${text}`, {
        cause,
      })
    : error;
}

/**
 * Returns `pg`'s configuration for a DSN. Without a host it means the local Unix socket, the operating system's user
 * and peer authentication, as in libpq; `pg` by itself would use TCP to localhost. Throws PIW_CONFIG for an invalid
 * DSN.
 */
function poolConfig(dsn: string): pg.PoolConfig {
  const url = URL.canParse(dsn) ? new URL(dsn) : undefined;
  if (!url || !['postgres:', 'postgresql:'].includes(url.protocol)) {
    throw new PiwError('PIW_CONFIG', 'the DSN is not of the form postgres://user:password@host/database');
  }
  const host = url.searchParams.get('host') ?? (url.hostname === '' ? '/var/run/postgresql' : url.hostname);
  const user = url.username === '' ? userInfo().username : decodeURIComponent(url.username);
  return {
    host: decodeURIComponent(host).replace(/^\[|\]$/g, ''),
    port: Number(url.port === '' ? (url.searchParams.get('port') ?? '5432') : url.port),
    user,
    database: decodeURIComponent(url.pathname.slice(1)) || user,
    ...(url.password === '' ? {} : { password: decodeURIComponent(url.password) }),
    ...tlsConfig(url),
  };
}

/** Returns the TLS settings that a DSN has in libpq's names. Throws PIW_CONFIG if one of their files can't be read. */
function tlsConfig(url: URL): pg.PoolConfig {
  const mode = url.searchParams.get('sslmode') ?? '';
  if (!['require', 'verify-ca', 'verify-full'].includes(mode)) return {};
  const [ca, cert, key] = ['sslrootcert', 'sslcert', 'sslkey'].map((name) => {
    const file = url.searchParams.get(name);
    try {
      return file === null ? undefined : readFileSync(file, 'utf8');
    } catch (error) {
      throw new PiwError('PIW_CONFIG', `${name} of the DSN can't be read: ${errorMessage(error)}`, {
        cause: error,
      });
    }
  });
  return {
    ssl: {
      // As libpq: with an authority, require is verify-ca.
      rejectUnauthorized: mode !== 'require' || ca !== undefined,
      ...(mode === 'verify-full' ? {} : { checkServerIdentity: () => undefined }),
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
    },
  };
}
