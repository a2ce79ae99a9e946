import type { FeedPosition, ProjectChange, VersionChange } from '../protocols/feed.js';
import type { Project, Release } from '../protocols/oracle.js';
import { sortKey } from '../wheels/versions.js';
import { fence } from './fences.js';
import { newPackage } from './packages.js';
import { noteDue } from './pages.js';
import type { Database, Queryable } from './pool.js';
import { hint, requeue } from './queue.js';
import { upsertReleases } from './versions.js';

type ProjectStatus = Project['status'];

/** A single event makes its release one of today's when it is no older than this, seconds. */
const TODAY_S = 24 * 3600;

export async function feedPosition(db: Queryable): Promise<FeedPosition> {
  const [row] = await db.query<FeedPosition & Readonly<Record<string, unknown>>>(
    `select serial, read_serial as read, cut_time, cut_serial, held, accepted,
       floor(extract(epoch from compared) * 1000)::float8 as compared from feed`,
  );
  return row ?? { serial: 0, read: 0, cut_time: 0, cut_serial: 0, compared: null, held: null, accepted: 0 };
}

/**
 * Acts upon a run of events and keeps how far they reach, in one transaction. What a project's own page has
 * told since is not undone: events up to its serial are passed over, but for a removal that the page agrees
 * with. Repeating it changes nothing. Raises PIW_FENCED for a Cloud Gazer that has been replaced.
 */
export async function applyEvents(
  database: Database,
  events: {
    readonly fence: number;
    readonly position: readonly [serial: number, read: number, cutTime: number, cutSerial: number];
    readonly projects: readonly ProjectChange[];
    readonly versions: readonly VersionChange[];
  },
): Promise<void> {
  await database.transaction(async (db) => {
    await fence(db, 'cloud-gazer', events.fence);
    // Thousands of rows are looked up by their keys; read as wholes, the tables of all of PyPI take seconds.
    await db.query(
      'set local enable_seqscan = off; set local enable_hashjoin = off; set local enable_mergejoin = off',
    );
    // Before any version gets its number: see fillSlice in targets.ts.
    await db.query(`select hold_versions('{}')`);
    const wiped = await wipeVersions(db, events.projects);
    if (events.projects.length > 0) await applyProjects(db, events.projects);
    const fresh = await insertVersions(db, events.versions);
    const made = new Set(fresh.map(({ at }) => at));
    const known = events.versions.filter((_, at) => !made.has(at));
    const changed = await changeVersions(db, known);
    await doubt(db, [...wiped, ...changed, ...fresh.filter(({ missing }) => missing).map(({ id }) => id)]);
    await db.query('select fill_new($1)', [fresh.map(({ id }) => id)]);
    const packages = events.projects.filter(
      (project) => project.wiped || project.present === false || project.quarantined !== null,
    );
    const affected = await db.query<{ version_id: number }>(
      `select v.version_id from versions v join packages p using (package_id) where p.package = any ($1)`,
      [packages.map(({ name }) => name)],
    );
    const ids = [...wiped, ...changed, ...affected.map(({ version_id }) => version_id)];
    await requeue(db, [...new Set(ids)]);
    await db.query('update feed set serial = $1, read_serial = $2, cut_time = $3, cut_serial = $4', [
      ...events.position,
    ]);
    if (ids.length + fresh.length > 0) await hint(db);
  });
}

/** Projects that came, went, or are quarantined. Each that is there gets a look at its page. */
async function applyProjects(db: Queryable, projects: readonly ProjectChange[]): Promise<void> {
  const columns = [
    projects.map(({ name }) => name),
    projects.map(({ serial }) => serial),
    projects.map(({ wiped }) => wiped),
    projects.map(({ present }) => present),
    projects.map(({ quarantined }) => quarantined),
  ];
  await db.query(
    `with given as (
       select * from unnest($1::text[], $2::bigint[], $3::bool[], $4::bool[], $5::bool[])
         as g (name, serial, wiped, present, quarantined)
     ), made as (
       insert into packages (package, origin, gone, status, removed)
       select name, 'feed', case when present is false then now() end,
         case when quarantined then 'quarantined' else 'active' end, wiped
       from given order by name
       on conflict (package) do nothing returning package_id, package
     ), changed as (
       update packages p set
         gone = case when p.origin <> 'feed' then null when g.present is false then coalesce(p.gone, now())
           -- Its page is not to be found: which came last, its removal or this, the next look tells.
           when g.present and p.missing is null then null else p.gone end,
         status = case when g.quarantined then 'quarantined'
           when g.wiped or not g.quarantined then 'active' else p.status end,
         removed = p.removed or g.wiped
       from given g
       where p.package = g.name and (p.page_serial < g.serial or (g.wiped and p.missing is not null))
         and (g.wiped or g.quarantined is not null or g.present is distinct from (p.gone is null))
       returning p.package_id
     )
     insert into looks (package_id, urgent, serial)
     select package_id, false, serial from (
       select m.package_id, g.serial from made m join given g on g.name = m.package where g.present is distinct from false
       union all
       select p.package_id, g.serial from packages p join given g on g.name = p.package
       where p.page_serial < g.serial and g.present is distinct from false) f order by package_id
     on conflict (package_id) do update set serial = greatest(looks.serial, excluded.serial)`,
    columns,
  );
  await noteDue(
    db,
    projects.map(({ name }) => ['PKG', name]),
  );
}

