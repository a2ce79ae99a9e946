import { PiwError } from '../errors.js';
import type { Queryable, SqlRow } from './pool.js';
import { hasMasterRights } from './rights.js';

/** Throws PIW_SUPERUSER if the role is a superuser: the farm's processes must have limited rights. */
export async function refuseSuperuser(db: Queryable): Promise<void> {
  const [row] = await db.query<{ super: boolean }>(
    'select usesuper as super from pg_user where usename = current_user',
  );
  if (row?.super !== false) throw new PiwError('PIW_SUPERUSER', "the DSN's role is a PostgreSQL superuser");
}

/** Returns whether our role lacks a right on one of the tables of a farm. */
export async function lacksPrivileges(db: Queryable): Promise<boolean> {
  const [row] = await db.query<SqlRow & { readonly role: string }>('select current_user as role');
  return row !== undefined && !(await hasMasterRights(db, row.role));
}

/** Returns the time of the database's clock, milliseconds since 1970. */
export async function readClock(db: Queryable): Promise<number> {
  const [row] = await db.query<{ now: number }>(
    'select floor(extract(epoch from clock_timestamp()) * 1000)::float8 as now',
  );
  return row?.now ?? 0;
}

/** Throws PIW_DATABASE_READ_ONLY if the database takes no changes. */
export async function refuseReadOnly(db: Queryable): Promise<void> {
  const [row] = await db.query<{ name: string; standby: boolean; reads: string }>(
    `select current_database() as name, pg_is_in_recovery() as standby,
            current_setting('transaction_read_only') as reads`,
  );
  const reason =
    row?.standby === true
      ? `is on a standby server (pg_is_in_recovery), which takes no changes`
      : `takes no changes: default_transaction_read_only is on`;
  if (row?.standby === true || row?.reads === 'on')
    throw new PiwError('PIW_DATABASE_READ_ONLY', `the database ${row.name} ${reason}`);
}

/** Returns the name of the database's encoding: `UTF8`. */
export async function readEncoding(db: Queryable): Promise<string> {
  const [row] = await db.query<{ encoding: string }>(`select current_setting('server_encoding') as encoding`);
  return row?.encoding ?? '';
}
