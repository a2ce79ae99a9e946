import type { Origin } from '../model/release.js';
import type { SearchRow } from '../model/project.js';
import { markPagesDue, markPackagesDue } from './pages.js';
import type { Database, Queryable } from './pool.js';
import { notifyQueue, requeue } from './queue.js';
import { recordRemovals } from './removals.js';

export async function allPackages(db: Queryable): Promise<readonly string[]> {
  const rows = await db.query<{ package: string }>('select package from packages order by package');
  return rows.map((row) => row.package);
}

/**
 * Returns up to `page.limit` packages with files to offer, by name, after `page.after`. Packages and versions that were
 * removed from the followed index are included only if `includeRemoved`.
 */
export async function offeredPackages(
  db: Queryable,
  page: { readonly after: string; readonly limit: number },
  includeRemoved: boolean,
): Promise<readonly string[]> {
  const rows = await db.query<{ package: string }>(
    `select package from packages p
     where package collate "C" > $2 and status <> 'quarantined' and (removed_at is null or $1) and exists (
       select from versions v join files f using (version_id)
       where v.package_id = p.package_id and not v.quarantined and (v.removed_at is null or $1))
     order by package collate "C" limit $3`,
    [includeRemoved, page.after, page.limit],
  );
  return rows.map((row) => row.package);
}

export async function packageExists(db: Queryable, name: string): Promise<boolean> {
  return (await db.query('select 1 from packages where package = $1', [name])).length > 0;
}

/**
 * Adds a package, or updates the description and adds the aliases of one that exists. Returns true if it is new. Call
 * it in a transaction: it may also requeue the package's versions.
 */
export async function upsertPackage(
  db: Queryable,
  added: { package: string; description: string | null; origin: Origin; aliases: readonly string[] },
): Promise<boolean> {
  const [row] = await db.query<{ created: boolean; back: boolean }>(
    `with before as (select removed_at is not null as removed from packages where package = $1)
     insert into packages as p (package, description, origin, aliases) values ($1, $2, $3, $4)
     on conflict (package) do update
     set description = coalesce(excluded.description, p.description),
       aliases = array(select distinct unnest(p.aliases || excluded.aliases) order by 1),
       -- What an administrator has named is no longer the feed's to remove.
       origin = case when excluded.origin = 'feed' then p.origin else excluded.origin end,
       removed_at = case when excluded.origin = 'feed' then p.removed_at end
     returning (xmax = 0) as created, p.removed_at is null and (select removed from before) as back`,
    [added.package, added.description, added.origin, added.aliases],
  );
  if (row?.back) await requeuePackage(db, added.package);
  return row?.created ?? false;
}

/** Skips a package, whose versions are then not built, for the reason `skip`; null: builds them again. */
export async function skipPackage(database: Database, name: string, skip: string | null): Promise<void> {
  await database.transaction(async (db) => {
    await db.query('update packages set skip = $2 where package = $1', [name, skip]);
    await requeuePackage(db, name);
  });
}

/** Hides a version, or (version null) the whole package, and stops its builds; `quarantined` false undoes that. */
export async function setQuarantined(
  database: Database,
  name: string,
  version: string | null,
  quarantined: boolean,
): Promise<void> {
  await database.transaction(async (db) => {
    if (version === null) {
      await db.query('update packages set status = $2 where package = $1', [
        name,
        quarantined ? 'quarantined' : 'active',
      ]);
    } else {
      await db.query(
        `update versions v set quarantined = $3 from packages p
         where p.package_id = v.package_id and p.package = $1 and v.version = $2`,
        [name, version, quarantined],
      );
    }
    await requeuePackage(db, name);
  });
}

/** Deletes a package and everything that belongs to it. Returns the names of the deleted files. */
export async function deletePackage(database: Database, name: string): Promise<readonly string[]> {
  return await database.transaction(async (db) => {
    const files = await db.query<{ filename: string }>(
      `select filename from files join versions using (version_id) join packages using (package_id) where package = $1`,
      [name],
    );
    await db.query('delete from packages where package = $1', [name]);
    await markPagesDue(db, [['DELPKG', name]]);
    const filenames = files.map(({ filename }) => filename);
    await recordRemovals(db, name, filenames);
    return filenames;
  });
}

/**
 * Returns up to `page.limit` rows of the search index, by name, after `page.after`: [package, description, files,
 * downloads in 30 days]. The downloads are as of the last refresh of the month's totals: see sums.ts.
 */
export async function searchIndex(
  db: Queryable,
  page: { readonly after: string; readonly limit: number },
): Promise<readonly SearchRow[]> {
  const rows = await db.query<{
    package: string;
    description: string | null;
    files: number;
    downloads: number;
  }>(
    `select p.package, p.description, coalesce(f.files, 0) as files, coalesce(m.downloads, 0) as downloads
     from (
       select package_id, package, description from packages
       where package collate "C" > $1 order by package collate "C" limit $2) p
     left join package_files f using (package_id) left join package_month m using (package_id)
     order by p.package collate "C"`,
    [page.after, page.limit],
  );
  return rows.map((row) => [row.package, row.description, row.files, row.downloads]);
}

async function requeuePackage(db: Queryable, name: string): Promise<void> {
  const rows = await db.query<{ version_id: number }>(
    'select version_id from versions join packages using (package_id) where package = $1',
    [name],
  );
  await requeue(
    db,
    rows.map(({ version_id }) => version_id),
  );
  await markPackagesDue(db, [name]);
  await notifyQueue(db);
}
