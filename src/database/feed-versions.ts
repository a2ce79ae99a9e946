import type { VersionChange } from '../protocols/feed.js';
import { sortKey } from '../wheels/versions.js';
import type { Queryable } from './pool.js';

/** Versions released within this time get the priority of new releases, seconds. */
const NEW_RELEASE_MAX_AGE_S = 24 * 3600;

interface InsertedVersion {
  /** The index of its change in the list of changes. */
  readonly changeIndex: number;
  readonly versionId: number;
  /** Whether the project's page, which was fetched after the event, doesn't list it. */
  readonly missing: boolean;
}

/**
 * Inserts versions that are new, and returns their ids. A version that a later page doesn't list has no file there, is
 * quarantined, or its removal event is still to come. A removal event that arrives before the release is recorded, too:
 * if the release turns up afterwards, a page that doesn't list the version shows which of the two was last.
 */
export async function insertVersions(
  db: Queryable,
  versions: readonly VersionChange[],
): Promise<readonly InsertedVersion[]> {
  const changes = versions.flatMap((change, index) =>
    change.removed || change.released !== null ? [{ ...change, index }] : [],
  );
  if (changes.length === 0) return [];
  const packages = await lockPackages(db, new Set(changes.map(({ name }) => name)));
  const insertions = changes.flatMap((change) => {
    const packageRow = packages.get(change.name);
    if (!packageRow) return [];
    const outranked = packageRow.page_serial >= change.serial;
    const hidden = (change.quarantined ?? false) || packageRow.status === 'quarantined';
    const sdist = (change.sdist ?? false) && (!outranked || hidden);
    return [{ ...change, id: packageRow.package_id, outranked, sdist }];
  });
  const rows = await db.query<{ version_id: number; package_id: number; version: string; missing: boolean }>(
    `insert into versions (package_id, version, sort_key, released, has_sdist, yanked, quarantined, origin, priority,
       missing_since, removed_at)
     select g.package_id, g.version, g.sort_key, to_timestamp(g.released), g.flags & 1 > 0,
       case when g.flags & 2 > 0 then '' end, g.flags & 4 > 0, 'feed',
       case when to_timestamp(g.released) > now() - $6 * interval '1 second' then 1 else 0 end,
       case when g.flags & 8 > 0 then now() end, case when g.flags & 16 > 0 then now() end
     from unnest($1::bigint[], $2::text[], $3::text[], $4::float8[], $5::int[])
       as g (package_id, version, sort_key, released, flags)
     on conflict (package_id, version) do nothing
     returning version_id, package_id, version, missing_since is not null as missing`,
    [
      insertions.map(({ id }) => id),
      insertions.map(({ version }) => version),
      insertions.map(({ version }) => sortKey(version)),
      insertions.map(({ released }) => released),
      // Flags in one list instead of five: for thousands of versions, encoding the lists as text is what costs.
      insertions.map(
        ({ sdist, yanked, quarantined, outranked, removed, reset }) =>
          (sdist ? 1 : 0) +
          (yanked ? 2 : 0) +
          (quarantined ? 4 : 0) +
          (outranked ? 8 : 0) +
          (removed || (reset && outranked) ? 16 : 0),
      ),
      NEW_RELEASE_MAX_AGE_S,
    ],
  );
  const indexByKey = new Map(
    insertions.map(({ id, version, index }) => [`${id} ${version}`, index] as const),
  );
  return rows.map(({ version_id, package_id, version, missing }) => ({
    changeIndex: indexByKey.get(`${package_id} ${version}`) ?? -1,
    versionId: version_id,
    missing,
  }));
}

interface PackageRow {
  readonly package_id: number;
  readonly package: string;
  readonly page_serial: number;
  readonly status: string;
}

/** Returns the packages, and locks them against deletion until the transaction ends. */
async function lockPackages(
  db: Queryable,
  names: ReadonlySet<string>,
): Promise<ReadonlyMap<string, PackageRow>> {
  const rows = await db.query<PackageRow & Readonly<Record<string, unknown>>>(
    'select package_id, package, page_serial, status from packages where package = any ($1) for key share',
    [[...names]],
  );
  return new Map(rows.map((row) => [row.package, row] as const));
}

/**
 * Updates versions that differ from the database, and returns their ids. Events say nothing new about a version that a
 * later page lists; if the page doesn't list it, they say why.
 */
export async function changeVersions(
  db: Queryable,
  versions: readonly VersionChange[],
): Promise<readonly number[]> {
  if (versions.length === 0) return [];
  const rows = await db.query<{ version_id: number }>(
    `with given as (
       select v.version_id, v.origin, v.has_sdist, v.yanked, v.yank_kept, v.removed_at, v.missing_since, g.released, g.sdist, g.removed,
         -- A later page doesn't list it: it has no file there, or is quarantined.
         p.page_serial >= g.serial and not coalesce(g.quarantined, v.quarantined) and p.status <> 'quarantined' as bare,
         g.reset and not g.removed as anew,
         case when g.yanked then true when g.yanked is false then false end as given_yanked,
         case when v.origin <> 'feed' then null when g.removed then coalesce(v.removed_at, now())
           when g.released is not null and p.page_serial < g.serial or g.quarantined then null
           else v.removed_at end as new_removed_at,
         case when p.page_serial >= g.serial or g.removed then v.missing_since end as new_missing_since,
         coalesce(g.quarantined, v.quarantined and not (g.reset and not g.removed)) as new_quarantined
       from unnest($1::text[], $2::text[], $3::bigint[], $4::float8[], $5::bool[], $6::bool[], $7::bool[], $8::bool[],
         $9::bool[]) as g (name, version, serial, released, reset, removed, sdist, yanked, quarantined)
       join packages p on p.package = g.name
       join versions v on v.package_id = p.package_id and v.version = g.version
       where p.page_serial < g.serial or v.missing_since is not null
     ), wanted as (
       select version_id, anew, released, new_quarantined, new_removed_at, new_missing_since,
         -- A version that an administrator added keeps its sdist, whatever the feed says.
         coalesce(sdist, has_sdist and not anew) and not bare or (origin <> 'feed' and has_sdist) as new_sdist,
         case when yank_kept then yanked when given_yanked then coalesce(yanked, '') when anew or not given_yanked then null
           else yanked end as new_yanked
       from given
     )
     update versions v
     set removed_at = g.new_removed_at, missing_since = g.new_missing_since, has_sdist = g.new_sdist,
       yanked = g.new_yanked, quarantined = g.new_quarantined,
       released = coalesce(case when g.anew then to_timestamp(g.released) end, v.released, to_timestamp(g.released)),
       sdist_url = case when g.new_sdist and not g.anew then v.sdist_url end,
       sdist_sha256 = case when g.new_sdist and not g.anew then v.sdist_sha256 end
     from wanted g
     where v.version_id = g.version_id
       and (v.removed_at, v.missing_since, v.has_sdist, v.yanked, v.quarantined)
         is distinct from (g.new_removed_at, g.new_missing_since, g.new_sdist, g.new_yanked, g.new_quarantined)
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
