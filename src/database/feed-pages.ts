import type { Project, Release } from '../protocols/oracle.js';
import { sortKey } from '../wheels/versions.js';
import { noteEvent, postponePageFetch } from './feed.js';
import { fence } from './fences.js';
import { upsertPackage } from './packages.js';
import { markPackagesDue } from './pages.js';
import type { Database, Queryable } from './pool.js';
import { notifyQueue, requeue } from './queue.js';
import { upsertReleases } from './versions.js';

type ProjectStatus = Project['status'];

export interface ProjectPageUpdate {
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
const MASS_REMOVAL_THRESHOLD = { versions: 5, share: 0.2 };

/**
 * What a project's page says is what holds. Only what it doesn't name is not believed at once: such a
 * version is gone when an event says so, or when a page read `removal_delay_s` later doesn't name it
 * either; and if those are many, not even then. A page that is older than what is known changes nothing.
 */
export async function applyPage(
  database: Database,
  page: ProjectPageUpdate,
): Promise<{ readonly stale: boolean; readonly created: number; readonly unsettled: boolean }> {
  return await database.transaction(async (db) => {
    await fence(db, 'cloud-gazer', page.fence);
    const { package: name, serial, status, etag, description } = page;
    await upsertPackage(db, { package: name, description, origin: 'feed', aliases: [] });
    const [before] = await db.query<{
      package_id: number;
      page_serial: number;
      status: string;
      gone: boolean;
      etag: string | null;
    }>(
      `select package_id, page_serial, status, gone is not null as gone, etag from packages where package = $1 for update`,
      [name],
    );
    if (!before || (serial > 0 && serial < before.page_serial)) {
      await postponePageFetch(db, name);
      return { stale: true, created: 0, unsettled: false };
    }
    await db.query(
      `update packages set status = $2, gone = null, missing = null, removed = false, etag = $3, looked = now(),
         page_serial = greatest(page_serial, $4) where package_id = $1`,
      [before.package_id, status, etag, serial],
    );
    const { changedIds, created } = await upsertReleases(db, name, 'feed', page.releases);
    const goneIds = status === 'quarantined' ? [] : await markMissing(db, before.package_id, page);
    const allIds = before.status !== status || before.gone ? await versionIdsOf(db, before.package_id) : [];
    await requeue(db, [...new Set([...changedIds, ...goneIds, ...allIds])]);
    if (changedIds.length + goneIds.length + allIds.length > 0) {
      await markPackagesDue(db, [name]);
      await notifyQueue(db);
    }
    const differs = serial > before.page_serial || (etag !== null && etag !== before.etag);
    if (differs || changedIds.length + goneIds.length + allIds.length > 0) await noteEvent(db);
    // One that must have reached a higher serial is looked at again.
    const dequeued = await db.query(
      'delete from looks where package_id = $1 and (serial <= $2 or $2 = 0) returning 1',
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

/** Marks what the page doesn't name as missing, or as gone; the numbers of what has gone. */
async function markMissing(
  db: Queryable,
  packageId: number,
  page: ProjectPageUpdate,
): Promise<readonly number[]> {
  const keys = page.releases.map(({ version }) => sortKey(version));
  const [count] = await db.query<{ absent: number; all: number }>(
    `select count(*) filter (where sort_key <> all ($2)) as absent, count(*) as all from versions
     where package_id = $1 and origin = 'feed' and gone is null and not quarantined`,
    [packageId, keys],
  );
  const { absent = 0, all: total = 0 } = count ?? {};
  if (absent === 0) return [];
  const isMassRemoval =
    absent > MASS_REMOVAL_THRESHOLD.versions && absent > total * MASS_REMOVAL_THRESHOLD.share;
  const rows = await db.query<{ version_id: number; gone: boolean }>(
    `update versions set missing = coalesce(missing, now()),
       gone = case when not $3 and has_sdist and missing < now() - $4 * interval '1 second' then now() end
     where package_id = $1 and origin = 'feed' and gone is null and not quarantined and sort_key <> all ($2)
     returning version_id, gone is not null as gone`,
    [packageId, keys, isMassRemoval, page.removal_delay_s],
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
export async function markPageUnchanged(
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
    await fence(db, 'cloud-gazer', releaseList.fence);
    const [row] = await db.query<{ package_id: number }>(
      `update packages set list_serial = $2 where package = $1 and page_serial <= $2 returning package_id`,
      [releaseList.package, releaseList.serial],
    );
    if (!row || releaseList.versions.length === 0) return;
    const changedRows = await db.query<{ version_id: number }>(
      `update versions set gone = case when sort_key = any ($2) then null else now() end
       where package_id = $1 and origin = 'feed' and missing is not null and not quarantined
         and (gone is null) <> (sort_key = any ($2))
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

/** The index has no such project: it is gone if something else says so too, and only missing otherwise. */
export async function markPageMissing(
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
    const goneRows = await db.query<{ version_id: number }>(
      `update versions set gone = now() where package_id = $1 and origin = 'feed' and gone is null returning version_id`,
      [row.package_id],
    );
    await requeue(
      db,
      goneRows.map(({ version_id }) => version_id),
    );
    if (goneRows.length === 0) return;
    await markPackagesDue(db, [name]);
    await noteEvent(db);
  });
}