/** The versions of projects that were removed are gone; their numbers. */
async function wipeVersions(db: Queryable, projects: readonly ProjectChange[]): Promise<readonly number[]> {
  const wiped = projects.filter((project) => project.wiped);
  if (wiped.length === 0) return [];
  const rows = await db.query<{ version_id: number }>(
    `update versions v set gone = now()
     from unnest($1::text[], $2::bigint[]) as g (name, serial) join packages p on p.package = g.name
     where v.package_id = p.package_id and v.origin = 'feed' and v.gone is null
       and (p.page_serial < g.serial or p.missing is not null or v.missing is not null)
     returning v.version_id`,
    [wiped.map(({ name }) => name), wiped.map(({ serial }) => serial)],
  );
  return rows.map(({ version_id }) => version_id);
}

/** What was changed although a later page doesn't name it has to be looked up once more. */
async function doubt(db: Queryable, versions: readonly number[]): Promise<void> {
  if (versions.length === 0) return;
  await db.query(
    `with unsettled as (
       update packages p set list_serial = 0
       where package_id in (
         select package_id from versions where version_id = any ($1) and missing is not null)
       returning package_id)
     insert into looks (package_id, urgent) select package_id, false from unsettled order by 1
     on conflict (package_id) do nothing`,
    [versions],
  );
}

interface Made {
  /** The place of its change among those that were given. */
  readonly at: number;
  readonly id: number;
  /** A later page doesn't name it. */
  readonly missing: boolean;
}

/**
 * Versions that are new; their numbers. One that a later page doesn't name has no file there, is quarantined,
 * or its removal is still to come. Of one whose removal came first, that is kept: should its release turn up
 * afterwards, a page that doesn't name it says which of the two was the last.
 */
async function insertVersions(db: Queryable, versions: readonly VersionChange[]): Promise<readonly Made[]> {
  const changes = versions.flatMap((change, at) =>
    change.removed || change.released !== null ? [{ ...change, at }] : [],
  );
  if (changes.length === 0) return [];
  const packages = await packagesOf(db, new Set(changes.map(({ name }) => name)));
  const there = changes.flatMap((change) => {
    const its = packages.get(change.name);
    if (!its) return [];
    const outranked = its.page_serial >= change.serial;
    const hidden = (change.quarantined ?? false) || its.status === 'quarantined';
    const sdist = (change.sdist ?? false) && (!outranked || hidden);
    return [{ ...change, id: its.package_id, outranked, sdist }];
  });
  const rows = await db.query<{ version_id: number; package_id: number; version: string; missing: boolean }>(
    `insert into versions (package_id, version, sort_key, released, has_sdist, yanked, quarantined, origin, priority,
       missing, gone)
     select g.package_id, g.version, g.sort_key, to_timestamp(g.released), g.flags & 1 > 0,
       case when g.flags & 2 > 0 then '' end, g.flags & 4 > 0, 'feed',
       case when to_timestamp(g.released) > now() - $6 * interval '1 second' then 1 else 0 end,
       case when g.flags & 8 > 0 then now() end, case when g.flags & 16 > 0 then now() end
     from unnest($1::bigint[], $2::text[], $3::text[], $4::float8[], $5::int[])
       as g (package_id, version, sort_key, released, flags)
     on conflict (package_id, version) do nothing
     returning version_id, package_id, version, missing is not null as missing`,
    [
      there.map(({ id }) => id),
      there.map(({ version }) => version),
      there.map(({ version }) => sortKey(version)),
      there.map(({ released }) => released),
      // Fewer and shorter lists: of thousands of versions their text is what costs.
      there.map(
        ({ sdist, yanked, quarantined, outranked, removed, reset }) =>
          (sdist ? 1 : 0) +
          (yanked ? 2 : 0) +
          (quarantined ? 4 : 0) +
          (outranked ? 8 : 0) +
          (removed || (reset && outranked) ? 16 : 0),
      ),
      TODAY_S,
    ],
  );
  const places = new Map(there.map(({ id, version, at }) => [`${String(id)} ${version}`, at] as const));
  return rows.map(({ version_id, package_id, version, missing }) => ({
    at: places.get(`${String(package_id)} ${version}`) ?? -1,
    id: version_id,
    missing,
  }));
}

