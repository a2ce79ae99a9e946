import type { Readable } from 'node:stream';
import { PiwError } from '../errors.js';
import {
  copyInStatement,
  listTables,
  prepareForCopy,
  quoteIdentifier,
  type DumpedTable,
  type SequenceValue,
} from './dump.js';
import {
  applyMigrations,
  completeInstallation,
  lockMigrations,
  noRoleError,
  schemaVersion,
} from './migrations.js';
import { notifyQueue, requeue } from './queue.js';
import type { Database, Queryable, SqlRow, Transaction } from './pool.js';
import { formatQuantity } from '../units.js';

/** A dump of a database. */
interface DatabaseDump {
  readonly schemaVersion: number;
  readonly tables: readonly (DumpedTable & { readonly rows: number })[];
  readonly sequences: readonly SequenceValue[];
  readonly logMonths: readonly string[];
  /** Opens the rows of a table, in the text format of COPY. */
  open(table: string): Readable;
}

interface LoadOptions {
  /** The master's role. */
  readonly user: string;
  /** Published files that are lost: their records are dropped, so that they are built again. */
  readonly lostFiles: readonly string[];
  /** Whether the output path still has the pages that the dump lists. */
  readonly keepsPages: boolean;
}

/** What piw restore finds in the database before it changes anything. */
export interface TargetDatabase {
  readonly database: string;
  /** The role that we connect as, and the role for the master. */
  readonly role: string;
  readonly user: string;
}

/**
 * Checks that a dump can be loaded into the database. The master's role is `user`; by default
 * the role that we connect as or, if that is a superuser, `userForSuperuser`. Throws PIW_NOT_EMPTY,
 * PIW_RESTORE_RIGHTS, PIW_NO_ROLE, and PIW_SUPERUSER unless `allowSuperuser`.
 */
export async function checkTarget(
  db: Queryable,
  options: {
    readonly user: string | undefined;
    readonly userForSuperuser: string;
    readonly allowSuperuser: boolean;
  },
): Promise<TargetDatabase> {
  const [row] = await db.query<
    SqlRow & { database: string; role: string; is_superuser: boolean; may_create: boolean }
  >(
    `select current_database() as database, current_user as role, rolsuper as is_superuser,
       coalesce(has_schema_privilege(current_schema(), 'create'), false) as may_create
     from pg_roles where rolname = current_user`,
  );
  if (!row) throw new Error('the query for our own role returned no row');
  const { database, role } = row;
  if (!row.may_create)
    throw new PiwError(
      'PIW_RESTORE_RIGHTS',
      `role ${role} may not create tables in the database ${database}`,
    );
  await refuseTables(db, database);
  const user = options.user ?? (row.is_superuser ? options.userForSuperuser : role);
  const [master] = await db.query<{ rolsuper: boolean }>('select rolsuper from pg_roles where rolname = $1', [
    user,
  ]);
  if (!master) throw noRoleError(user);
  if (master.rolsuper && !options.allowSuperuser)
    throw new PiwError('PIW_SUPERUSER', `the role ${user} for the master is a PostgreSQL superuser`);
  return { database, role, user };
}

async function refuseTables(db: Queryable, database: string): Promise<void> {
  const [table] = await db.query<{ relname: string }>(
    `select relname::text from pg_class
     where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p') order by relname limit 1`,
  );
  if (table)
    throw new PiwError(
      'PIW_NOT_EMPTY',
      `the database ${database} has tables already, for example ${table.relname}`,
    );
}

/**
 * Loads a dump into an empty database, and migrates it to this program's version, in one transaction. What belongs to
 * the farm that the dump was taken from, or to servers that are not restored, is made new: see renewState().
 */
