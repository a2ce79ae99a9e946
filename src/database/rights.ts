import type { Queryable, SqlRow } from './pool.js';

/**
 * The rights of a master's role on each table besides reading it, as few as it can work with: it can't change the
 * version of the tables, and can't forget a published name. test/database/rights.test.ts compares this with the SQL of
 * the program. Triggers and functions run with the rights of whoever caused them, the two that create and drop
 * partitions excepted.
 */
const TABLE_RIGHTS: Readonly<Record<string, readonly Right[]>> = {
  builds: ['insert', 'update', 'delete'],
  download_days: ['insert', 'update', 'delete'],
  download_hours: ['insert', 'update'],
  downloads: ['insert', 'delete'],
  feed: ['update'],
  fences: ['insert', 'update'],
  figure_changes: ['insert', 'delete'],
  figures: ['insert', 'update'],
  file_downloads: ['insert', 'update', 'delete'],
  file_removals: ['insert', 'update', 'delete'],
  files: ['insert', 'update', 'delete'],
  history: ['insert', 'update', 'delete'],
  installation: ['update'],
  listed_packages: ['insert', 'update', 'delete'],
  logs: ['insert', 'update', 'delete'],
  month_summed: ['update'],
  package_files: ['insert', 'update', 'delete'],
  package_month: ['insert', 'update', 'delete'],
  packages: ['insert', 'update', 'delete'],
  page_fetches: ['insert', 'update', 'delete'],
  page_hits: ['insert'],
  pages_backlog: ['insert', 'update', 'delete'],
  paused_tasks: ['insert', 'delete'],
  published_files: ['insert'],
  queue: ['insert', 'update', 'delete'],
  slaves: ['insert', 'update'],
  specifier_admits: ['insert'],
  specifiers: ['insert'],
  tag_covers: ['insert'],
  tags: ['insert'],
  targets: ['insert', 'update', 'delete'],
  versions: ['insert', 'update', 'delete'],
};

type Right = 'insert' | 'update' | 'delete';

/** [table, right] of each right of a master's role besides reading. */
export const MASTER_RIGHTS: readonly (readonly [table: string, right: string])[] = Object.entries(
  TABLE_RIGHTS,
).flatMap(([table, rights]) => rights.map((right) => [table, right] as const));

/** Returns whether a role has all rights of a master on the tables that there are. */
export async function hasMasterRights(db: Queryable, role: string): Promise<boolean> {
  const [row] = await db.query<SqlRow & { readonly has_rights: boolean }>(
    `with ours as (
       select oid, relname from pg_class
       where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p') and not relispartition
     ), needed as (
       select oid, 'select' as verb from ours
       union all
       select oid, r.verb from unnest($2::text[], $3::text[]) as r (name, verb) join ours on relname = r.name
     )
     select not exists (select from needed where not has_table_privilege($1, oid, verb)) as has_rights`,
    [role, MASTER_RIGHTS.map(([table]) => table), MASTER_RIGHTS.map(([, right]) => right)],
  );
  return row?.has_rights === true;
}

/** Grants a role the rights of a master, and takes any others on tables and sequences away. It is not our own role. */
export async function grantMasterRights(db: Queryable, role: string): Promise<void> {
  const [row] = await db.query<SqlRow & { readonly quoted: string; readonly schema: string }>(
    'select quote_ident($1) as quoted, quote_ident(current_schema()) as schema',
    [role],
  );
  if (!row) throw new Error('the query for names returned no row');
  const { quoted, schema } = row;
  await db.query(`grant usage on schema ${schema} to ${quoted}`);
  for (const kind of ['tables', 'sequences'])
    await db.query(`revoke all on all ${kind} in schema ${schema} from ${quoted}`);
  await db.query(`grant select on all tables in schema ${schema} to ${quoted}`);
  for (const [table, rights] of Object.entries(TABLE_RIGHTS))
    await db.query(`grant ${rights.join(', ')} on ${schema}.${table} to ${quoted}`);
  await db.query(`grant usage, select on all sequences in schema ${schema} to ${quoted}`);
  await db.query(`grant execute on all functions in schema ${schema} to ${quoted}`);
}