interface PackageRow {
  readonly package_id: number;
  readonly package: string;
  readonly page_serial: number;
  readonly status: string;
}

async function packagesOf(
  db: Queryable,
  names: ReadonlySet<string>,
): Promise<ReadonlyMap<string, PackageRow>> {
  const rows = await db.query<PackageRow & Readonly<Record<string, unknown>>>(
    'select package_id, package, page_serial, status from packages where package = any ($1)',
    [[...names]],
  );
  return new Map(rows.map((row) => [row.package, row] as const));
}

/**
 * Versions that are different from what the database has; their numbers. Of one that a later page names, events
 * tell nothing new; of one that it doesn't name, they tell why.
 */
async function changeVersions(db: Queryable, versions: readonly VersionChange[]): Promise<readonly number[]> {
  if (versions.length === 0) return [];
  const rows = await db.query<{ version_id: number }>(
    `with given as (
       select v.version_id, v.has_sdist, v.yanked, v.gone, v.missing, g.released, g.sdist, g.removed,
         -- A later page doesn't name it: it has no file there, or is quarantined.
         p.page_serial >= g.serial and not coalesce(g.quarantined, v.quarantined) and p.status <> 'quarantined' as bare,
         g.reset and not g.removed as anew,
         case when g.yanked then true when g.yanked is false then false end as its_yanked,
         case when v.origin <> 'feed' then null when g.removed then coalesce(v.gone, now())
           when g.released is not null and p.page_serial < g.serial or g.quarantined then null
           else v.gone end as new_gone,
         case when p.page_serial >= g.serial or g.removed then v.missing end as new_missing,
         coalesce(g.quarantined, v.quarantined and not (g.reset and not g.removed)) as new_quarantined
       from unnest($1::text[], $2::text[], $3::bigint[], $4::float8[], $5::bool[], $6::bool[], $7::bool[], $8::bool[],
         $9::bool[]) as g (name, version, serial, released, reset, removed, sdist, yanked, quarantined)
       join packages p on p.package = g.name
       join versions v on v.package_id = p.package_id and v.version = g.version
       where p.page_serial < g.serial or v.missing is not null
     ), wanted as (
       select version_id, anew, released, new_quarantined, new_gone, new_missing,
         coalesce(sdist, has_sdist and not anew) and not bare as new_sdist,
         case when its_yanked then coalesce(yanked, '') when anew or not its_yanked then null else yanked end as new_yanked
       from given
     )
     update versions v
     set gone = g.new_gone, missing = g.new_missing, has_sdist = g.new_sdist, yanked = g.new_yanked,
       quarantined = g.new_quarantined,
       released = coalesce(case when g.anew then to_timestamp(g.released) end, v.released, to_timestamp(g.released)),
       sdist_url = case when g.new_sdist and not g.anew then v.sdist_url end,
       sdist_sha256 = case when g.new_sdist and not g.anew then v.sdist_sha256 end
     from wanted g
     where v.version_id = g.version_id
       and (v.gone, v.missing, v.has_sdist, v.yanked, v.quarantined)
         is distinct from (g.new_gone, g.new_missing, g.new_sdist, g.new_yanked, g.new_quarantined)
     returning v.version_id`,
    [
      versions.map(({ name }) => name),
      versions.map(({ version }) => version),
      versions.map(({ serial }) => serial),
      versions.map(({ released }) => released),
      versions.map(({ reset }) => reset),
      versions.map(({ removed }) => removed),
      versions.map(({ sdist }) => sdist),
      versions.map(({ yanked }) => yanked),
      versions.map(({ quarantined }) => quarantined),
    ],
  );
  return rows.map(({ version_id }) => version_id);
}

