import { hostname } from 'node:os';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { PiwError } from '../errors.js';
import { Database, type Queryable } from './pool.js';
import { ROOT } from '../root.js';
import { grantMasterRights } from './rights.js';

const MIGRATIONS_FOLDER = `${ROOT}sql/`;

/** Returns the migrations in sql/, which are numbered from 1 without gaps. */
function migrations(): readonly { readonly number: number; readonly sql: () => string }[] {
  return readdirSync(MIGRATIONS_FOLDER)
    .filter((name) => /^\d{6}\.sql$/.test(name))
    .sort()
    .map((name) => ({
      number: Number(name.slice(0, 6)),
      sql: () => readFileSync(join(MIGRATIONS_FOLDER, name), 'utf8'),
    }));
}

/** Returns the schema version that this program needs. */
export const schemaVersion = (): number => migrations().at(-1)?.number ?? 0;

/**
 * Returns the schema version of the database; 0 if it has no tables yet, but for those of extensions. Throws
 * PIW_DATABASE_FOREIGN if its tables are not piw's, and PIW_DATABASE_VERSION if our role may not read them.
 */
export async function installedVersion(db: Queryable): Promise<number> {
  const tables = await db.query<{
    database: string;
    name: string;
    readable: boolean;
    columns: readonly string[];
  }>(
    `select current_database() as database, relname as name, has_table_privilege(oid, 'select') as readable,
       array(select attname::text from pg_attribute where attrelid = c.oid and attnum > 0) as columns
     from pg_class c
     where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p', 'v', 'm', 'f')
       and not exists (select 1 from pg_depend
         where classid = 'pg_class'::regclass and objid = c.oid and deptype = 'e')
     order by relname`,
  );
  const [example] = tables;
  if (example === undefined) return 0;
  const configurationTable = tables.find(({ name }) => name === 'configuration');
  const configuration = configurationTable?.columns ?? [];
  if (!configuration.includes('schema_version')) {
    const isPiwheels =
      tables.some(({ name }) => name === 'build_abis') ||
      (configuration.includes('version') && tables.some(({ name }) => name === 'packages'));
    const whose = isPiwheels
      ? 'belongs to piwheels'
      : `contains tables of another program, for example ${example.name}`;
    throw new PiwError(
      'PIW_DATABASE_FOREIGN',
      `the database ${example.database} ${whose}, and was not changed`,
    );
  }
  if (configurationTable?.readable === false)
    throw new PiwError(
      'PIW_DATABASE_VERSION',
      `our role may not read the tables of the database ${example.database}`,
    );
  const [row] = await db.query<{ schema_version: number }>('select schema_version from configuration');
  return row?.schema_version ?? 0;
}

export const newerError = (installed: number, required: number, subject = 'the database'): PiwError =>
  new PiwError(
    'PIW_DATABASE_NEWER',
    `${subject} is at schema version ${installed}, which is newer than version ${required} of this piw`,
  );

export const noRoleError = (user: string): PiwError =>
  new PiwError('PIW_NO_ROLE', `PostgreSQL has no role ${JSON.stringify(user)}`);

/**
 * Throws PIW_DATABASE_VERSION, or PIW_DATABASE_NEWER, unless the database has the schema version that this program needs.
 */
export async function checkSchemaVersion(db: Queryable): Promise<void> {
  const [installed, required] = [await installedVersion(db), schemaVersion()];
  if (installed === required) return;
  if (installed > required) throw newerError(installed, required);
  const state = installed === 0 ? 'has no tables yet' : `is at schema version ${installed}`;
  throw new PiwError('PIW_DATABASE_VERSION', `the database ${state}, but this piw needs version ${required}`);
}

/**
 * Creates the tables, or upgrades them to this program's version, in one transaction, and grants the role `user` the
 * privileges that a master needs. Returns the schema versions before and after. Throws PIW_DATABASE_NEWER if the schema
 * is newer than this program, PIW_DATABASE_FOREIGN for another program's tables, and PIW_NO_ROLE if there is no such
 * role.
 */
export async function migrate(
  dsn: string,
  options: { readonly user: string; readonly schema?: string },
): Promise<{ readonly from: number; readonly to: number }> {
  const database = await Database.open(
    dsn,
    'initdb',
    options.schema === undefined ? {} : { schema: options.schema },
  );
  try {
    return await database.transaction(async (db) => {
      await lockMigrations(db);
      const from = await installedVersion(db);
      const to = schemaVersion();
      if (from > to) throw newerError(from, to);
      await applyMigrations(db, from, to);
      await completeInstallation(db, options.user);
      return { from, to };
    });
  } finally {
    await database.close();
  }
}

const MIGRATION_LOCK = 0x706977;

/** Waits until no other transaction migrates the database: two at once would both find no tables. */
export async function lockMigrations(db: Queryable): Promise<void> {
  await db.query('select pg_advisory_xact_lock($1)', [MIGRATION_LOCK]);
}

/** Applies the migrations after version `from`, up to version `to`. */
export async function applyMigrations(db: Queryable, from: number, to: number): Promise<void> {
  for (const { number, sql } of migrations()) {
    if (number <= from || number > to) continue;
    await db.query(sql());
    await db.query(
      `insert into configuration (schema_version) values ($1)
       on conflict (id) do update set schema_version = excluded.schema_version`,
      [number],
    );
  }
}

/** Names the installation after this host, if it is new, and grants `user` the privileges that a master needs. */
export async function completeInstallation(db: Queryable, user: string): Promise<void> {
  await db.query(`update installation set name = $1 where name = ''`, [hostname()]);
  await grantPrivileges(db, user);
}

async function grantPrivileges(db: Queryable, user: string): Promise<void> {
  const [role] = await db.query<{ me: boolean }>(
    `select rolname = current_user as me from pg_roles where rolname = $1`,
    [user],
  );
  if (!role) throw noRoleError(user);
  if (!role.me) await grantMasterRights(db, user);
}