export async function loadDump(database: Database, dump: DatabaseDump, options: LoadOptions): Promise<void> {
  await database.transaction(async (db) => {
    await lockMigrations(db);
    const [row] = await db.query<{ name: string }>('select current_database() as name');
    await refuseTables(db, row?.name ?? '');
    await prepareForCopy(db);
    await applyMigrations(db, 0, dump.schemaVersion);
    await loadTables(db, dump);
    // Migrations set what they need themselves, and end with it.
    await applyMigrations(db, dump.schemaVersion, schemaVersion());
    await prepareForCopy(db);
    await dropFiles(db, options.lostFiles);
    await renewState(db, options);
    await completeInstallation(db, options.user);
    // Without statistics, the first plans would be those for empty tables.
    for (const { name } of await listTables(db)) await db.query(`analyze ${quoteIdentifier(name)}`);
  });
}

/** Tables whose rows belong to the farm that the dump was taken from: a restored database is another installation. */
const NOT_LOADED: ReadonlySet<string> = new Set(['installation', 'fences']);

async function loadTables(db: Transaction, dump: DatabaseDump): Promise<void> {
  const created = (await listTables(db)).filter(({ name }) => !NOT_LOADED.has(name));
  const quoted = created.map(({ name }) => quoteIdentifier(name));
  if (dump.logMonths.length > 0) await db.query('select make_log_months($1::date[])', [dump.logMonths]);
  // The triggers' sums are in the dump.
  for (const name of quoted) await db.query(`alter table ${name} disable trigger user`);
  // Migrations have written first rows.
  for (const name of quoted.toReversed()) await db.query(`delete from ${name}`);
  for (const { name } of created) {
    // A table that the dump doesn't have would have been empty.
    const table = dump.tables.find((each) => each.name === name);
    if (!table) continue;
    const rows = await db.copyFrom(copyInStatement(table), dump.open(name));
    if (rows !== table.rows)
      throw new PiwError(
        'PIW_BACKUP_DAMAGED',
        `the table ${name} of the backup has ${formatQuantity(rows, 'row')} instead of ${table.rows}`,
      );
  }
  for (const name of quoted) await db.query(`alter table ${name} enable trigger user`);
  for (const [name, lastValue] of dump.sequences)
    await db.query('select setval($1::regclass, $2)', [quoteIdentifier(name), lastValue]);
}

/**
 * How far sequences are moved on whose values the farm has handed out: after the backup it went on handing them out, to
 * slaves that may come back with them, and to mirrors. It is more than a farm uses in years.
 */
const SEQUENCE_GAP = 1_000_000_000;

/**
 * Makes new what the servers and folders of before had: leases of tasks end, pages are due, and no number that the farm
 * handed out after the backup is handed out again.
 */
async function renewState(db: Queryable, { keepsPages }: LoadOptions): Promise<void> {
  for (const name of ['leases', 'serials'])
    await db.query(`select setval($1::regclass, nextval($1::regclass) + $2)`, [name, SEQUENCE_GAP]);
  // The root lists packages whose page is on the disk.
  if (!keepsPages) await db.query('delete from listed_packages');
  await db.query(
    `insert into pages_backlog (kind, argument)
     select case when exists (
         select from versions v join files f using (version_id) where v.package_id = p.package_id)
       then 'PKG' else 'PROJECT' end, p.package
     from packages p
     union all select 'LOG', build_id::text from builds
     on conflict (kind, argument) do update set revision = excluded.revision`,
  );
}

/** Drops the records of files, and of the builds that made them, so that they are built again. */
async function dropFiles(db: Queryable, filenames: readonly string[]): Promise<void> {
  if (filenames.length === 0) return;
  const files = await db.query<{ version_id: number; build_id: number | null }>(
    'delete from files where filename = any ($1::text[]) returning version_id, build_id',
    [filenames],
  );
  await db.query('delete from builds where build_id = any ($1::bigint[])', [
    files.flatMap(({ build_id }) => build_id ?? []),
  ]);
  await requeue(
    db,
    files.map(({ version_id }) => version_id),
  );
  await notifyQueue(db);
}

/** Returns the SHA-256 under which each of these names was ever published, by filename. */
export async function publishedDigests(
  db: Queryable,
  filenames: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const rows = await db.query<{ filename: string; sha256: string }>(
    'select filename, sha256 from published_files where filename = any ($1::text[])',
    [filenames],
  );
  return new Map(rows.map(({ filename, sha256 }) => [filename, sha256]));
}
