import type { FeedPosition } from '../protocols/feed.js';
import { assertNotFenced } from './fences.js';
import type { Database, Queryable } from './pool.js';

export async function feedPosition(db: Queryable): Promise<FeedPosition> {
  const [row] = await db.query<FeedPosition & Readonly<Record<string, unknown>>>(
    `select serial, read_serial as read, cut_time, cut_serial, held, accepted,
       floor(extract(epoch from compared) * 1000)::float8 as compared from feed`,
  );
  return row ?? { serial: 0, read: 0, cut_time: 0, cut_serial: 0, compared: null, held: null, accepted: 0 };
}

/** Records now as the time of the index's last event, which the statistics show; at most once per second. */
export async function noteEvent(db: Queryable): Promise<void> {
  await db.query(
    `update feed set last_event = now() where last_event is null or last_event < now() - interval '1 second'`,
  );
}

/**
 * Queues fetches of these projects' pages, and creates packages that are unknown. Throws PIW_FENCED for a Cloud Gazer
 * that has been replaced.
 */
export async function queuePageFetches(
  database: Database,
  revision: number,
  names: readonly string[],
  urgent: boolean,
): Promise<void> {
  await database.transaction(async (db) => {
    await assertNotFenced(db, 'cloud-gazer', revision);
    await db.query(
      `insert into packages (package, origin) select name, 'feed' from unnest($1::text[]) as g (name) order by name
       on conflict (package) do nothing`,
      [names],
    );
    await db.query(
      `insert into page_fetches (package_id, urgent) select package_id, $2 from packages where package = any ($1) order by 1
       on conflict (package_id) do update set urgent = page_fetches.urgent or excluded.urgent`,
      [names, urgent],
    );
  });
}

/** Removes these projects' pages from the queue of page fetches. */
export async function cancelPageFetches(
  database: Database,
  revision: number,
  names: readonly string[],
): Promise<void> {
  await database.transaction(async (db) => {
    await assertNotFenced(db, 'cloud-gazer', revision);
    await db.query(
      `delete from page_fetches f using packages p where p.package_id = f.package_id and p.package = any ($1)`,
      [names],
    );
  });
}

/** Returns up to `limit` due page fetches, urgent ones first: [name, last ETag, whether it has a description]. */
export async function duePageFetches(
  db: Queryable,
  limit: number,
): Promise<readonly [string, string | null, boolean][]> {
  const rows = await db.query<{ package: string; etag: string | null; described: boolean }>(
    `select p.package, p.etag, p.description is not null as described from page_fetches f join packages p using (package_id)
     where f.not_before <= now() order by f.urgent desc, f.not_before limit $1`,
    [limit],
  );
  return rows.map(({ package: name, etag, described }) => [name, etag, described]);
}

/** Records that a page could not be fetched; see postponePageFetch(). */
export async function recordFailedPageFetch(
  database: Database,
  revision: number,
  name: string,
): Promise<void> {
  await database.transaction(async (db) => {
    await assertNotFenced(db, 'cloud-gazer', revision);
    await postponePageFetch(db, name);
  });
}

/**
 * Failed fetches after which a page is given up. The first twelve are spread over about an hour, and the others follow
 * hourly for a week.
 */
export const MAX_PAGE_FETCHES = 12 + 7 * 24;

/**
 * Postpones the next fetch of a project's page: by 1 s after the first failure, by twice as long after each further
 * one, and by an hour at most. Gives the page up after MAX_PAGE_FETCHES failures; the next comparison with the index's
 * root queues it again if it is still needed.
 */
export async function postponePageFetch(db: Queryable, name: string): Promise<void> {
  const givenUp = await db.query(
    `delete from page_fetches f using packages p
     where p.package_id = f.package_id and p.package = $1 and f.attempts >= $2 - 1 returning 1`,
    [name, MAX_PAGE_FETCHES],
  );
  if (givenUp.length > 0) return;
  await db.query(
    `update page_fetches f
     set attempts = attempts + 1, not_before = now() + least(2 ^ least(attempts, 12), 3600) * interval '1 second'
     from packages p where p.package_id = f.package_id and p.package = $1`,
    [name],
  );
}

/**
 * Returns up to `limit` projects that have not been removed from the index, in byte order of their names, starting
 * after `after`: [name, serial of its page, when the page was last fetched in milliseconds since 1970 (0: never; null:
 * a fetch is queued), whether a conditional fetch is cheap (it has an ETag, or the page was missing), whether it came
 * from the feed].
 */
export async function knownProjects(
  db: Queryable,
  after: string,
  limit: number,
): Promise<readonly [string, number, number | null, boolean, boolean][]> {
  const rows = await db.query<{
    package: string;
    page_serial: number;
    fetched: number | null;
    cheap: boolean;
    fed: boolean;
  }>(
    `select p.package, p.page_serial, p.etag is not null or p.missing_since is not null as cheap, p.origin = 'feed' as fed,
       case when f.package_id is null then coalesce(floor(extract(epoch from p.fetched_at) * 1000)::float8, 0) end as fetched
     from packages p left join page_fetches f using (package_id)
     where p.package > $1 collate "C" and p.removed_at is null
     order by p.package collate "C" limit $2`,
    [after, limit],
  );
  return rows.map((row) => [row.package, row.page_serial, row.fetched, row.cheap, row.fed]);
}

/**
 * Records a comparison of all projects with the index's root. `held` is the number of packages whose removal waits for
 * an administrator's approval; null: none wait.
 */
export async function recordComparison(
  database: Database,
  revision: number,
  held: number | null,
): Promise<void> {
  await database.transaction(async (db) => {
    await assertNotFenced(db, 'cloud-gazer', revision);
    await db.query(
      `update feed set held = $1, compared = now(),
         accepted = case when $1::int is null then 0 else accepted end`,
      [held],
    );
  });
}

/** Records an administrator's approval that up to `count` packages may be removed at once. */
export async function acceptRemoval(db: Queryable, count: number): Promise<void> {
  await db.query('update feed set accepted = $1', [count]);
}

/** Returns up to `limit` versions with files that left the index more than `graceS` seconds ago: [package, version]. */
export async function removedVersions(
  db: Queryable,
  graceS: number,
  limit: number,
): Promise<readonly [string, string][]> {
  const rows = await db.query<{ package: string; version: string }>(
    `select p.package, v.version from versions v join packages p using (package_id)
     where v.origin = 'feed' and (v.removed_at < now() - $1 * interval '1 second' or p.removed_at < now() - $1 * interval '1 second')
       and exists (select from files f where f.version_id = v.version_id)
     order by p.package, v.version limit $2`,
    [graceS, limit],
  );
  return rows.map(({ package: name, version }) => [name, version]);
}
