import { fence } from './fences.js';
import type { Database, Queryable } from './pool.js';

/** So many changes are summed up by one call: in a second, where there are as many. */
const MAX_CHANGES = 100_000;
/** So many times as long as it took to sum up a month's downloads, they hold. */
const MONTH_FRESHNESS_FACTOR = 200;

/**
 * Sums up what has changed since it was last done, for the statistics and their history; true if there is more.
 * Nothing is lost or counted twice, however late it is done and whoever does it; until then the changes count as
 * they are. A Big Brother that was replaced is PIW_FENCED.
 */
export async function sumUp(database: Database, revision: number, limit = MAX_CHANGES): Promise<boolean> {
  return await database.transaction(async (db) => {
    await fence(db, 'big-brother', revision);
    const [row] = await db.query<{ summed: number }>('select sum_up($1) as summed', [limit]);
    if (row?.summed === limit) return true;
    await refreshMonthTotals(db);
    return false;
  });
}

/**
 * Makes the downloads of each package in 30 days what they are now: at once on a small farm; on one where that takes
 * a second, every few minutes.
 */
async function refreshMonthTotals(db: Queryable): Promise<void> {
  const due = await db.query(
    `update month_summed set at = clock_timestamp()
     where at is null or at + took * ${String(MONTH_FRESHNESS_FACTOR)} < clock_timestamp() returning 1`,
  );
  if (due.length === 0) return;
  await db.query(
    `with now_are as materialized (
       select package_id, sum(downloads) as downloads from download_days
       where day > (now() at time zone 'UTC')::date - 30 group by package_id
     ), gone as (
       delete from package_month m where not exists (select from now_are n where n.package_id = m.package_id)
     )
     insert into package_month as m (package_id, downloads) select package_id, downloads from now_are order by 1
     on conflict (package_id) do update set downloads = excluded.downloads
     where m.downloads <> excluded.downloads`,
  );
  await db.query('update month_summed set took = clock_timestamp() - at');
}
