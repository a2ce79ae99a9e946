import type { Origin, Release } from '../model/release.js';
import { sortKey } from '../wheels/versions.js';
import { noteEvent } from './feed.js';
import { upsertPackage } from './packages.js';
import { markPagesDue, markPackagesDue } from './pages.js';
import type { Database, Queryable } from './pool.js';
import { releaseHolds, notifyQueue, requeue } from './queue.js';
import { recordRemovals } from './removals.js';
import { ensureSpecifierIds } from './targets.js';

export async function versionExists(db: Queryable, name: string, version: string): Promise<boolean> {
  const rows = await db.query(
    'select 1 from versions join packages using (package_id) where package = $1 and version = $2',
    [name, version],
  );
  return rows.length > 0;
}

/**
 * Adds releases of one package, creating the package if it is missing, and updates releases that are already known.
 * Returns how many are new. A skipped version stays skipped. A version that an administrator added keeps its origin,
 * and one that an administrator names takes it.
 */
export async function addReleases(
  database: Database,
  name: string,
  origin: Origin,
  releases: readonly Release[],
): Promise<number> {
  return await database.transaction(async (db) => {
    await upsertPackage(db, { package: name, description: null, origin, aliases: [] });
    const { changedIds, created } = await upsertReleases(db, name, origin, releases);
    await requeue(db, changedIds);
    if (changedIds.length > 0) {
      await markPackagesDue(db, [name]);
      if (origin === 'feed') await noteEvent(db);
      await notifyQueue(db);
    }
    return created;
  });
}

/**
 * Updates a known version to what the index says, with two exceptions: a version that an administrator added keeps its
 * sdist even if the index has none, and an administrator's yank stays.
 */
const UPDATE_FROM_FEED = `set yanked = case when v.yank_kept then v.yanked else excluded.yanked end, has_sdist = excluded.has_sdist or (v.origin <> 'feed' and v.has_sdist),
    sdist_url = excluded.sdist_url, sdist_sha256 = excluded.sdist_sha256, specifier_id = excluded.specifier_id,
    released = coalesce(excluded.released, v.released), priority = greatest(v.priority, excluded.priority),
    removed_at = null, missing_since = null,
    -- A version whose files the index lists is not quarantined there.
    quarantined = false
  where (v.yanked, v.has_sdist, v.sdist_url, v.sdist_sha256, v.specifier_id) is distinct from
      (case when v.yank_kept then v.yanked else excluded.yanked end, excluded.has_sdist or (v.origin <> 'feed' and v.has_sdist), excluded.sdist_url,
        excluded.sdist_sha256, excluded.specifier_id)
    or v.released is distinct from coalesce(excluded.released, v.released) or v.priority < excluded.priority
    or v.removed_at is not null or v.missing_since is not null or v.quarantined`;

/** Updates a known version that an administrator names: it takes their origin, and nothing else of it changes. */
const UPDATE_FROM_ADMIN = `set origin = excluded.origin, priority = greatest(v.priority, excluded.priority),
    removed_at = null, missing_since = null
  where v.origin = 'feed' or v.priority < excluded.priority or v.removed_at is not null or v.missing_since is not null`;

/** Returns the ids of the versions that have changed, and how many of them are new. Does not touch the queue. */
export async function upsertReleases(
  db: Queryable,
  name: string,
  origin: Origin,
  upstreamReleases: readonly Release[],
): Promise<{ readonly changedIds: readonly number[]; readonly created: number }> {
  if (upstreamReleases.length === 0) return { changedIds: [], created: 0 };
  // Before any version is assigned its id: see fillSlice in targets.ts.
  await db.query(`select lock_versions('{}')`);
  const releases = await withKnownSpelling(db, name, upstreamReleases);
  const specifiers = await ensureSpecifierIds(
    db,
    releases.flatMap(({ requires_python }) => (requires_python === null ? [] : [requires_python])),
  );
  const rows = await db.query<{ version_id: number; created: boolean }>(
    `insert into versions as v (package_id, version, sort_key, released, yanked, has_sdist, sdist_url, sdist_sha256,
       specifier_id, priority, origin)
     select p.package_id, r.version, r.sort_key, to_timestamp(r.released / 1000), r.yanked, r.has_sdist, r.sdist_url,
       r.sdist_sha256, r.specifier_id, r.priority, $11
     from packages p, unnest($2::text[], $3::text[], $4::float8[], $5::text[], $6::bool[], $7::text[], $8::text[],
       $9::int[], $10::int[]) as r (version, sort_key, released, yanked, has_sdist, sdist_url, sdist_sha256,
         specifier_id, priority)
     where p.package = $1
     order by r.version
     on conflict (package_id, version) do update ${origin === 'feed' ? UPDATE_FROM_FEED : UPDATE_FROM_ADMIN}
     returning version_id, (xmax = 0) as created`,
    [
      name,
      releases.map((r) => r.version),
      releases.map((r) => sortKey(r.version)),
      releases.map((r) => r.released),
      releases.map((r) => r.yanked),
      releases.map((r) => r.has_sdist),
      releases.map((r) => r.sdist_url),
      releases.map((r) => r.sdist_sha256),
      releases.map((r) => (r.requires_python === null ? null : specifiers.get(r.requires_python))),
      releases.map((r) => r.priority),
      origin,
    ],
  );
  return {
    changedIds: rows.map(({ version_id }) => version_id),
    created: rows.filter(({ created }) => created).length,
  };
}

