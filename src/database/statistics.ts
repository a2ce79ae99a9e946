import type { Statistics } from '../protocols/statistics.js';
import type { Queryable, SqlRow } from './pool.js';

type CountedStatistics = Omit<
  Statistics,
  | 'builds_succeeded_last_hour'
  | 'builds_succeeded_last_day'
  | 'slaves'
  | 'disk_total'
  | 'disk_free'
  | 'conditions'
> & {
  readonly builds_unsuccessful_last_hour: number;
  readonly builds_unsuccessful_last_day: number;
};

/**
 * Returns the statistics that the database knows, in a few milliseconds however large it is; the other fields are 0 or
 * empty. Most figures are maintained as sums: see sql/000007.sql.
 */
export async function readStatistics(db: Queryable): Promise<Statistics> {
  const [row] = await db.query<CountedStatistics & SqlRow>(
    `with sums as (
       select * from figures_now
     ), at_work as materialized (
       select target_id, count(*) as builds from queue where lease is not null and slave_id is not null group by 1
     ), recent as (
       select step, began, figure, value from history_now
       where (step = 'minute' and began > date_trunc('minute', now()) - interval '1 day')
         or (step = 'hour' and began > date_trunc('hour', now(), 'UTC') - interval '1 day')
         or (step = 'day' and began > date_trunc('day', now(), 'UTC') - interval '720 hours')
     )
     select floor(extract(epoch from now()) * 1000)::float8 as counted, s.*, r.*,
       (select coalesce(sum(builds), 0)::bigint from at_work) as building,
       (select coalesce(json_agg(json_build_array(t.abi, t.platform, coalesce(q.value, 0) - coalesce(w.builds, 0))
           order by t.rank, t.platform), '[]')
         from targets t left join (select * from sums where figure = 'queue') q using (target_id)
           left join at_work w using (target_id)) as queue,
       (select floor(extract(epoch from min(released)) * 1000)::float8
         from targets t cross join lateral (
           -- From the other end of queue_next: min() would read the whole index.
           select released from queue q
           where q.target_id = t.target_id and q.priority = 1 and q.lease is null and released is not null
           order by released asc nulls first limit 1) o) as oldest_release,
       pg_database_size(current_database()) as database_bytes,
       (select floor(extract(epoch from last_event) * 1000)::float8 from feed) as last_event
     from (
       select ${FARM_FIGURES.map((figure) => sumWhere(figure, `figure = '${figure}'`)).join(', ')}
       from sums where target_id = 0) s, (
       select
         ${sumWhere('builds_last_hour', `${IS_BUILD_COUNT} and ${IN_LAST_HOUR}`)},
         ${sumWhere('builds_last_day', IS_BUILD_COUNT)},
         ${sumWhere('builds_unsuccessful_last_hour', `${IS_UNSUCCESSFUL_COUNT} and ${IN_LAST_HOUR}`)},
         ${sumWhere('builds_unsuccessful_last_day', IS_UNSUCCESSFUL_COUNT)},
         ${sumWhere('downloads_last_day', `step = 'hour' and figure = 'downloads'`)},
         ${sumWhere('downloads_last_month', `step = 'day' and figure = 'downloads'`)}
       from recent) r`,
  );
  if (!row) throw new Error('the statistics query returned no row');
  const {
    builds_unsuccessful_last_hour: unsuccessfulInHour,
    builds_unsuccessful_last_day: unsuccessfulInDay,
    ...figures
  } = row;
  return {
    ...figures,
    builds_succeeded_last_hour: figures.builds_last_hour - unsuccessfulInHour,
    builds_succeeded_last_day: figures.builds_last_day - unsuccessfulInDay,
    slaves: [],
    disk_total: 0,
    disk_free: 0,
    conditions: [],
  };
}

/** Figures of the whole farm, as named in sql/000007.sql. */
const FARM_FIGURES = [
  ...['packages', 'packages_built', 'versions', 'builds', 'builds_failed', 'builds_retried'],
  ...['files', 'files_bytes', 'downloads'],
];
const IS_BUILD_COUNT = `step = 'minute' and figure = 'builds'`;
/** Builds that failed for good, and those that are retried. */
const IS_UNSUCCESSFUL_COUNT = `step = 'minute' and figure in ('builds_failed', 'builds_retried')`;
const IN_LAST_HOUR = `began > date_trunc('minute', now()) - interval '1 hour'`;

const sumWhere = (name: string, condition: string): string =>
  `coalesce(sum(value) filter (where ${condition}), 0)::bigint as ${name}`;
