import { userInfo } from 'node:os';
import pg from 'pg';
import copyStreams from 'pg-copy-streams';
import { PiwError, reason } from '../errors.js';

export type Client = pg.PoolClient;
export type Row = Readonly<Record<string, unknown>>;

/** Anything that a query can be put to: the pool, or the connection of a transaction. */
export interface Queryable {
  query<R extends Row>(sql: string, values?: readonly unknown[]): Promise<readonly R[]>;
}

/** The connection of a transaction. */
export interface Transaction extends Queryable {
  /** `sql` is a COPY … FROM STDIN, and `rows` what is copied, in PostgreSQL's text format. */
  copy(sql: string, rows: string): Promise<void>;
}

/** Connections of one process. An actor that needs more at once waits; PostgreSQL has 100 in all. */
const CONNECTIONS = 6;
const STATEMENT_LIMIT_MS = 60_000;
/** A transaction that lost a race with another is tried so often in all. */
const TRIES = 5;
/** SQLSTATEs of a lost race: serialization_failure, deadlock_detected. */
const LOST_RACE: ReadonlySet<string> = new Set(['40001', '40P01']);

// Counts and sizes are far from 2^53; as text they would have to be converted everywhere.
pg.types.setTypeParser(pg.types.builtins.INT8, Number);

/**
 * PostgreSQL, behind a pool that reconnects by itself. A connection that can't be had or breaks is
 * PIW_DATABASE, which an actor answers with and lives: whoever asked asks again.
 */
export class Database implements Queryable {
  readonly #pool: pg.Pool;
  readonly #config: pg.PoolConfig;

  private constructor(config: pg.PoolConfig) {
    this.#config = config;
    this.#pool = new pg.Pool(config);
    // An idle connection that breaks is only thrown away.
    this.#pool.on('error', () => undefined);
  }

  /**
   * Opens a pool for this DSN and tries it; `name` is shown in PostgreSQL's own lists, `schema` is
   * where the tables are (default: the role's own search path). A `relaxed` one doesn't wait until a
   * change is on the disk: a crash of PostgreSQL may undo the last moments. One that asks `byKey` has each
   * statement planned once, for an index; to plan costs more than to find a few rows. Raises PIW_DATABASE.
   */
  static async open(
    dsn: string,
    name: string,
    options: { schema?: string; connections?: number; relaxed?: boolean; byKey?: boolean } = {},
  ): Promise<Database> {
    const database = new Database({
      ...connection(dsn),
      application_name: `piw ${name}`,
      max: options.connections ?? CONNECTIONS,
      connectionTimeoutMillis: 5000,
      idleTimeoutMillis: 60_000,
      statement_timeout: STATEMENT_LIMIT_MS,
      allowExitOnIdle: true,
      options: [
        // What has enable_seqscan off looks costly to the planner, which would compile it anew each time, for a second.
        '-c jit=off',
        ...(options.schema === undefined ? [] : [`-c search_path=${options.schema}`]),
        ...(options.relaxed ? ['-c synchronous_commit=off'] : []),
        ...(options.byKey ? ['-c plan_cache_mode=force_generic_plan -c enable_seqscan=off'] : []),
      ].join(' '),
    });
    try {
      await database.query('select 1');
    } catch (error) {
      await database.close();
      throw error;
    }
    return database;
  }

  async query<R extends Row>(sql: string, values: readonly unknown[] = []): Promise<readonly R[]> {
    return await raced(() => guarded(() => run<R>(this.#pool, sql, values)));
  }

  /**
   * Does `what` in one transaction, again if it lost a race with another one. So `what` must have no
   * effect of its own beside the database.
   */
  async transaction<T>(what: (db: Transaction) => Promise<T>): Promise<T> {
    return await raced(() => guarded(() => this.#once(what)));
  }

  /**
   * Calls `onHint` whenever somebody notifies the channel, and each time the listening connection is
   * new: what was said before it was there is not known. A notification is only ever a hint.
   */
  listen(channel: string, onHint: () => void, signal: AbortSignal): void {
    const listen = async (): Promise<void> => {
      while (!signal.aborted) {
        const client = new pg.Client(this.#config);
        try {
          const broken = new Promise<void>((resolve) => {
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
          await broken;
        } catch {
          // The database is away; the caller's slow poll stands in until it is back.
        }
        await client.end().catch(() => undefined);
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
    };
    void listen();
  }

  async close(): Promise<void> {
    await this.#pool.end();
  }

  async #once<T>(what: (db: Transaction) => Promise<T>): Promise<T> {
    const client = await this.#pool.connect();
    let broken: Error | undefined;
    // Without a listener an error between two queries would end the process.
    const onError = (error: Error) => (broken = error);
    client.on('error', onError);
    try {
      await client.query('begin');
      const result = await what({
        query: (sql, values = []) => run(client, sql, values),
        copy: (sql, rows) => copy(client, sql, rows),
      });
      await client.query('commit');
      return result;
    } catch (error) {
      await client.query('rollback').catch((e: unknown) => (broken = e as Error));
      throw error;
    } finally {
      client.off('error', onError);
      client.release(broken);
    }
  }
}

/** Does again what lost a race with another transaction: nothing of it has happened. */
async function raced<T>(what: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await what();
    } catch (error) {
      if (tries >= TRIES || !LOST_RACE.has(sqlState(error))) throw error;
    }
  }
}

async function run<R extends Row>(
  on: pg.Pool | pg.PoolClient,
  sql: string,
  values: readonly unknown[],
): Promise<readonly R[]> {
  // A statement with parameters is prepared once for each connection, under its own text's name.
  const name = values.length > 0 ? nameOf(sql) : undefined;
  const result = await on.query<R>({
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

const names = new Map<string, string>();
function nameOf(sql: string): string {
  let name = names.get(sql);
  if (name === undefined) {
    name = `s${String(names.size)}`;
    names.set(sql, name);
  }
  return name;
}

export function sqlState(error: unknown): string {
  const inner = error instanceof PiwError ? error.cause : error;
  return typeof inner === 'object' && inner !== null && 'code' in inner ? String(inner.code) : '';
}

/** Classes of SQLSTATE that speak of the connection or the server, not of what was asked. */
const AWAY = /^(08|57P|53|58)/;

async function guarded<T>(what: () => Promise<T>): Promise<T> {
  try {
    return await what();
  } catch (error) {
    if (error instanceof PiwError) throw error;
    const state = sqlState(error);
    const system = /^(ECONN|ENOENT|EPIPE|ETIMEDOUT|EHOST|ENOTFOUND)/.test(state);
    const broken = state === '' && /terminat|connection|timeout/i.test(reason(error));
    if (
      system ||
      broken ||
      AWAY.test(state) ||
      state.startsWith('28') ||
      state === '3D000' ||
      state === '57014'
    ) {
      throw new PiwError('PIW_DATABASE', `the database: ${reason(error)}`, { cause: error });
    }
    throw error;
  }
}

/**
 * What `pg` connects with. A DSN without a host means the local Unix socket, the operating system's
 * user and peer login, as libpq has it; `pg` alone would take TCP on localhost.
 */
function connection(dsn: string): pg.PoolConfig {
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
