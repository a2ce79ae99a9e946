import type { QueueLength } from '../protocols/oracle.js';
import type { Queryable } from './pool.js';

/** How much waits; `estimated`: of what is many, about so much. */
export interface QueueCount {
  readonly lengths: QueueLength[];
  readonly estimated: boolean;
}

interface Length {
  readonly [column: string]: unknown;
  readonly abi: string;
  readonly platform: string;
  readonly priority: number;
  readonly waiting: number;
  readonly oldest: number | null;
}

/** Up to so many builds of a target and priority are counted, and more of them estimated. */
const COUNTED = 20_000;
/** The estimate is made of so many pages of the table: right to about ten in a hundred. */
const SAMPLED = 2000;

/**
 * [abi, platform, priority, builds that wait, the oldest release among them] of each target and priority.
 * It reads all of the queue: 1.5 s for five million rows.
 */
export async function countQueue(db: Queryable): Promise<QueueCount> {
  const rows = await db.query<Length>(
    `select t.abi, t.platform, q.priority, q.waiting, floor(extract(epoch from q.oldest) * 1000)::float8 as oldest
     from (
       select target_id, priority, count(*) as waiting, min(released) as oldest
       from queue where lease is null group by target_id, priority) q
     join targets t using (target_id) order by t.rank, t.platform, q.priority desc`,
  );
  return { lengths: rows.map(lengthOf), estimated: false };
}

/** The same in milliseconds, whatever the length of the queue: exact where it is short. */
export async function estimateQueue(db: Queryable): Promise<QueueCount> {
  const [size] = await db.query<{ pages: number }>(
    `select pg_relation_size('queue') / current_setting('block_size')::bigint as pages`,
  );
  const share = Math.min(1, SAMPLED / Math.max(1, size?.pages ?? 1));
  const rows = await db.query<Length & { sampled: number }>(
    `with sample as materialized (
       select target_id, priority, count(*) as waiting
       from queue tablesample system ($1) where lease is null group by target_id, priority)
     select t.abi, t.platform, priority, counted.waiting, coalesce(s.waiting, 0)::bigint as sampled,
       floor(extract(epoch from (
         select min(released) from queue q
         where q.target_id = t.target_id and q.priority = p.priority and q.lease is null)) * 1000)::float8 as oldest
     from targets t cross join (values (0), (1), (2)) p (priority)
     cross join lateral (
       select count(*) as waiting from (
         select from queue q where q.target_id = t.target_id and q.priority = p.priority and q.lease is null
         limit ${String(COUNTED)}) front) counted
     left join sample s using (target_id, priority)
     where counted.waiting > 0 order by t.rank, t.platform, priority desc`,
    [share * 100],
  );
  const many = (row: Length) => row.waiting === COUNTED;
  return {
    lengths: rows.map((row) =>
      lengthOf(many(row) ? { ...row, waiting: Math.max(COUNTED, roughly(row.sampled / share)) } : row),
    ),
    estimated: rows.some(many),
  };
}

/** No more digits than a sample is worth. */
const roughly = (count: number): number => Number(count.toPrecision(2));

const lengthOf = ({ abi, platform, priority, waiting, oldest }: Length): QueueLength => [
  abi,
  platform,
  priority,
  waiting,
  oldest,
];

/** How many builds slaves have now, and how many ended in the last hour. */
export async function queuePace(
  db: Queryable,
): Promise<{ building: number; last_hour: number; last_minute: number }> {
  const [row] = await db.query<{ building: number; last_hour: number; last_minute: number }>(
    `select
       (select count(*) from queue where lease is not null and slave_id is not null) as building,
       (select count(*) from builds where built_at > now() - interval '1 hour') as last_hour,
       (select count(*) from builds where built_at > now() - interval '1 minute') as last_minute`,
  );
  return row ?? { building: 0, last_hour: 0, last_minute: 0 };
}
