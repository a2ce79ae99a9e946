import type { EndedBuild, HomePageData, ActivityHistory } from '../protocols/site.js';
import type { Queryable, SqlRow } from './pool.js';

type HistoryPoint = ActivityHistory['hours'][number];

/** Builds, and packages, that the home page lists. */
const HOME_PAGE_ROWS = 20;

/** Returns what the home page shows in addition to the statistics. */
export async function homePageData(db: Queryable): Promise<HomePageData> {
  return {
    history: {
      hours: await historyPoints(db, 'hour', 48),
      days: await historyPoints(db, 'day', 365),
      months: await historyPoints(db, 'month', 1200, 'greatest(first, known)'),
    },
    latest: [...(await latestBuilds(db))],
    popular: await popularPackages(db),
  };
}

/**
 * Returns the totals of each of the last `count` hours, days or months in UTC, including the current one, without gaps.
 * `startExpression` is the SQL of the first step: `first` is the earliest of `count` steps, and `known` the step of the
 * earliest recorded event.
 */
async function historyPoints(
  db: Queryable,
  step: 'hour' | 'day' | 'month',
  count: number,
  startExpression = 'first',
): Promise<HistoryPoint[]> {
  const rows = await db.query<{ began: number; builds: number; failed: number; downloads: number }>(
    // Timestamps without time zone are in UTC here, so that a day has 24 hours whatever the session's time zone is.
    `with span as (
       select ${startExpression} as starts, this as ends from (
         select this, this - interval '${count - 1} ${step}' as first, known
         from date_trunc('${step}', now() at time zone 'UTC') this, date_trunc('${step}', least(now(), (
           select min(began) from history_now where step = 'month')) at time zone 'UTC') known) n
     ), sums as (
       select began, sum(value) filter (where figure = 'builds') as builds,
         sum(value) filter (where figure in ('builds_failed', 'builds_retried')) as failed,
         sum(value) filter (where figure = 'downloads') as downloads
       -- One step more than requested, in a form from which the planner can estimate how few rows match.
       from history_now where step = '${step}' and began > now() - interval '${count + 1} ${step}' group by began
     )
     select floor(extract(epoch from began) * 1000)::float8 as began, coalesce(builds, 0)::bigint as builds,
       coalesce(failed, 0)::bigint as failed, coalesce(downloads, 0)::bigint as downloads
     from (
       select at at time zone 'UTC' as began from span, generate_series(starts, ends, '1 ${step}') at) s
     left join sums using (began) order by began`,
  );
  return rows.map(({ began, builds, failed, downloads }): HistoryPoint => [began, builds, failed, downloads]);
}

async function latestBuilds(db: Queryable): Promise<readonly EndedBuild[]> {
  return await db.query<EndedBuild & SqlRow>(
    `select b.build_id, p.package, v.version, t.abi, t.platform, b.status, b.failure_class,
       floor(extract(epoch from b.built_at) * 1000)::float8 as built, extract(epoch from b.duration)::float8 as duration_s,
       b.slave_id is null and b.status as imported
     from builds b join versions v using (version_id) join packages p using (package_id) join targets t using (target_id)
     order by b.build_id desc limit ${HOME_PAGE_ROWS}`,
  );
}

/**
 * Returns the packages with the most downloads in 30 days, as of the last refresh of the month's totals (see sums.ts).
 * Quarantined packages are left out, as everywhere.
 */
async function popularPackages(db: Queryable): Promise<HomePageData['popular']> {
  const rows = await db.query<{ package: string; downloads: number }>(
    `select p.package, m.downloads from package_month m join packages p using (package_id)
     where p.status <> 'quarantined' order by m.downloads desc, m.package_id limit ${HOME_PAGE_ROWS}`,
  );
  return rows.map((row) => [row.package, row.downloads]);
}
