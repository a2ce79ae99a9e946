import { userInfo } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import copyStreams from 'pg-copy-streams';
import { PiwError, errorMessage } from '../errors.js';
import { classifyDatabaseError } from './sql-states.js';
import { SERVER_PROBLEMS, ServerProblemMonitor, type ConditionSink } from './trouble.js';

export type Client = pg.PoolClient;
export type SqlRow = Readonly<Record<string, unknown>>;

/** Anything that a query can be put to: the pool, or the connection of a transaction. */
export interface Queryable {
  query<R extends SqlRow>(sql: string, values?: readonly unknown[]): Promise<readonly R[]>;
}

/** The connection of a transaction. */
export interface Transaction extends Queryable {
  /** `sql` is a COPY … FROM STDIN, and `rows` what is copied, in PostgreSQL's text format. */
  copy(sql: string, rows: string): Promise<void>;
}

/** Connections of one process. An actor that needs more at once waits; PostgreSQL has 100 in all. */
const MAX_CONNECTIONS = 6;
const STATEMENT_TIMEOUT_MS = 60_000;
/** Attempts at a transaction that another one was in the way of, and the pause before each further one, at most. */
const MAX_ATTEMPTS = 5;
const MAX_RETRY_PAUSE_MS = 30;

// Counts and sizes are far from 2^53; as text they would have to be converted everywhere.
pg.types.setTypeParser(pg.types.builtins.INT8, Number);

/**
 * PostgreSQL, behind a pool that reconnects by itself. While the server can't do what is asked of it (sql-states.ts has
 * the cases), every request throws PIW_DATABASE, with which an actor answers and lives: whoever asked asks again. What
 * no repetition helps is PIW_DATABASE_FAULT. Nothing else of the driver leaves this class.
 */
export class Database implements Queryable {
  readonly #pool: pg.Pool;
  readonly #config: pg.PoolConfig;
  readonly #problemMonitor: ServerProblemMonitor;

