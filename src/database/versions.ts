import type { Origin, Release } from '../protocols/oracle.js';
import { sortKey } from '../wheels/versions.js';
import { noteEvent } from './feed.js';
import { upsertPackage } from './packages.js';
import { markPagesDue, markPackagesDue } from './pages.js';
import type { Database, Queryable } from './pool.js';
import { releaseHolds, notifyQueue, requeue } from './queue.js';
import { ensureSpecifierIds } from './targets.js';

export async function allVersions(db: Queryable): Promise<readonly [string, string][]> {
  const rows = await db.query<{ package: string; version: string }>(
    'select package, version from versions join packages using (package_id) order by package, sort_key, version',
  );
  return rows.map((row) => [row.package, row.version]);
}

export async function versionExists(db: Queryable, name: string, version: string): Promise<boolean> {
  const rows = await db.query(
    'select 1 from versions join packages using (package_id) where package = $1 and version = $2',
    [name, version],
  );
  return rows.length > 0;
}

/** Why it isn't built: the version's reason, else its package's; null if nothing stands against it. */
export async function skipReason(
  db: Queryable,
  name: string,
  version: string | null,
): Promise<string | null> {
  const [row] = await db.query<{ skip: string | null }>(
    `select coalesce(v.skip, p.skip) as skip from packages p
     left join versions v on v.package_id = p.package_id and v.version = $2 where p.package = $1`,
    [name, version],
  );
  return row?.skip ?? null;
}

/**
 * Notes releases of one package, which is made if it is missing, and brings those that are known up
 * to date. Gives how many are new. One that somebody skipped stays skipped; what an administrator
 * brought stays theirs, and what they name becomes so.
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
 * What an index says of a version that is known is what holds, but for one that an administrator brought:
 * that an index has no sdist of it takes nothing away. Nor does it change an administrator's yank.
 */
const UPDATE_FROM_FEED = `set yanked = case when v.yank_kept then v.yanked else excluded.yanked end, has_sdist = excluded.has_sdist or (v.origin <> 'feed' and v.has_sdist),
    sdist_url = excluded.sdist_url, sdist_sha256 = excluded.sdist_sha256, specifier_id = excluded.specifier_id,
    released = coalesce(excluded.released, v.released), priority = greatest(v.priority, excluded.priority),
    gone = null, missing = null,
    -- An index that names its files has it in no quarantine.
    quarantined = false
  where (v.yanked, v.has_sdist, v.sdist_url, v.sdist_sha256, v.specifier_id) is distinct from
      (case when v.yank_kept then v.yanked else excluded.yanked end, excluded.has_sdist or (v.origin <> 'feed' and v.has_sdist), excluded.sdist_url,
        excluded.sdist_sha256, excluded.specifier_id)
    or v.released is distinct from coalesce(excluded.released, v.released) or v.priority < excluded.priority
    or v.gone is not null or v.missing is not null or v.quarantined`;

/** An administrator who names a version that is known makes it theirs, and changes nothing else of it. */
const UPDATE_FROM_ADMIN = `set origin = excluded.origin, priority = greatest(v.priority, excluded.priority), gone = null,
    missing = null
  where v.origin = 'feed' or v.priority < excluded.priority or v.gone is not null or v.missing is not null`;

/** The numbers of the versions that are different now, and how many of them are new; the queue is not touched. */
export async function upsertReleases(
  db: Queryable,
  name: string,
  origin: Origin,
  upstreamReleases: readonly Release[],
): Promise<{ readonly changedIds: readonly number[]; readonly created: number }> {
  if (upstreamReleases.length === 0) return { changedIds: [], created: 0 };
  // Before any version gets its number: see fillSlice in targets.ts.
  await db.query(`select hold_versions('{}')`);
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

/** An index's events and its files' names may spell one version in two ways; the first spelling stays. */
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
 * An administrator's mark: with a reason, which may be empty, and then no feed takes it away; null: it isn't yanked,
 * until a feed says so.
 */
export async function yankVersion(
  database: Database,
  name: string,
  version: string,
  yanked: string | null,
): Promise<void> {
  await updateVersion(database, name, version, 'yanked = $3, yank_kept = $3::text is not null', yanked);
}

/** Forgets builds, files and downloads of a version, which may then be built again. */
export async function deleteBuilds(
  database: Database,
  name: string,
  version: string,
): Promise<readonly string[]> {
  return await database.transaction((db) => deleteBuildsAndFiles(db, name, version));
}

/** Forgets a version itself, too. */
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

/** The names of the files that it had. Its pages are due. */
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
  return files.map(({ filename }) => filename);
}

/** `set` names the columns; it is written here, never by a caller from outside. */
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
