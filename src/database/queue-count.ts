import type { QueueLength } from '../model/queue.js';
import type { Queryable, SqlRow } from './pool.js';

/** The figures of the queue that take long to count. */
export interface QueueCount {
  /** Waiting builds, by target and priority. */
  readonly lengths: QueueLength[];
  /** Builds that ended in the last hour. */
  readonly last_hour: number;
  /** Whether some of the figures are estimates; figures below MAX_COUNTED are always exact. */
  readonly estimated: boolean;
}

interface QueueLengthRow {
  readonly [column: string]: unknown;
  readonly abi: string;
  readonly platform: string;
  readonly priority: number;
  readonly waiting: number;
  readonly oldest: number | null;
}

/** Builds that are counted exactly, per target and priority, or per hour; larger numbers are estimated. */
const MAX_COUNTED = 20_000;
/** Disk blocks of the table that an estimate samples; the error is about 10 %. */
const SAMPLED_BLOCKS = 2000;

const IN_LAST_HOUR = "built_at > now() - interval '1 hour'";

/** Counts exactly. Takes 1.5 s for five million waiting builds, and 0.5 s for as many that have ended. */
export async function countQueue(db: Queryable): Promise<QueueCount> {
  const rows = await db.query<QueueLengthRow>(
    `select t.abi, t.platform, q.priority, q.waiting, floor(extract(epoch from q.oldest) * 1000)::float8 as oldest
     from (
       select target_id, priority, count(*) as waiting, min(released) as oldest
       from queue where lease is null group by target_id, priority) q
     join targets t using (target_id) order by t.rank, t.platform, q.priority desc`,
  );
  const [ended] = await db.query<{ last_hour: number }>(
    `select count(*) as last_hour from builds where ${IN_LAST_HOUR}`,
  );
  return { lengths: rows.map(toQueueLength), last_hour: ended?.last_hour ?? 0, estimated: false };
}

/** Returns the same figures within 0.1 s however long the queue is: exact up to MAX_COUNTED, estimated above. */
export async function estimateQueue(db: Queryable): Promise<QueueCount> {
  const [size] = await db.query<{ pages: number }>(
    `select pg_relation_size('queue') / current_setting('block_size')::bigint as pages`,
  );
  const sampledShare = Math.min(1, SAMPLED_BLOCKS / Math.max(1, size?.pages ?? 1));
  const rows = await db.query<QueueLengthRow & { sampled: number }>(
    `with sample as materialized (
       select target_id, priority, count(*) as waiting
       from queue tablesample system ($1) where lease is null group by target_id, priority)
     select t.abi, t.platform, priority, counted.waiting, coalesce(s.waiting, 0)::bigint as sampled,
       floor(extract(epoch from (
         -- In the order of the index, from its end: min() would read the whole index.
         select released from queue q
         where q.target_id = t.target_id and q.priority = p.priority and q.lease is null and released is not null
         order by released asc nulls first limit 1)) * 1000)::float8 as oldest
     from targets t cross join (values (0), (1), (2)) p (priority)
     cross join lateral (
       select count(*) as waiting from (
         select from queue q where q.target_id = t.target_id and q.priority = p.priority and q.lease is null
         -- The order makes the planner use the index: with few distinct values it would prefer a scan of the table.
         order by q.released desc nulls last, q.version_id desc limit ${MAX_COUNTED}) front) counted
     left join sample s using (target_id, priority)
     where counted.waiting > 0 order by t.rank, t.platform, priority desc`,
    [sampledShare * 100],
  );
  const isEstimated = (row: QueueLengthRow) => row.waiting === MAX_COUNTED;
  const lastHour = await estimateLastHour(db);
  return {
    lengths: rows.map((row) =>
      toQueueLength(
        isEstimated(row)
          ? { ...row, waiting: Math.max(MAX_COUNTED, roundToTwoDigits(row.sampled / sampledShare)) }
          : row,
      ),
    ),
    last_hour: lastHour.estimated ? roundToTwoDigits(lastHour.last_hour) : lastHour.last_hour,
    estimated: lastHour.estimated || rows.some(isEstimated),
  };
}

/**
 * Counts the builds that ended in the last hour, or estimates them if there are MAX_COUNTED or more: build ids are
 * assigned nearly in the order in which builds end, so their difference is nearly the number of builds.
 */
async function estimateLastHour(db: Queryable): Promise<{ last_hour: number; estimated: boolean }> {
  const [row] = await db.query<{ counted: number; numbers: number | null }>(
    `select
       (select count(*) from (select from builds where ${IN_LAST_HOUR} limit ${MAX_COUNTED}) front) as counted,
       (select build_id from builds order by built_at desc limit 1)
         - (select build_id from builds where ${IN_LAST_HOUR} order by built_at limit 1) as numbers`,
  );
  const counted = row?.counted ?? 0;
  if (counted < MAX_COUNTED) return { last_hour: counted, estimated: false };
  return { last_hour: Math.max(counted, row?.numbers ?? 0), estimated: true };
}

/** Rounds to the two digits that a sample supports. */
const roundToTwoDigits = (count: number): number => Number(count.toPrecision(2));

const toQueueLength = ({ abi, platform, priority, waiting, oldest }: QueueLengthRow): QueueLength => [
  abi,
  platform,
  priority,
  waiting,
  oldest,
];

interface QueueActivity {
  /** Builds that slaves are working on. */
  readonly building: number;
  /** Builds that are held back until the retry of a transient failure. */
  readonly held: number;
  /** Builds that ended in the last minute. */
  readonly last_minute: number;
}

export async function queueActivity(db: Queryable): Promise<QueueActivity> {
  const [row] = await db.query<QueueActivity & SqlRow>(
    `select building, leased - building as held,
       (select count(*) from builds where built_at > now() - interval '1 minute') as last_minute
     from (select count(*) as leased, count(slave_id) as building from queue where lease is not null) q`,
  );
  return row ?? { building: 0, held: 0, last_minute: 0 };
}