  private constructor(config: pg.PoolConfig) {
    this.#config = config;
    this.#pool = new pg.Pool(config);
    // An idle connection that breaks is only thrown away.
    this.#pool.on('error', () => undefined);
    const { host = '', port = 0, database = '' } = config;
    this.#problemMonitor = new ServerProblemMonitor(`${host}:${String(port)}/${database}`, async () => {
      const { rows } = await this.#pool.query<{ transaction_read_only: string }>(
        'show transaction_read_only',
      );
      return rows[0]?.transaction_read_only === 'off';
    });
  }

  /**
   * Opens a pool for this DSN and tries it, unless it is `lazy`: then the server may be away for now. `name` is shown in PostgreSQL's own lists, `schema` is
   * where the tables are (default: the role's own search path). A `relaxed` one doesn't wait until a
   * change is on the disk: a crash of PostgreSQL may undo the last moments. One that asks `byKey` has each
   * statement planned once, for an index; to plan costs more than to find a few rows. Raises PIW_DATABASE.
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
        // What has enable_seqscan off looks costly to the planner, which would compile it anew each time, for a second.
        '-c jit=off',
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
      throw error;
    }
    return database;
  }

  /** Tells from now on what the server suffers from, and when that is over. */
  reportTo(sink: ConditionSink): void {
    this.#problemMonitor.reportTo(sink);
  }

  async query<R extends SqlRow>(sql: string, values: readonly unknown[] = []): Promise<readonly R[]> {
    return await this.#withRetry(() => runQuery<R>(this.#pool, sql, values));
  }

  /**
   * Does `what` in one transaction, again if it lost a race with another one. So `what` must have no
   * effect of its own beside the database.
   */
  async transaction<T>(work: (db: Transaction) => Promise<T>): Promise<T> {
    return await this.#withRetry(() => this.#runTransaction(work));
  }

  /**
   * Calls `onHint` whenever somebody notifies the channel, and each time the listening connection is
   * new: what was said before it was there is not known. A notification is only ever a hint.
   */
  listen(channel: string, onHint: () => void, signal: AbortSignal): void {
    const keepListening = async (): Promise<void> => {
      while (!signal.aborted) {
        const client = new pg.Client(this.#config);
        try {
          const disconnected = new Promise<void>((resolve) => {
            client.on('error', () => {
              resolve();
            });
            client.on('end', () => {
              resolve();
            });
            signal.addEventListener(
              'abort',
              () => {
                resolve();
              },
              { once: true },
            );
          });
          await client.connect();
          client.on('notification', onHint);
          await client.query(`listen ${channel}`);
          onHint();
          await disconnected;
        } catch {
          // The database is away; the caller's slow poll stands in until it is back.
        }
        await client.end().catch(() => undefined);
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
    };
    void keepListening();
  }

  async close(): Promise<void> {
    this.#problemMonitor.close();
    await this.#pool.end();
  }

  /** Tries again what another transaction was in the way of: nothing of it has happened. */
  async #withRetry<T>(operation: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await operation();
      } catch (error) {
        const errorKind = error instanceof PiwError ? undefined : classifyDatabaseError(error);
        if (errorKind === undefined) throw error;
        if (errorKind === 'fault')
          throw new PiwError(
            'PIW_DATABASE_FAULT',
            `the database refuses a request: ${errorMessage(error)} (SQLSTATE ${sqlState(error)})`,
            { cause: error },
          );
        if (errorKind === 'retry' && attempt < MAX_ATTEMPTS) {
          await sleep(Math.random() * MAX_RETRY_PAUSE_MS * attempt);
          continue;
        }
        const text = `${SERVER_PROBLEMS[errorKind].text}: ${errorMessage(error)}`;
        this.#problemMonitor.recordFailure(errorKind, text);
        throw new PiwError('PIW_DATABASE', text, { cause: error });
      }
    }
  }

  async #runTransaction<T>(work: (db: Transaction) => Promise<T>): Promise<T> {
    const client = await this.#pool.connect();
    let connectionError: Error | undefined;
    // Without a listener an error between two queries would end the process.
    const onError = (error: Error) => (connectionError = error);
    client.on('error', onError);
    try {
      await client.query('begin');
      const result = await work({
        query: (sql, values = []) => runQuery(client, sql, values),
        copy: (sql, rows) => copy(client, sql, rows),
      });
      await client.query('commit');
      return result;
    } catch (error) {
      await client.query('rollback').catch((e: unknown) => (connectionError = e as Error));
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
  // A statement with parameters is prepared once for each connection, under its own text's name.
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

const statementNames = new Map<string, string>();
function statementName(sql: string): string {
  let name = statementNames.get(sql);
  if (name === undefined) {
    name = `s${String(statementNames.size)}`;
    statementNames.set(sql, name);
  }
  return name;
}

export function sqlState(error: unknown): string {
  const driverError = error instanceof PiwError ? error.cause : error;
  return typeof driverError === 'object' && driverError !== null && 'code' in driverError
    ? String(driverError.code)
    : '';
}

/**
 * What `pg` connects with. A DSN without a host means the local Unix socket, the operating system's
 * user and peer login, as libpq has it; `pg` alone would take TCP on localhost.
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
    ...(/^(require|verify-ca|verify-full)$/.test(url.searchParams.get('sslmode') ?? '')
      ? { ssl: { rejectUnauthorized: url.searchParams.get('sslmode') !== 'require' } }
      : {}),
  };
}

/** Raises PIW_SUPERUSER: what the farm's processes may do to the database has bounds. */
export async function refuseSuperuser(db: Queryable): Promise<void> {
  const [row] = await db.query<{ super: boolean }>(
    'select usesuper as super from pg_user where usename = current_user',
  );
  if (row?.super !== false) throw new PiwError('PIW_SUPERUSER', "the DSN's role is a PostgreSQL superuser");
}
