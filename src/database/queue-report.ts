import type { QueueLength, QueuedVersion } from '../protocols/oracle.js';
import type { Queryable, Row } from './pool.js';

/** Positions are counted for so many builds of a package, and no further than so far. */
const POSITIONS = { builds: 20, most: 100_000 };

/** [abi, platform, priority, builds that wait, the oldest release among them] of each target and priority. */
export async function queueLengths(db: Queryable): Promise<QueueLength[]> {
  const rows = await db.query<{
    abi: string;
    platform: string;
    priority: number;
    waiting: number;
    oldest: number | null;
  }>(
    `select t.abi, t.platform, q.priority, q.waiting, floor(extract(epoch from q.oldest) * 1000)::float8 as oldest
     from (
       select target_id, priority, count(*) as waiting, min(released) as oldest
       from queue where lease is null group by target_id, priority) q
     join targets t using (target_id) order by t.rank, t.platform, q.priority desc`,
  );
  return rows.map(({ abi, platform, priority, waiting, oldest }) => [
    abi,
    platform,
    priority,
    waiting,
    oldest,
  ]);
}

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

interface Found extends Row {
  readonly version_id: number;
  readonly target_id: number;
  readonly version: string;
  readonly abi: string;
  readonly platform: string;
  readonly priority: number | null;
  readonly released: Date | null;
  readonly barred: string | null;
  readonly admitted: boolean;
  readonly requires_python: string | null;
  readonly filled: boolean;
  readonly target_skip: string | null;
  readonly slave: string | null;
  readonly queued: boolean;
  readonly filename: string | null;
  readonly build_id: number | null;
  readonly failure_class: string | null;
  readonly failed: boolean | null;
  readonly ahead: string | null;
}

/** Where each version of a package stands on each target, and why; newest first. Empty: no such package. */
export async function packageQueue(db: Queryable, name: string): Promise<QueuedVersion[]> {
  const rows = await db.query<Found>(
    `select v.version_id, t.target_id, v.version, t.abi, t.platform, q.priority, q.released,
       case when v.skip is not null then 'skipped because ' || v.skip
         when p.skip is not null then 'the package is skipped because ' || p.skip
         when p.gone is not null or v.gone is not null then 'the index has it no more'
         when p.status = 'quarantined' or v.quarantined then 'quarantined'
         when v.yanked is not null then 'yanked' || case when v.yanked = '' then '' else ' because ' || v.yanked end
         when not v.has_sdist then 'it has no source' end as barred,
       v.specifier_id is null or exists (
         select from specifier_admits a where a.specifier_id = v.specifier_id and a.target_id = t.target_id) as admitted,
       s.specifier as requires_python, v.version_id >= t.filled_from as filled, t.skip as target_skip,
       l.label as slave, q.version_id is not null as queued, f.filename, b.build_id, b.failure_class,
       not b.status as failed, least_target.abi as ahead
     from packages p join versions v using (package_id) cross join targets t
     left join specifiers s using (specifier_id)
     left join queue q on q.version_id = v.version_id and q.target_id = t.target_id
     left join slaves l on l.slave_id = q.slave_id and q.lease is not null
     left join lateral (
       select build_id, status, failure_class from builds b
       where b.version_id = v.version_id and b.target_id = t.target_id order by build_id desc limit 1) b on true
     left join lateral (
       select filename from files f join tag_covers c using (tag_id)
       where f.version_id = v.version_id and c.target_id = t.target_id order by filename limit 1) f on true
     left join lateral (
       select u.abi from queue w join targets u using (target_id)
       where w.version_id = v.version_id and u.platform = t.platform and u.rank < t.rank order by u.rank limit 1
     ) least_target on true
     where p.package = $1 order by v.sort_key desc, v.version desc, t.rank, t.platform`,
    [name],
  );
  const found: QueuedVersion[] = [];
  let positions = 0;
  for (const row of rows) {
    const waits = row.queued && row.slave === null && row.filename === null;
    const position = waits && positions < POSITIONS.builds ? await positionOf(db, row) : null;
    if (position !== null) positions += 1;
    found.push({ version: row.version, abi: row.abi, platform: row.platform, position, ...standing(row) });
  }
  return found;
}

function standing(row: Found): Pick<QueuedVersion, 'state' | 'why'> {
  const { filename, slave, queued, failed, failure_class, build_id, barred } = row;
  if (filename !== null) {
    return { state: 'built', why: build_id === null ? `served by ${filename}` : filename };
  }
  if (slave !== null) return { state: 'building', why: `slave ${slave} has it` };
  if (queued) return { state: 'waiting', why: '' };
  if (failed) return { state: 'failed', why: `${failure_class ?? 'other'}, build ${String(build_id)}` };
  if (barred !== null) return { state: 'none', why: barred };
  if (!row.admitted) return { state: 'none', why: `it requires Python ${row.requires_python ?? ''}` };
  if (row.target_skip !== null) return { state: 'none', why: `nothing is built for it: ${row.target_skip}` };
  if (!row.filled) return { state: 'none', why: 'the target is new, and this version is not queued yet' };
  if (row.ahead !== null)
    return { state: 'none', why: `${row.ahead} is built first, which may serve it too` };
  return { state: 'none', why: 'it is not due' };
}

/** Its place among the builds of its target and priority and above, from 1; no higher than POSITIONS.most. */
async function positionOf(db: Queryable, row: Found): Promise<number> {
  const [counted] = await db.query<{ ahead: number }>(
    `select count(*) as ahead from (
       select from queue
       where target_id = $1 and lease is null
         and (priority > $2 or (priority = $2 and (coalesce(released, '-infinity'), version_id)
           > (coalesce($3::timestamptz, '-infinity'), $4)))
       limit ${String(POSITIONS.most)}) ahead`,
    [row.target_id, row.priority, row.released, row.version_id],
  );
  return (counted?.ahead ?? 0) + 1;
}
