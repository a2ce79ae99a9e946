import type { FeedPosition } from '../protocols/feed.js';
import { fence } from './fences.js';
import type { Database, Queryable } from './pool.js';

export async function feedPosition(db: Queryable): Promise<FeedPosition> {
  const [row] = await db.query<FeedPosition & Readonly<Record<string, unknown>>>(
    `select serial, read_serial as read, cut_time, cut_serial, held, accepted,
       floor(extract(epoch from compared) * 1000)::float8 as compared from feed`,
  );
  return row ?? { serial: 0, read: 0, cut_time: 0, cut_serial: 0, compared: null, held: null, accepted: 0 };
}

/** The index has told something new: that is what the statistics call its last event. */
export async function noteEvent(db: Queryable): Promise<void> {
  await db.query(
    `update feed set last_event = now() where last_event is null or last_event < now() - interval '1 second'`,
  );
}

/** The pages of these projects are to be read; what is unknown is made. */
export async function queuePageFetches(
  database: Database,
  revision: number,
  names: readonly string[],
  urgent: boolean,
): Promise<void> {
  await database.transaction(async (db) => {
    await fence(db, 'cloud-gazer', revision);
    await db.query(
      `insert into packages (package, origin) select name, 'feed' from unnest($1::text[]) as g (name) order by name
       on conflict (package) do nothing`,
      [names],
    );
    await db.query(
      `insert into looks (package_id, urgent) select package_id, $2 from packages where package = any ($1) order by 1
       on conflict (package_id) do update set urgent = looks.urgent or excluded.urgent`,
      [names, urgent],
    );
  });
}

/** These projects' pages are not to be read any more. */
export async function cancelPageFetches(
  database: Database,
  revision: number,
  names: readonly string[],
): Promise<void> {
  await database.transaction(async (db) => {
    await fence(db, 'cloud-gazer', revision);
    await db.query(
      `delete from looks l using packages p where p.package_id = l.package_id and p.package = any ($1)`,
      [names],
    );
  });
}

/** [name, its etag when it was last read, whether it has a description], the urgent ones first. */
export async function duePageFetches(
  db: Queryable,
  limit: number,
): Promise<readonly [string, string | null, boolean][]> {
  const rows = await db.query<{ package: string; etag: string | null; described: boolean }>(
    `select p.package, p.etag, p.description is not null as described from looks l join packages p using (package_id)
     where l.not_before <= now() order by l.urgent desc, l.not_before limit $1`,
    [limit],
  );
  return rows.map(({ package: name, etag, described }) => [name, etag, described]);
}

/** Postpones a page that could not be fetched; see postponePageFetch(). */
export async function recordFailedPageFetch(
  database: Database,
  revision: number,
  name: string,
): Promise<void> {
  await database.transaction(async (db) => {
    await fence(db, 'cloud-gazer', revision);
    await postponePageFetch(db, name);
  });
}

/** Fetches of a page that fail, before it is given up: the first twelve take an hour, each of the rest an hour more. */
export const MAX_PAGE_FETCHES = 12 + 7 * 24;

/**
 * Postpones the next fetch of a project's page: by 1 s after the first failure, twice as long after each further one, and
 * at most an hour. Gives the page up after MAX_PAGE_FETCHES; the next comparison with the index's root brings it back if it
 * is still needed.
 */
export async function postponePageFetch(db: Queryable, name: string): Promise<void> {
  const givenUp = await db.query(
    `delete from looks l using packages p
     where p.package_id = l.package_id and p.package = $1 and l.tries >= $2 - 1 returning 1`,
    [name, MAX_PAGE_FETCHES],
  );
  if (givenUp.length > 0) return;
  await db.query(
    `update looks l set tries = tries + 1, not_before = now() + least(2 ^ least(tries, 12), 3600) * interval '1 second'
     from packages p where p.package_id = l.package_id and p.package = $1`,
    [name],
  );
}

/**
 * The projects that aren't gone, in their order: [name, serial of its page, when that was last looked at,
 * milliseconds (0: never; null: it is to be), whether it has an ETag or wasn't even found, whether a feed brought it].
 */
export async function knownProjects(
  db: Queryable,
  after: string,
  limit: number,
): Promise<readonly [string, number, number | null, boolean, boolean][]> {
  const rows = await db.query<{
    package: string;
    page_serial: number;
    looked: number | null;
    cheap: boolean;
    fed: boolean;
  }>(
    `select p.package, p.page_serial, p.etag is not null or p.missing is not null as cheap, p.origin = 'feed' as fed,
       case when l.package_id is null then coalesce(floor(extract(epoch from p.looked) * 1000)::float8, 0) end as looked
     from packages p left join looks l using (package_id)
     where p.package > $1 collate "C" and p.gone is null
     order by p.package collate "C" limit $2`,
    [after, limit],
  );
  return rows.map((row) => [row.package, row.page_serial, row.looked, row.cheap, row.fed]);
}

/** Everything was compared with the index's root; `held`: so many would go, and wait for a word. */
export async function recordComparison(
  database: Database,
  revision: number,
  held: number | null,
): Promise<void> {
  await database.transaction(async (db) => {
    await fence(db, 'cloud-gazer', revision);
    await db.query(
      `update feed set held = $1, compared = now(),
         accepted = case when $1::int is null then 0 else accepted end`,
      [held],
    );
  });
}

/** An administrator's word: up to so many packages may go at once. */
export async function acceptRemoval(db: Queryable, count: number): Promise<void> {
  await db.query('update feed set accepted = $1', [count]);
}

/** Versions that the index has had no more for `graceS` seconds: [package, version]. */
export async function goneVersions(
  db: Queryable,
  graceS: number,
  limit: number,
): Promise<readonly [string, string][]> {
  const rows = await db.query<{ package: string; version: string }>(
    `select p.package, v.version from versions v join packages p using (package_id)
     where v.origin = 'feed' and (v.gone < now() - $1 * interval '1 second' or p.gone < now() - $1 * interval '1 second')
       and exists (select from files f where f.version_id = v.version_id)
     order by p.package, v.version limit $2`,
    [graceS, limit],
  );
  return rows.map(({ package: name, version }) => [name, version]);
}
