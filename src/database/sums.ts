import { assertNotFenced } from './fences.js';
import type { Database, Queryable } from './pool.js';

/** Changes that one call sums up at most, which takes about a second. */
const MAX_CHANGES = 100_000;
/** The month's totals stay valid for this many times the time that computing them took: 0.5 % of the time. */
const MONTH_FRESHNESS_FACTOR = 200;

/**
 * Sums up the changes since the last call, for the statistics and their history. Returns true if there are more.
 * Nothing is lost or counted twice, however late it is called and by whom; until then, reads add up the pending
 * changes. Throws PIW_FENCED for a Big Brother that has been replaced.
 */
export async function sumUp(database: Database, revision: number, limit = MAX_CHANGES): Promise<boolean> {
  return await database.transaction(async (db) => {
    await assertNotFenced(db, 'big-brother', revision);
    const [row] = await db.query<{ summed: number }>('select sum_up($1) as summed', [limit]);
    if (row?.summed === limit) return true;
    await refreshMonthTotals(db);
    return false;
  });
}

/**
 * Refreshes each package's downloads in 30 days if the totals are stale: at every call on a small farm, and every few
 * minutes on one where it takes a second.
 */
async function refreshMonthTotals(db: Queryable): Promise<void> {
  const due = await db.query(
    `update month_summed set at = clock_timestamp()
     where at is null or at + took * ${MONTH_FRESHNESS_FACTOR} < clock_timestamp() returning 1`,
  );
  if (due.length === 0) return;
  await db.query(
    `with now_are as materialized (
       select package_id, sum(downloads) as downloads from download_days
       where day > (now() at time zone 'UTC')::date - 30 group by package_id
     ), stale as (
       delete from package_month m where not exists (select from now_are n where n.package_id = m.package_id)
     )
     insert into package_month as m (package_id, downloads) select package_id, downloads from now_are order by 1
     on conflict (package_id) do update set downloads = excluded.downloads
     where m.downloads <> excluded.downloads`,
  );
  await db.query('update month_summed set took = clock_timestamp() - at');
}
