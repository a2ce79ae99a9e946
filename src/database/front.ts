import type { EndedBuild, Front } from '../protocols/site.js';
import type { Queryable, Row } from './pool.js';

/** What the home page shows beside the statistics. */
export async function front(db: Queryable): Promise<Front> {
  const latest = await db.query<EndedBuild & Row>(
    `select b.build_id, p.package, v.version, t.abi, t.platform, b.status, b.failure_class,
       floor(extract(epoch from b.built_at) * 1000)::float8 as built, extract(epoch from b.duration)::float8 as duration_s
     from builds b join versions v using (version_id) join packages p using (package_id) join targets t using (target_id)
     order by b.build_id desc limit 20`,
  );
  const popular = await db.query<{ package: string; downloads: number }>(
    `select p.package, sum(d.downloads)::bigint as downloads
     from download_days d join packages p using (package_id)
     where d.day > (now() at time zone 'UTC')::date - 30 group by p.package_id order by 2 desc, 1 limit 20`,
  );
  return {
    history: { hours: [], days: [], months: [] },
    latest: [...latest],
    popular: popular.map((row) => [row.package, row.downloads]),
  };
}
