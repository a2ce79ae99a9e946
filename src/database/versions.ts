import type { Origin, Release } from '../protocols/oracle.js';
import { sortKey } from '../wheels/versions.js';
import { newPackage } from './packages.js';
import type { Database, Queryable } from './pool.js';
import { hint, requeue } from './queue.js';
import { specifierIds } from './targets.js';

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
 * brought stays theirs.
 */
export async function newVersions(
  database: Database,
  name: string,
  origin: Origin,
  releases: readonly Release[],
): Promise<number> {
  return await database.transaction(async (db) => {
    await newPackage(db, { package: name, description: null, origin, aliases: [] });
    const specifiers = await specifierIds(
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
       on conflict (package_id, version) do update
       set released = coalesce(v.released, excluded.released), yanked = excluded.yanked,
         has_sdist = excluded.has_sdist or (v.origin <> 'feed' and v.has_sdist),
         sdist_url = coalesce(excluded.sdist_url, v.sdist_url),
         sdist_sha256 = coalesce(excluded.sdist_sha256, v.sdist_sha256),
         specifier_id = coalesce(excluded.specifier_id, v.specifier_id),
         priority = greatest(v.priority, excluded.priority)
       where (v.yanked, v.has_sdist, v.sdist_url, v.sdist_sha256, v.specifier_id, v.priority) is distinct from
         (excluded.yanked, excluded.has_sdist, excluded.sdist_url, excluded.sdist_sha256, excluded.specifier_id,
          excluded.priority) or v.released is null
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
    await requeue(
      db,
      rows.map(({ version_id }) => version_id),
    );
    if (rows.length > 0) {
      await note(db, name);
      await hint(db);
    }
    return rows.filter(({ created }) => created).length;
  });
}

export async function skipVersion(
  database: Database,
  name: string,
  version: string,
  skip: string | null,
): Promise<void> {
  await change(database, name, version, 'skip = $3', skip);
}

/** Marked with a reason, which may be empty; null: not yanked any more. */
export async function yankVersion(
  database: Database,
  name: string,
  version: string,
  yanked: string | null,
): Promise<void> {
  await change(database, name, version, 'yanked = $3', yanked);
}

/** Forgets builds, files and downloads of a version, which may then be built again. */
export async function deleteBuilds(
  database: Database,
  name: string,
  version: string,
): Promise<readonly string[]> {
  return await database.transaction(async (db) => {
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
    await hint(db);
    return files.map(({ filename }) => filename);
  });
}

/** Forgets a version itself, too. */
export async function deleteVersion(
  database: Database,
  name: string,
  version: string,
): Promise<readonly string[]> {
  const files = await deleteBuilds(database, name, version);
  await database.query(
    `delete from versions v using packages p where p.package_id = v.package_id and p.package = $1 and v.version = $2`,
    [name, version],
  );
  return files;
}

/** `set` names the column; it is written here, never by a caller from outside. */
async function change(
  database: Database,
  name: string,
  version: string,
  set: 'skip = $3' | 'yanked = $3',
  value: string | null,
): Promise<void> {
  await database.transaction(async (db) => {
    const rows = await db.query<{ version_id: number }>(
      `update versions v set ${set} from packages p
       where p.package_id = v.package_id and p.package = $1 and v.version = $2 returning v.version_id`,
      [name, version, value],
    );
    await requeue(
      db,
      rows.map(({ version_id }) => version_id),
    );
    await note(db, name);
    await hint(db);
  });
}

async function note(db: Queryable, name: string): Promise<void> {
  await db.query(
    `insert into pages_backlog (kind, argument) values ('PROJECT', $1)
     on conflict (kind, argument) do update set note = excluded.note`,
    [name],
  );
}
