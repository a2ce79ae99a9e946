import type { ProjectChange, VersionChange } from '../protocols/feed.js';
import { changeVersions, insertVersions } from './feed-versions.js';
import { noteEvent } from './feed.js';
import { assertNotFenced } from './fences.js';
import { markPagesDue, markPackagesDue } from './pages.js';
import type { Database, Queryable } from './pool.js';
import { notifyQueue, requeue } from './queue.js';

/**
 * Applies a batch of events, and records the position that they reach, in one transaction. Ignores events up to the
 * serial of a project's last page, except a removal that the page agrees with, so that events don't undo what a later
 * page has told. Idempotent. Throws PIW_FENCED for a Cloud Gazer that has been replaced.
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
    await assertNotFenced(db, 'cloud-gazer', events.fence);
    // Looks up thousands of rows by key; scanning the tables of all of PyPI would take seconds.
    await db.query(
      'set local enable_seqscan = off; set local enable_hashjoin = off; set local enable_mergejoin = off',
    );
    // Before any version is assigned its id: see fillSlice in targets.ts.
    await db.query(`select lock_versions('{}')`);
    const wipedIds = await wipeVersions(db, events.projects);
    const changedProjectCount = events.projects.length > 0 ? await applyProjects(db, events.projects) : 0;
    const inserted = await insertVersions(db, events.versions);
    const insertedIndexes = new Set(inserted.map(({ changeIndex }) => changeIndex));
    const existing = events.versions.filter((_, index) => !insertedIndexes.has(index));
    const changedIds = await changeVersions(db, existing);
    await scheduleRecheck(db, [
      ...wipedIds,
      ...changedIds,
      ...inserted.filter(({ missing }) => missing).map(({ versionId }) => versionId),
    ]);
    await db.query('select queue_new_versions($1)', [inserted.map(({ versionId }) => versionId)]);
    const affectedProjects = events.projects.filter(
      (project) => project.wiped || project.present === false || project.quarantined !== null,
    );
    const affectedVersions = await db.query<{ version_id: number }>(
      `select v.version_id from versions v join packages p using (package_id) where p.package = any ($1)`,
      [affectedProjects.map(({ name }) => name)],
    );
    const requeuedIds = [...wipedIds, ...changedIds, ...affectedVersions.map(({ version_id }) => version_id)];
    await requeue(db, [...new Set(requeuedIds)]);
    await db.query('update feed set serial = $1, read_serial = $2, cut_time = $3, cut_serial = $4', [
      ...events.position,
    ]);
    if (changedProjectCount + wipedIds.length + changedIds.length + inserted.length > 0) await noteEvent(db);
    if (requeuedIds.length + inserted.length > 0) await notifyQueue(db);
  });
}

/**
 * Adds projects, and marks others as removed, quarantined or active. Returns how many have changed. Queues a fetch of the
 * page of each project that exists.
 */
async function applyProjects(db: Queryable, projects: readonly ProjectChange[]): Promise<number> {
  const names = projects.map(({ name }) => name);
  const rows = await db.query<{ package: string }>('select package from packages where package = any ($1)', [
    names,
  ]);
  const existingNames = new Set(rows.map((row) => row.package));
  const columns = [
    names,
    projects.map(({ serial }) => serial),
    projects.map(({ wiped }) => wiped),
    projects.map(({ present }) => present),
    projects.map(({ quarantined }) => quarantined),
  ];
  const [result] = await db.query<{ changed: number }>(
    `with given as (
       select * from unnest($1::text[], $2::bigint[], $3::bool[], $4::bool[], $5::bool[])
         as g (name, serial, wiped, present, quarantined)
     ), created as (
       insert into packages (package, origin, removed_at, status, removal_reported)
       select name, 'feed', case when present is false then now() end,
         case when quarantined then 'quarantined' else 'active' end, wiped
       from given order by name
       on conflict (package) do nothing returning package_id, package
     ), changed as (
       update packages p set
         removed_at = case when p.origin <> 'feed' then null when g.present is false then coalesce(p.removed_at, now())
           -- Its page was not found: the next fetch shows whether its removal or this event came last.
           when g.present and p.missing_since is null then null else p.removed_at end,
         status = case when g.quarantined then 'quarantined'
           when g.wiped or not g.quarantined then 'active' else p.status end,
         removal_reported = p.removal_reported or g.wiped
       from given g
       where p.package = g.name and (p.page_serial < g.serial or (g.wiped and p.missing_since is not null))
         and (g.wiped or g.quarantined is not null or g.present is distinct from (p.removed_at is null))
       returning p.package_id
     ), wanted as (
       insert into page_fetches (package_id, urgent, serial)
       select package_id, false, serial from (
         select m.package_id, g.serial from created m join given g on g.name = m.package where g.present is distinct from false
         union all
         select p.package_id, g.serial from packages p join given g on g.name = p.package
         where p.page_serial < g.serial and g.present is distinct from false) f order by package_id
       on conflict (package_id) do update set serial = greatest(page_fetches.serial, excluded.serial)
     )
     select (select count(*) from created) + (select count(*) from changed) as changed`,
    columns,
  );
  await markPackagesDue(db, [...existingNames]);
  // Nothing has been built of a new project, so there is no need to check for files.
  await markPagesDue(
    db,
    names.filter((name) => !existingNames.has(name)).map((name) => ['PROJECT', name]),
  );
  return result?.changed ?? 0;
}

/** Marks all versions of removed projects as removed, too, and returns their ids. */
async function wipeVersions(db: Queryable, projects: readonly ProjectChange[]): Promise<readonly number[]> {
  const wipedProjects = projects.filter((project) => project.wiped);
  if (wipedProjects.length === 0) return [];
  const rows = await db.query<{ version_id: number }>(
    `update versions v set removed_at = now()
     from unnest($1::text[], $2::bigint[]) as g (name, serial) join packages p on p.package = g.name
     where v.package_id = p.package_id and v.origin = 'feed' and v.removed_at is null
       and (p.page_serial < g.serial or p.missing_since is not null or v.missing_since is not null)
     returning v.version_id`,
    [wipedProjects.map(({ name }) => name), wipedProjects.map(({ serial }) => serial)],
  );
  return rows.map(({ version_id }) => version_id);
}

/** Queues another fetch for projects with changed versions that a later page doesn't list. */
async function scheduleRecheck(db: Queryable, versionIds: readonly number[]): Promise<void> {
  if (versionIds.length === 0) return;
  await db.query(
    `with unsettled as (
       update packages p set list_serial = 0
       where package_id in (
         select package_id from versions where version_id = any ($1) and missing_since is not null)
       returning package_id)
     insert into page_fetches (package_id, urgent) select package_id, false from unsettled order by 1
     on conflict (package_id) do nothing`,
    [versionIds],
  );
}
