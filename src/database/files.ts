import { PiwError } from '../errors.js';
import type { CoreMetadata } from '../model/fields.js';
import type { LoggedBuild } from '../model/build.js';
import { fileFromMessage, type FileState } from '../model/file-state.js';
import { reachOf, widerReach, type ParsedTarget, type WheelTags } from '../wheels/tags.js';
import { wheelStem } from '../wheels/names.js';
import type { Queryable, SqlRow } from './pool.js';
import { ensureTagId } from './targets.js';

/** The files that a build has produced. */
export interface BuildFiles extends Pick<LoggedBuild, 'files' | 'served'> {
  readonly versionId: number;
  readonly buildId: number | null;
  /** The target that it was built for; undefined if unknown. */
  readonly target: ParsedTarget | undefined;
}

/** A file of a build, ready to be inserted. */
interface NewFileRow {
  readonly file: FileState;
  readonly metadataSha256: string;
  readonly coreMetadata: CoreMetadata | null;
  readonly versionId: number;
  readonly buildId: number | null;
  readonly target: ParsedTarget | undefined;
  readonly tagId: number;
}

/** An existing file that a build for this target has produced as well. */
type ReusedFile = Pick<BuildFiles, 'versionId' | 'target'> & { readonly filename: string };

/**
 * Inserts the files of builds in one statement; the caller has locked their versions. A file that already exists with
 * the same contents is kept. Such a file, and any that a build names as serving it, from now on also serves the targets
 * that it would serve if that build had been the first to produce it. Throws PIW_FILE_EXISTS if a name is taken by a
 * file with different contents.
 */
export async function insertFiles(db: Queryable, builds: readonly BuildFiles[]): Promise<void> {
  const files = await toFileRows(db, builds);
  const tagIdByFilename = await insertNewFiles(db, files);
  const reused: readonly ReusedFile[] = [
    ...files
      .filter(({ file, tagId }) => tagIdByFilename.get(file.filename) !== tagId)
      .map(({ file, versionId, target }) => ({ filename: file.filename, versionId, target })),
    ...builds.flatMap(({ served, versionId, target }) =>
      served.map((filename) => ({ filename, versionId, target })),
    ),
  ];
  for (const file of reused) await widenReach(db, file);
}

async function toFileRows(db: Queryable, builds: readonly BuildFiles[]): Promise<readonly NewFileRow[]> {
  const tags = new Map<string, number>();
  const files: NewFileRow[] = [];
  for (const { versionId, buildId, target, files: fileEntries } of builds) {
    for (const [tuple, metadataSha256, coreMetadata] of fileEntries) {
      const file = fileFromMessage(tuple);
      const { py_version_tag: py, abi_tag: abi, platform_tag: platform } = file;
      const reach = reachOf({ abi, platform }, target);
      const key = `${py}-${abi}-${platform} ${reach}`;
      const tagId = tags.get(key) ?? (await ensureTagId(db, { py, abi, platform, reach }));
      tags.set(key, tagId);
      files.push({ file, metadataSha256, coreMetadata, versionId, buildId, target, tagId });
    }
  }
  return files;
}

/** Inserts files that are new, and returns the id of each file's tags by filename. */
async function insertNewFiles(
  db: Queryable,
  files: readonly NewFileRow[],
): Promise<ReadonlyMap<string, number>> {
  const byName = new Map<string, NewFileRow>();
  for (const newFile of files) {
    const { filename, filehash } = newFile.file;
    const duplicate = byName.get(filename);
    if (duplicate && duplicate.file.filehash !== filehash) throw contentConflict(filename);
    byName.set(filename, duplicate ?? newFile);
  }
  const uniqueFiles = [...byName.values()];
  if (uniqueFiles.length === 0) return new Map();
  const rows = await db.query<{ filename: string; sha256: string; tag_id: number }>(
    `insert into files (filename, version_id, build_id, filesize, sha256, metadata_sha256, tag_id, requires_python, dependencies, core_metadata)
     select * from unnest(
       $1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::int[], $8::text[], $9::jsonb[], $10::jsonb[])
     on conflict (filename) do update set filename = excluded.filename
     returning filename, sha256, tag_id`,
    [
      uniqueFiles.map(({ file }) => file.filename),
      uniqueFiles.map(({ versionId }) => versionId),
      uniqueFiles.map(({ buildId }) => buildId),
      uniqueFiles.map(({ file }) => file.filesize),
      uniqueFiles.map(({ file }) => file.filehash),
      uniqueFiles.map(({ metadataSha256 }) => metadataSha256),
      uniqueFiles.map(({ tagId }) => tagId),
      uniqueFiles.map(({ file }) => file.requires_python),
      uniqueFiles.map(({ file }) => JSON.stringify(file.dependencies)),
      uniqueFiles.map(({ coreMetadata }) => (coreMetadata === null ? null : JSON.stringify(coreMetadata))),
    ],
  );
  for (const { filename, sha256 } of rows)
    if (byName.get(filename)?.file.filehash !== sha256) throw contentConflict(filename);
  await recordPublished(db, uniqueFiles);
  return new Map(rows.map(({ filename, tag_id }) => [filename, tag_id]));
}

/**
 * Extends the reach of an existing file to what this build's target adds: a pure wheel of PyPy's that a CPython build
 * produces too serves both, and later targets of either.
 */
async function widenReach(db: Queryable, { filename, versionId, target }: ReusedFile): Promise<void> {
  const [tags] = await db.query<WheelTags & SqlRow>(
    `select py, abi, platform, reach from files join tags using (tag_id) where filename = $1 and version_id = $2`,
    [filename, versionId],
  );
  if (!tags) return;
  const reach = widerReach(tags.reach, reachOf(tags, target));
  if (reach === tags.reach) return;
  await db.query('update files set tag_id = $2 where filename = $1', [
    filename,
    await ensureTagId(db, { ...tags, reach }),
  ]);
}

/** Records the hash of each name for ever. Throws PIW_FILE_EXISTS if a name was published with other contents. */
async function recordPublished(db: Queryable, files: readonly NewFileRow[]): Promise<void> {
  const conflicts = await db.query<{ filename: string }>(
    `with given as (select * from unnest($1::text[], $2::text[]) as g (filename, sha256)),
     added as (insert into published_files (filename, sha256) select * from given on conflict (filename) do nothing)
     select g.filename from given g join published_files p using (filename) where p.sha256 <> g.sha256`,
    [files.map(({ file }) => file.filename), files.map(({ file }) => file.filehash)],
  );
  if (conflicts[0]) throw contentConflict(conflicts[0].filename);
}

/** Returns every file ever published of the project and version in this wheel's name: [filename, SHA-256]. */
export async function publishedSiblings(db: Queryable, filename: string): Promise<[string, string][]> {
  const rows = await db.query<{ filename: string; sha256: string }>(
    'select filename, sha256 from published_files where wheel_stem(filename) = $1 order by filename',
    [wheelStem(filename)],
  );
  return rows.map((row) => [row.filename, row.sha256]);
}

const contentConflict = (filename: string): PiwError =>
  new PiwError('PIW_FILE_EXISTS', `${filename} already exists with different contents`);
