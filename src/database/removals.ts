import type { Queryable } from './pool.js';

/** A file that is no longer listed and may still be published: [package, filename, seconds since it was listed]. */
type PendingRemoval = readonly [name: string, filename: string, ageS: number];

/** Records files of a package that the same transaction stops listing, until endRemovals(). */
export async function recordRemovals(
  db: Queryable,
  name: string,
  filenames: readonly string[],
): Promise<void> {
  if (filenames.length === 0) return;
  await db.query(
    `insert into file_removals (filename, package) select unnest($2::text[]), $1
     on conflict (filename) do update set package = excluded.package, unlisted_at = excluded.unlisted_at`,
    [name, filenames],
  );
}

/** Returns up to `limit` pending removals, the oldest first; with `name`, those of this package. */
export async function pendingRemovals(
  db: Queryable,
  name: string | null,
  limit: number,
): Promise<readonly PendingRemoval[]> {
  const rows = await db.query<{ package: string; filename: string; age: number }>(
    `select package, filename, greatest(0, extract(epoch from clock_timestamp() - unlisted_at))::float8 as age
     from file_removals where $1::text is null or package = $1 order by unlisted_at, filename limit $2`,
    [name, limit],
  );
  return rows.map(({ package: packageName, filename, age }) => [packageName, filename, age]);
}

/** Deletes the records of files that are gone, or that another build has published since. */
export async function endRemovals(db: Queryable, filenames: readonly string[]): Promise<void> {
  await db.query('delete from file_removals where filename = any ($1::text[])', [filenames]);
}
