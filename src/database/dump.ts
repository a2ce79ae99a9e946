import type { Queryable } from './pool.js';

/** The tables of a database, as a logical dump contains them and a restore loads them. */
export interface DumpedTable {
  readonly name: string;
  /** In the order of the fields of a row; without generated columns. */
  readonly columns: readonly string[];
}

/** A sequence that has been used: its last value. */
export type SequenceValue = readonly [name: string, lastValue: number];

/** The query of the file list: see listedFileOf(). */
export const FILE_LIST_QUERY = `select p.package, f.filename, f.filesize, f.sha256, f.metadata_sha256
  from files f join versions v using (version_id) join packages p using (package_id)
  order by p.package collate "C", f.filename collate "C"`;

/** A published file that the database lists. */
export interface ListedFile {
  readonly package: string;
  readonly filename: string;
  /** Bytes. */
  readonly filesize: number;
  readonly sha256: string;
  readonly metadata_sha256: string;
}

/** Parses a row of FILE_LIST_QUERY in COPY's text format. None of its values contains what that format escapes. */
export function listedFileOf(row: string): ListedFile {
  const [name = '', filename = '', filesize = '', sha256 = '', metadata = ''] = row.split('\t');
  return { package: name, filename, filesize: Number(filesize), sha256, metadata_sha256: metadata };
}

/**
 * Makes this transaction's values independent of the server's configuration, and lets it take as long as it needs. A dump
 * and the restore of it use the same formats.
 */
export async function prepareForCopy(db: Queryable): Promise<void> {
  await db.query(
    `set local statement_timeout = 0; set local lock_timeout = 0;
     set local idle_in_transaction_session_timeout = 0;
     set local timezone = 'UTC'; set local datestyle = 'ISO, MDY'; set local intervalstyle = 'postgres';
     set local extra_float_digits = 1`,
  );
}

/** Returns all tables, each after those that its foreign keys refer to. Partitions are part of their table. */
export async function listTables(db: Queryable): Promise<readonly DumpedTable[]> {
  const tables = await db.query<{ name: string; columns: string[] }>(
    `select c.relname::text as name, array_agg(a.attname::text order by a.attnum) as columns
     from pg_class c join pg_attribute a on a.attrelid = c.oid
     where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
       and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
     group by c.relname order by c.relname`,
  );
  const references = await db.query<{ name: string; refers_to: string }>(
    `select c.relname::text as name, r.relname::text as refers_to
     from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_class r on r.oid = k.confrelid
     where k.contype = 'f' and k.connamespace = current_schema()::regnamespace and c.oid <> r.oid`,
  );
  const ordered: DumpedTable[] = [];
  let rest = tables;
  while (rest.length > 0) {
    const names = new Set(rest.map(({ name }) => name));
    const waiting = new Set(references.filter((key) => names.has(key.refers_to)).map(({ name }) => name));
    const ready = rest.filter(({ name }) => !waiting.has(name));
    if (ready.length === 0) throw new Error(`foreign keys in a circle: ${[...names].join(', ')}`);
    ordered.push(...ready);
    rest = rest.filter(({ name }) => waiting.has(name));
  }
  return ordered;
}

/** Returns the COPY statement that writes a table's rows; a partitioned table can be copied by a query only. */
export const copyOutStatement = ({ name, columns }: DumpedTable): string =>
  `copy (select ${columns.map(quoteIdentifier).join(', ')} from ${quoteIdentifier(name)}) to stdout`;

/** Returns the COPY statement that reads what copyOutStatement() has written. */
export const copyInStatement = ({ name, columns }: DumpedTable): string =>
  `copy ${quoteIdentifier(name)} (${columns.map(quoteIdentifier).join(', ')}) from stdin`;

/** Returns the last value of every sequence that has been used. It may be newer than the transaction's snapshot. */
export async function listSequences(db: Queryable): Promise<readonly SequenceValue[]> {
  const sequences = await db.query<{ name: string }>(
    `select relname::text as name from pg_class
     where relnamespace = current_schema()::regnamespace and relkind = 'S' order by relname`,
  );
  const values: SequenceValue[] = [];
  for (const { name } of sequences) {
    // One by one, because pg_sequences leaves out the values that our role may not read.
    const [row] = await db.query<{ last_value: number; is_called: boolean }>(
      `select last_value, is_called from ${quoteIdentifier(name)}`,
    );
    if (row?.is_called) values.push([name, row.last_value]);
  }
  return values;
}

/** Returns the months for which web servers' logs have partitions, each as its first day. */
export async function listLogMonths(db: Queryable): Promise<readonly string[]> {
  const rows = await db.query<{ month: string }>(
    `select distinct to_char(to_date(substring(relname from '\\d{6}$'), 'YYYYMM'), 'YYYY-MM-DD') as month
     from pg_class
     where relnamespace = current_schema()::regnamespace and relispartition
       and relname ~ '^(downloads|page_hits)_\\d{6}$'
     order by 1`,
  );
  return rows.map(({ month }) => month);
}

/** Returns the database's time, ISO 8601, and the installation that it belongs to (null before schema version 15). */
export async function describeSnapshot(
  db: Queryable,
  schemaVersion: number,
): Promise<{ readonly taken: string; readonly installation: string | null }> {
  const [row] = await db.query<{ taken: string; installation: string | null }>(
    `select to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as taken,
       ${schemaVersion < INSTALLATION_VERSION ? 'null' : '(select id::text from installation)'} as installation`,
  );
  if (!row) throw new Error('a select without from returns one row');
  return row;
}

/** The schema version from which on a database has an installation's identity. */
const INSTALLATION_VERSION = 15;

/** Returns those of these files that the database still lists. */
export async function stillListed(db: Queryable, filenames: readonly string[]): Promise<ReadonlySet<string>> {
  const rows = await db.query<{ filename: string }>(
    'select filename from files where filename = any ($1::text[])',
    [filenames],
  );
  return new Set(rows.map(({ filename }) => filename));
}

export const quoteIdentifier = (name: string): string => `"${name.replaceAll('"', '""')}"`;
