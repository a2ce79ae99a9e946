import type { Project } from '../model/project.js';
import type { Release } from '../model/release.js';
import { sortKey } from '../wheels/versions.js';
import { noteEvent, postponePageFetch } from './feed.js';
import { assertNotFenced } from './fences.js';
import { upsertPackage } from './packages.js';
import { markPackagesDue } from './pages.js';
import type { Database, Queryable } from './pool.js';
import { notifyQueue, requeue } from './queue.js';
import { upsertReleases } from './versions.js';

type ProjectStatus = Project['status'];

interface ProjectPageUpdate {
  readonly fence: number;
  readonly package: string;
  /** 0 if the index doesn't send one. */
  readonly serial: number;
  readonly status: ProjectStatus;
  readonly etag: string | null;
  readonly description: string | null;
  readonly releases: readonly Release[];
  readonly removal_delay_s: number;
}

/**
 * If a page omits more versions than this, and more than this share of a project's versions, they are not treated as
 * removed: the page may be truncated.
 */
const MASS_REMOVAL_THRESHOLD = { versions: 5, share: 0.2 };

/**
 * Applies a project's page, which is authoritative for the versions it lists. A version that it doesn't list is only
 * missing at first. It counts as removed when an event says so, or when a page fetched `removal_delay_s` later doesn't
 * list it either, unless too many are missing (MASS_REMOVAL_THRESHOLD). A page that is older than the known state
 * changes nothing, and is `stale`. `unsettled`: the list of all releases has to tell what became of missing versions.
 * Throws PIW_FENCED for a Cloud Gazer that has been replaced.
 */
export async function applyPage(
  database: Database,
  page: ProjectPageUpdate,
): Promise<{ readonly stale: boolean; readonly created: number; readonly unsettled: boolean }> {
  return await database.transaction(async (db) => {
    await assertNotFenced(db, 'cloud-gazer', page.fence);
    const { package: name, serial, status, etag, description } = page;
    await upsertPackage(db, { package: name, description, origin: 'feed', aliases: [] });
    const [before] = await db.query<{
      package_id: number;
      page_serial: number;
      status: string;
      removed: boolean;
      etag: string | null;
    }>(
      `select package_id, page_serial, status, removed_at is not null as removed, etag from packages where package = $1 for update`,
      [name],
    );
    if (!before || (serial > 0 && serial < before.page_serial)) {
      await postponePageFetch(db, name);
      return { stale: true, created: 0, unsettled: false };
    }
    await db.query(
      `update packages set status = $2, removed_at = null, missing_since = null, removal_reported = false,
         etag = $3, fetched_at = now(), page_serial = greatest(page_serial, $4) where package_id = $1`,
      [before.package_id, status, etag, serial],
    );
    const { changedIds, created } = await upsertReleases(db, name, 'feed', page.releases);
    const removedIds = status === 'quarantined' ? [] : await markMissing(db, before.package_id, page);
    const allIds =
      before.status !== status || before.removed ? await versionIdsOf(db, before.package_id) : [];
    await requeue(db, [...new Set([...changedIds, ...removedIds, ...allIds])]);
    if (changedIds.length + removedIds.length + allIds.length > 0) {
      await markPackagesDue(db, [name]);
      await notifyQueue(db);
    }
    const differs = serial > before.page_serial || (etag !== null && etag !== before.etag);
    if (differs || changedIds.length + removedIds.length + allIds.length > 0) await noteEvent(db);
    // A fetch that waits for a higher serial stays queued.
    const dequeued = await db.query(
      'delete from page_fetches where package_id = $1 and (serial <= $2 or $2 = 0) returning 1',
      [before.package_id, serial],
    );
    if (dequeued.length === 0) await postponePageFetch(db, name);
    return { stale: false, created, unsettled: await isUnsettled(db, before.package_id) };
  });
}

const versionIdsOf = async (db: Queryable, packageId: number): Promise<readonly number[]> =>
  (
    await db.query<{ version_id: number }>('select version_id from versions where package_id = $1', [
      packageId,
    ])
  ).map(({ version_id }) => version_id);

