import type {
  FileOrigin,
  IndexedFile,
  Project,
  ProjectFile,
  ProjectVersion,
  VersionOnTarget,
} from '../model/project.js';
import type { CoreMetadata } from '../model/fields.js';
import { newestRelease } from '../wheels/newest-release.js';
import type { Queryable, SqlRow } from './pool.js';

type RowOf<T> = T & SqlRow;

const FILE_COLUMNS = `f.filename, v.version, f.filesize, f.sha256, f.metadata_sha256, f.requires_python, v.yanked,
  floor(extract(epoch from f.uploaded) * 1000)::float8 as uploaded`;

/**
 * Returns what the simple index shows of a package: nothing while it is quarantined, and what was removed from the
 * followed index only if `includeRemoved`.
 */
export async function packageFiles(
  db: Queryable,
  name: string,
  includeRemoved: boolean,
): Promise<{
  exists: boolean;
  status: Project['status'];
  versions: string[];
  files: IndexedFile[];
  metadata: CoreMetadata | null;
  listed: number | null;
}> {
  const [row] = await db.query<{
    status: Project['status'] | null;
    removed: boolean;
    listed: number | null;
  }>(
    `select p.status, p.removed_at is not null as removed, l.serial as listed
     from (select $1::text as package) n left join packages p using (package) left join listed_packages l using (package)`,
    [name],
  );
  const { status = null, listed = null } = row ?? {};
  const emptyResult = { versions: [], files: [], metadata: null, listed };
  if (!row || status === null) return { exists: false, status: 'active', ...emptyResult };
  if (status === 'quarantined' || (row.removed && !includeRemoved))
    return { exists: true, status, ...emptyResult };
  const files = await db.query<RowOf<IndexedFile>>(
    `select ${FILE_COLUMNS}
     from files f join versions v using (version_id) join packages p using (package_id)
     where p.package = $1 and not v.quarantined and (v.removed_at is null or $2)
     order by v.sort_key, v.version, f.filename`,
    [name, includeRemoved],
  );
  const versions = await db.query<{ version: string }>(
    `select version from versions v join packages p using (package_id)
     where p.package = $1 and not v.quarantined and (v.removed_at is null or $2)
       and exists (select from files f where f.version_id = v.version_id) order by sort_key, version`,
    [name, includeRemoved],
  );
  return {
    exists: true,
    status,
    versions: versions.map(({ version }) => version),
    files: [...files],
    metadata: await newestMetadata(db, files),
    listed,
  };
}

/** Returns the METADATA of the newest release. `files` is sorted by version. */
async function newestMetadata(db: Queryable, files: readonly IndexedFile[]): Promise<CoreMetadata | null> {
  const releases = new Map<string, IndexedFile[]>();
  for (const file of files) {
    const release = releases.get(file.version);
    if (release) release.push(file);
    else releases.set(file.version, [file]);
  }
  const newest = newestRelease(releases);
  if (!newest) return null;
  const [row] = await db.query<{ core_metadata: CoreMetadata }>(
    `select core_metadata from files where filename = any ($1) and core_metadata is not null
     order by filename limit 1`,
    [newest.files.map(({ filename }) => filename)],
  );
  return row?.core_metadata ?? null;
}

/** Returns the package and version of a file, and the target that it was built for, if that is still known. */
export async function fileOrigin(db: Queryable, filename: string): Promise<FileOrigin | null> {
  const [row] = await db.query<RowOf<{ origin: FileOrigin }>>(
    `select json_build_array(p.package, v.version, t.abi, t.platform) as origin
     from files f join versions v using (version_id) join packages p using (package_id)
     left join builds b on b.build_id = f.build_id left join targets t on t.target_id = b.target_id
     where f.filename = $1`,
    [filename],
  );
  return row?.origin ?? null;
}

/** Returns everything that a project's page shows, newest version first; null if there is no such package. */
export async function projectDetails(db: Queryable, name: string): Promise<Project | null> {
  const [row] = await db.query<RowOf<Pick<Project, 'package' | 'description' | 'status' | 'skip'>>>(
    'select package, description, status, skip from packages where package = $1',
    [name],
  );
  if (!row) return null;
  const { package: packageName, description, status, skip } = row;
  return {
    package: packageName,
    description,
    status,
    skip,
    ...(await projectDownloads(db, name)),
    versions: await projectVersions(db, name),
    files: await projectFiles(db, name),
  };
}

async function projectDownloads(
  db: Queryable,
  name: string,
): Promise<Pick<Project, 'downloads' | 'downloads_last_month'>> {
  const [row] = await db.query<RowOf<Pick<Project, 'downloads' | 'downloads_last_month'>>>(
    `select coalesce(sum(d.downloads), 0)::bigint as downloads,
       coalesce(sum(d.downloads) filter (where d.day > (now() at time zone 'UTC')::date - 30), 0)::bigint
         as downloads_last_month
     from packages p join download_days d using (package_id) where p.package = $1`,
    [name],
  );
  return row ?? { downloads: 0, downloads_last_month: 0 };
}

async function projectVersions(db: Queryable, name: string): Promise<ProjectVersion[]> {
  const rows = await db.query<RowOf<Omit<ProjectVersion, 'targets'> & { version_id: number }>>(
    `select v.version_id, v.version, floor(extract(epoch from v.released) * 1000)::float8 as released,
       coalesce(v.skip, case when coalesce(p.removed_at, v.removed_at) is not null then 'removed from the index' end) as skip, v.yanked,
       v.has_sdist, s.specifier as requires_python
     from versions v join packages p using (package_id) left join specifiers s using (specifier_id)
     where p.package = $1 order by v.sort_key desc, v.version desc`,
    [name],
  );
  const states = await db.query<RowOf<VersionOnTarget & { version_id: number }>>(
    `select s.version_id, s.abi, s.platform, s.build_id, s.failure_class, s.reason, s.remark, s.filename, s.state,
       floor(extract(epoch from s.held_until) * 1000)::float8 as held_until
     from packages p join build_states s using (package_id)
     where p.package = $1 order by s.rank, s.platform`,
    [name],
  );
  const byVersion = new Map<number, VersionOnTarget[]>();
  for (const { version_id, ...state } of states) {
    const list = byVersion.get(version_id) ?? [];
    list.push(state);
    byVersion.set(version_id, list);
  }
  return rows.map(({ version_id, version, released, skip, yanked, has_sdist, requires_python }) => ({
    version,
    released,
    skip,
    yanked,
    has_sdist,
    requires_python,
    targets: byVersion.get(version_id) ?? [],
  }));
}

async function projectFiles(db: Queryable, name: string): Promise<ProjectFile[]> {
  const rows = await db.query<RowOf<ProjectFile>>(
    `select ${FILE_COLUMNS}, f.build_id, f.dependencies, f.core_metadata, b.remark, b.provenance, s.label as slave,
       floor(extract(epoch from b.built_at) * 1000)::float8 as built, extract(epoch from b.duration)::float8 as duration_s,
       coalesce((select d.downloads from file_downloads d where d.file_id = f.file_id), 0) as downloads,
       coalesce((select json_agg(json_build_array(t.abi, t.platform) order by t.rank, t.platform)
         from tag_covers c join targets t using (target_id) where c.tag_id = f.tag_id), '[]') as serves
     from files f join versions v using (version_id) join packages p using (package_id)
       left join builds b on b.build_id = f.build_id left join slaves s using (slave_id)
     where p.package = $1 order by v.sort_key desc, f.filename`,
    [name],
  );
  return [...rows];
}
