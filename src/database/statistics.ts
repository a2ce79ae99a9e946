import type { Statistics } from '../protocols/statistics.js';
import type { Queryable, Row } from './pool.js';
import { lengths } from './queue.js';

type Counted = Omit<Statistics, 'queue' | 'slaves' | 'disk_total' | 'disk_free'>;

/** What the database knows of the statistics; the rest is left at nothing. */
export async function statistics(db: Queryable): Promise<Statistics> {
  const [row] = await db.query<Counted & Row>(
    `select
       (select count(*) from packages) as packages,
       (select count(*) from versions) as versions,
       b.builds, b.builds_failed, b.builds_last_hour, b.builds_last_day,
       f.files, f.files_bytes,
       d.downloads, d.downloads_last_day, d.downloads_last_month,
       pg_database_size(current_database()) as database_bytes,
       null as last_event
     from
       (select count(*) as builds, count(*) filter (where not status and not passing) as builds_failed,
          count(*) filter (where built_at > now() - interval '1 hour') as builds_last_hour,
          count(*) filter (where built_at > now() - interval '1 day') as builds_last_day from builds) b,
       (select count(*) as files, coalesce(sum(filesize), 0)::bigint as files_bytes from files) f,
       (select coalesce(sum(downloads), 0)::bigint as downloads,
          coalesce(sum(downloads) filter (where hour > now() - interval '1 day'), 0)::bigint as downloads_last_day,
          coalesce(sum(downloads) filter (where hour > now() - interval '30 days'), 0)::bigint as downloads_last_month
        from download_hours) d`,
  );
  if (!row) throw new Error('the statistics have one row');
  return { ...row, queue: await lengths(db), slaves: [], disk_total: 0, disk_free: 0 };
}