/**
 * Replaces each release's version by the spelling that is already stored: an index's events and its filenames may
 * spell one version in two ways, and the first spelling stays.
 */
async function withKnownSpelling(
  db: Queryable,
  name: string,
  releases: readonly Release[],
): Promise<readonly Release[]> {
  const rows = await db.query<{ version: string; sort_key: string }>(
    `select v.version, v.sort_key from versions v join packages p using (package_id)
     where p.package = $1 and v.sort_key = any ($2)`,
    [name, releases.map(({ version }) => sortKey(version))],
  );
  const knownVersions = new Set(rows.map(({ version }) => version));
  const byKey = new Map(rows.map(({ version, sort_key }) => [sort_key, version] as const));
  return releases.map((release) => {
    if (knownVersions.has(release.version)) return release;
    return { ...release, version: byKey.get(sortKey(release.version)) ?? release.version };
  });
}

export async function skipVersion(
  database: Database,
  name: string,
  version: string,
  skip: string | null,
): Promise<void> {
  await updateVersion(database, name, version, 'skip = $3', skip);
}

/**
 * Yanks a version with a reason, which may be empty; the feed can't undo that. Null removes the yank, until the feed
 * yanks the version.
 */
export async function yankVersion(
  database: Database,
  name: string,
  version: string,
  yanked: string | null,
): Promise<void> {
  await updateVersion(database, name, version, 'yanked = $3, yank_kept = $3::text is not null', yanked);
}

/**
 * Deletes the builds, files and downloads of a version, which may then be built again. Returns the names of the deleted
 * files.
 */
export async function deleteBuilds(
  database: Database,
  name: string,
  version: string,
): Promise<readonly string[]> {
  return await database.transaction((db) => deleteBuildsAndFiles(db, name, version));
}

/** Deletes a version with its builds, files and downloads. Returns the names of the deleted files. */
export async function deleteVersion(
  database: Database,
  name: string,
  version: string,
): Promise<readonly string[]> {
  return await database.transaction(async (db) => {
    const files = await deleteBuildsAndFiles(db, name, version);
    await db.query(
      `delete from versions v using packages p where p.package_id = v.package_id and p.package = $1 and v.version = $2`,
      [name, version],
    );
    return files;
  });
}

/** Deletes the builds and files of a version, and marks its pages due. Returns the names of the deleted files. */
async function deleteBuildsAndFiles(
  db: Queryable,
  name: string,
  version: string,
): Promise<readonly string[]> {
  const [row] = await db.query<{ version_id: number }>(
    'select version_id from versions join packages using (package_id) where package = $1 and version = $2',
    [name, version],
  );
  if (!row) return [];
  const files = await db.query<{ filename: string }>(
    'delete from files where version_id = $1 returning filename',
    [row.version_id],
  );
  await db.query('delete from builds where version_id = $1', [row.version_id]);
  await requeue(db, [row.version_id]);
  await releaseHolds(db, [row.version_id]);
  await markPagesDue(db, [['PKG', name]]);
  await notifyQueue(db);
  const filenames = files.map(({ filename }) => filename);
  await recordRemovals(db, name, filenames);
  return filenames;
}

/**
 * Updates columns of a version and requeues it. `assignment` is SQL, so it is one of these two texts and nothing else.
 */
async function updateVersion(
  database: Database,
  name: string,
  version: string,
  assignment: 'skip = $3' | 'yanked = $3, yank_kept = $3::text is not null',
  value: string | null,
): Promise<void> {
  await database.transaction(async (db) => {
    const rows = await db.query<{ version_id: number }>(
      `update versions v set ${assignment} from packages p
       where p.package_id = v.package_id and p.package = $1 and v.version = $2 returning v.version_id`,
      [name, version, value],
    );
    await requeue(
      db,
      rows.map(({ version_id }) => version_id),
    );
    await markPackagesDue(db, [name]);
    await notifyQueue(db);
  });
}