/** The pages of these projects are to be read; what is unknown is made. */
export async function wantLooks(
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
export async function forgetLooks(
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
export async function nextLooks(
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

export interface PageOfProject {
  readonly fence: number;
  readonly package: string;
  /** 0 where the index doesn't say. */
  readonly serial: number;
  readonly status: ProjectStatus;
  readonly etag: string | null;
  readonly description: string | null;
  readonly releases: readonly Release[];
  readonly removal_delay_s: number;
}

/** More versions than this, and than this share of a project's, don't go because its page came back short. */
const SHORT = { versions: 5, share: 0.2 };

/**
 * What a project's page says is what holds. Only what it doesn't name is not believed at once: such a
 * version is gone when an event says so, or when a page read `removal_delay_s` later doesn't name it
 * either; and if those are many, not even then. A page that is older than what is known changes nothing.
 */
export async function applyPage(
  database: Database,
  page: PageOfProject,
): Promise<{ readonly stale: boolean; readonly created: number; readonly unsettled: boolean }> {
  return await database.transaction(async (db) => {
    await fence(db, 'cloud-gazer', page.fence);
    const { package: name, serial, status, etag, description } = page;
    await newPackage(db, { package: name, description, origin: 'feed', aliases: [] });
    const [before] = await db.query<{
      package_id: number;
      page_serial: number;
      status: string;
      gone: boolean;
    }>(
      `select package_id, page_serial, status, gone is not null as gone from packages where package = $1 for update`,
      [name],
    );
    if (!before || (serial > 0 && serial < before.page_serial)) {
      await postpone(db, name);
      return { stale: true, created: 0, unsettled: false };
    }
    await db.query(
      `update packages set status = $2, gone = null, missing = null, removed = false, etag = $3, looked = now(),
         page_serial = greatest(page_serial, $4) where package_id = $1`,
      [before.package_id, status, etag, serial],
    );
    const { changed, created } = await upsertReleases(db, name, 'feed', page.releases);
    const gone = status === 'quarantined' ? [] : await notNamed(db, before.package_id, page);
    const all = before.status !== status || before.gone ? await versionsOf(db, before.package_id) : [];
    await requeue(db, [...new Set([...changed, ...gone, ...all])]);
    if (changed.length + gone.length + all.length > 0) {
      await noteDue(db, [['PKG', name]]);
      await hint(db);
    }
    // One that must have reached a higher serial is looked at again.
    const looked = await db.query(
      'delete from looks where package_id = $1 and (serial <= $2 or $2 = 0) returning 1',
      [before.package_id, serial],
    );
    if (looked.length === 0) await postpone(db, name);
    return { stale: false, created, unsettled: await isUnsettled(db, before.package_id) };
  });
}

const versionsOf = async (db: Queryable, packageId: number): Promise<readonly number[]> =>
  (
    await db.query<{ version_id: number }>('select version_id from versions where package_id = $1', [
      packageId,
    ])
  ).map(({ version_id }) => version_id);

/** Marks what the page doesn't name as missing, or as gone; the numbers of what has gone. */
async function notNamed(db: Queryable, packageId: number, page: PageOfProject): Promise<readonly number[]> {
  const keys = page.releases.map(({ version }) => sortKey(version));
  const [count] = await db.query<{ absent: number; all: number }>(
    `select count(*) filter (where sort_key <> all ($2)) as absent, count(*) as all from versions
     where package_id = $1 and origin = 'feed' and gone is null and not quarantined`,
    [packageId, keys],
  );
  const { absent = 0, all = 0 } = count ?? {};
  if (absent === 0) return [];
  const many = absent > SHORT.versions && absent > all * SHORT.share;
  const rows = await db.query<{ version_id: number; gone: boolean }>(
    `update versions set missing = coalesce(missing, now()),
       gone = case when not $3 and has_sdist and missing < now() - $4 * interval '1 second' then now() end
     where package_id = $1 and origin = 'feed' and gone is null and not quarantined and sort_key <> all ($2)
     returning version_id, gone is not null as gone`,
    [packageId, keys, many, page.removal_delay_s],
  );
  return rows.filter(({ gone }) => gone).map(({ version_id }) => version_id);
}

/** Whether there are versions that its page doesn't name, of which its list of all releases is to tell. */
async function isUnsettled(db: Queryable, packageId: number): Promise<boolean> {
  const rows = await db.query(
    `select from packages p where package_id = $1 and list_serial < page_serial and exists (
       select from versions v where v.package_id = p.package_id and v.missing is not null and not v.quarantined)`,
    [packageId],
  );
  return rows.length > 0;
}

/** The page is as it was when it was last read. */
export async function samePage(
  database: Database,
  revision: number,
  name: string,
): Promise<{ readonly unsettled: boolean }> {
  return await database.transaction(async (db) => {
    await fence(db, 'cloud-gazer', revision);
    const [row] = await db.query<{ package_id: number }>(
      'update packages set looked = now(), missing = null where package = $1 returning package_id',
      [name],
    );
    if (!row) return { unsettled: false };
    await db.query('delete from looks where package_id = $1', [row.package_id]);
    return { unsettled: await isUnsettled(db, row.package_id) };
  });
}

/**
 * The list of all releases, also of those without a file: of what the page doesn't name, what is listed is
 * there, and the rest is gone. A list older than the page settles nothing.
 */
export async function settleVersions(
  database: Database,
  list: {
    readonly fence: number;
    readonly package: string;
    readonly serial: number;
    readonly versions: readonly string[];
  },
): Promise<void> {
  await database.transaction(async (db) => {
    await fence(db, 'cloud-gazer', list.fence);
    const [row] = await db.query<{ package_id: number }>(
      `update packages set list_serial = $2 where package = $1 and page_serial <= $2 returning package_id`,
      [list.package, list.serial],
    );
    if (!row || list.versions.length === 0) return;
    const changed = await db.query<{ version_id: number }>(
      `update versions set gone = case when sort_key = any ($2) then null else now() end
       where package_id = $1 and origin = 'feed' and missing is not null and not quarantined
         and (gone is null) <> (sort_key = any ($2))
       returning version_id`,
      [row.package_id, list.versions.map(sortKey)],
    );
    await requeue(
      db,
      changed.map(({ version_id }) => version_id),
    );
    if (changed.length > 0) await noteDue(db, [['PKG', list.package]]);
  });
}

/** The index has no such project: it is gone if something else says so too, and only missing otherwise. */
export async function missingPage(
  database: Database,
  revision: number,
  name: string,
  agreed: boolean,
): Promise<void> {
  await database.transaction(async (db) => {
    await fence(db, 'cloud-gazer', revision);
    const [row] = await db.query<{ package_id: number; gone: boolean }>(
      `update packages set missing = coalesce(missing, now()), looked = now(), etag = null,
         gone = case when ($2 or removed) and origin = 'feed' then coalesce(gone, now()) else gone end
       where package = $1 returning package_id, gone is not null as gone`,
      [name, agreed],
    );
    if (!row) return;
    await db.query('delete from looks where package_id = $1', [row.package_id]);
    if (!row.gone) return;
    const gone = await db.query<{ version_id: number }>(
      `update versions set gone = now() where package_id = $1 and origin = 'feed' and gone is null returning version_id`,
      [row.package_id],
    );
    await requeue(
      db,
      gone.map(({ version_id }) => version_id),
    );
    if (gone.length > 0) await noteDue(db, [['PKG', name]]);
  });
}

/** The page could not be read: again after a while that grows, twelve times in all. */
export async function failedLook(database: Database, revision: number, name: string): Promise<void> {
  await database.transaction(async (db) => {
    await fence(db, 'cloud-gazer', revision);
    await postpone(db, name);
  });
}

async function postpone(db: Queryable, name: string): Promise<void> {
  await db.query(
    `with late as (
       update looks l set tries = tries + 1, not_before = now() + least(2 ^ tries, 3600) * interval '1 second'
       from packages p where p.package_id = l.package_id and p.package = $1 returning l.package_id, l.tries)
     delete from looks using late where looks.package_id = late.package_id and late.tries > 12`,
    [name],
  );
}

/**
 * The projects that a feed brought and that aren't gone, in their order: [name, serial of its page, when that was
 * last looked at, milliseconds (0: never; null: it is to be), whether it has an ETag or wasn't even found].
 */
export async function knownProjects(
  db: Queryable,
  after: string,
  limit: number,
): Promise<readonly [string, number, number | null, boolean][]> {
  const rows = await db.query<{
    package: string;
    page_serial: number;
    looked: number | null;
    cheap: boolean;
  }>(
    `select p.package, p.page_serial, p.etag is not null or p.missing is not null as cheap,
       case when l.package_id is null then coalesce(floor(extract(epoch from p.looked) * 1000)::float8, 0) end as looked
     from packages p left join looks l using (package_id)
     where p.package > $1 collate "C" and p.origin = 'feed' and p.gone is null
     order by p.package collate "C" limit $2`,
    [after, limit],
  );
  return rows.map(({ package: name, page_serial, looked, cheap }) => [name, page_serial, looked, cheap]);
}

/** Everything was compared with the index's root; `held`: so many would go, and wait for a word. */
export async function compared(database: Database, revision: number, held: number | null): Promise<void> {
  await database.transaction(async (db) => {
    await fence(db, 'cloud-gazer', revision);
    await db.query(
      `update feed set held = $1, compared = case when $1::int is null then now() else compared end,
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