/** Marks versions that the page doesn't list as missing, or as removed. Returns the ids of those that are removed. */
async function markMissing(
  db: Queryable,
  packageId: number,
  page: ProjectPageUpdate,
): Promise<readonly number[]> {
  const keys = page.releases.map(({ version }) => sortKey(version));
  const [count] = await db.query<{ absent: number; all: number }>(
    `select count(*) filter (where sort_key <> all ($2)) as absent, count(*) as all from versions
     where package_id = $1 and origin = 'feed' and removed_at is null and not quarantined`,
    [packageId, keys],
  );
  const { absent = 0, all: total = 0 } = count ?? {};
  if (absent === 0) return [];
  const isMassRemoval =
    absent > MASS_REMOVAL_THRESHOLD.versions && absent > total * MASS_REMOVAL_THRESHOLD.share;
  const rows = await db.query<{ version_id: number; removed: boolean }>(
    `update versions set missing_since = coalesce(missing_since, now()),
       removed_at = case when not $3 and has_sdist and missing_since < now() - $4 * interval '1 second' then now() end
     where package_id = $1 and origin = 'feed' and removed_at is null and not quarantined and sort_key <> all ($2)
     returning version_id, removed_at is not null as removed`,
    [packageId, keys, isMassRemoval, page.removal_delay_s],
  );
  return rows.filter(({ removed }) => removed).map(({ version_id }) => version_id);
}

/** Returns whether versions are missing from the page, and the list of all releases has not been read since. */
async function isUnsettled(db: Queryable, packageId: number): Promise<boolean> {
  const rows = await db.query(
    `select from packages p where package_id = $1 and list_serial < page_serial and exists (
       select from versions v where v.package_id = p.package_id and v.missing_since is not null and not v.quarantined)`,
    [packageId],
  );
  return rows.length > 0;
}

/** Records that a page is unchanged since it was last fetched. */
export async function markPageUnchanged(
  database: Database,
  revision: number,
  name: string,
): Promise<{ readonly unsettled: boolean }> {
  return await database.transaction(async (db) => {
    await assertNotFenced(db, 'cloud-gazer', revision);
    const [row] = await db.query<{ package_id: number }>(
      'update packages set fetched_at = now(), missing_since = null where package = $1 returning package_id',
      [name],
    );
    if (!row) return { unsettled: false };
    await db.query('delete from page_fetches where package_id = $1', [row.package_id]);
    return { unsettled: await isUnsettled(db, row.package_id) };
  });
}

/**
 * Applies the list of all releases, which includes those without a file: of the versions that the page doesn't list,
 * those in this list exist, and the others are removed. Ignores a list that is older than the page.
 */
export async function resolveMissingVersions(
  database: Database,
  releaseList: {
    readonly fence: number;
    readonly package: string;
    readonly serial: number;
    readonly versions: readonly string[];
  },
): Promise<void> {
  await database.transaction(async (db) => {
    await assertNotFenced(db, 'cloud-gazer', releaseList.fence);
    const [row] = await db.query<{ package_id: number }>(
      `update packages set list_serial = $2 where package = $1 and page_serial <= $2 returning package_id`,
      [releaseList.package, releaseList.serial],
    );
    if (!row || releaseList.versions.length === 0) return;
    const changedRows = await db.query<{ version_id: number }>(
      `update versions set removed_at = case when sort_key = any ($2) then null else now() end
       where package_id = $1 and origin = 'feed' and missing_since is not null and not quarantined
         and (removed_at is null) <> (sort_key = any ($2))
       returning version_id`,
      [row.package_id, releaseList.versions.map(sortKey)],
    );
    await requeue(
      db,
      changedRows.map(({ version_id }) => version_id),
    );
    if (changedRows.length === 0) return;
    await markPackagesDue(db, [releaseList.package]);
    await noteEvent(db);
  });
}

/**
 * Records that the index has no such project: it is removed if that is confirmed, by `isConfirmed` or by an earlier
 * removal event, and only missing otherwise.
 */
export async function markPageMissing(
  database: Database,
  revision: number,
  name: string,
  isConfirmed: boolean,
): Promise<void> {
  await database.transaction(async (db) => {
    await assertNotFenced(db, 'cloud-gazer', revision);
    const [row] = await db.query<{ package_id: number; removed: boolean }>(
      `update packages set missing_since = coalesce(missing_since, now()), fetched_at = now(), etag = null,
         removed_at = case when ($2 or removal_reported) and origin = 'feed' then coalesce(removed_at, now()) else removed_at end
       where package = $1 returning package_id, removed_at is not null as removed`,
      [name, isConfirmed],
    );
    if (!row) return;
    await db.query('delete from page_fetches where package_id = $1', [row.package_id]);
    if (!row.removed) return;
    const removedRows = await db.query<{ version_id: number }>(
      `update versions set removed_at = now()
       where package_id = $1 and origin = 'feed' and removed_at is null returning version_id`,
      [row.package_id],
    );
    await requeue(
      db,
      removedRows.map(({ version_id }) => version_id),
    );
    if (removedRows.length === 0) return;
    await markPackagesDue(db, [name]);
    await noteEvent(db);
  });
}
