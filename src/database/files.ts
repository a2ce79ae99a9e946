import { PiwError } from '../errors.js';
import type { CoreMetadata } from '../protocols/fields.js';
import type { LoggedBuild } from '../protocols/oracle.js';
import { fileFromMessage, type FileState } from '../states/file-state.js';
import { reachOf, widerReach, type Target, type WheelTags } from '../wheels/tags.js';
import { wheelStem } from '../wheels/names.js';
import type { Queryable, Row } from './pool.js';
import { tagId } from './targets.js';

/** What a build has yielded. */
export interface FilesOfBuild extends Pick<LoggedBuild, 'files' | 'served'> {
  readonly version: number;
  readonly buildId: number | null;
  /** What it was built for; undefined: nobody knows. */
  readonly by: Target | undefined;
}

/** A file of a build, as it is to be written. */
interface NewFile {
  readonly file: FileState;
  readonly metadataSha256: string;
  readonly coreMetadata: CoreMetadata | null;
  readonly version: number;
  readonly buildId: number | null;
  readonly by: Target | undefined;
  readonly tag: number;
}

/** A file that is there, which a build for this target has yielded as well. */
type Yielded = Pick<FilesOfBuild, 'version' | 'by'> & { readonly filename: string };

/**
 * Writes the files of builds, whose versions the caller holds, all in one statement. One that is known already,
 * with the same contents, stays as it is; that one, and any that is named as serving a build, serves from now on
 * what it would serve if that build had been the first. Raises PIW_FILE_EXISTS for a name that is taken by a file
 * with other contents.
 */
export async function insertFiles(db: Queryable, builds: readonly FilesOfBuild[]): Promise<void> {
  const files = await newFiles(db, builds);
  const known = await insertNew(db, files);
  const again: readonly Yielded[] = [
    ...files
      .filter(({ file, tag }) => known.get(file.filename) !== tag)
      .map(({ file, version, by }) => ({ filename: file.filename, version, by })),
    ...builds.flatMap(({ served, version, by }) => served.map((filename) => ({ filename, version, by }))),
  ];
  for (const one of again) await widen(db, one);
}

async function newFiles(db: Queryable, builds: readonly FilesOfBuild[]): Promise<readonly NewFile[]> {
  const tags = new Map<string, number>();
  const files: NewFile[] = [];
  for (const { version, buildId, by, files: its } of builds) {
    for (const [tuple, metadataSha256, coreMetadata] of its) {
      const file = fileFromMessage(tuple);
      const { py_version_tag: py, abi_tag: abi, platform_tag: platform } = file;
      const reach = reachOf({ abi, platform }, by);
      const key = `${py}-${abi}-${platform} ${reach}`;
      const tag = tags.get(key) ?? (await tagId(db, { py, abi, platform, reach }));
      tags.set(key, tag);
      files.push({ file, metadataSha256, coreMetadata, version, buildId, by, tag });
    }
  }
  return files;
}

/** Gives the tags under which each of them is known now, by name. */
async function insertNew(db: Queryable, files: readonly NewFile[]): Promise<ReadonlyMap<string, number>> {
  const byName = new Map<string, NewFile>();
  for (const one of files) {
    const { filename, filehash } = one.file;
    const same = byName.get(filename);
    if (same && same.file.filehash !== filehash) throw otherContents(filename);
    byName.set(filename, same ?? one);
  }
  const all = [...byName.values()];
  if (all.length === 0) return new Map();
  const rows = await db.query<{ filename: string; sha256: string; tag_id: number }>(
    `insert into files (filename, version_id, build_id, filesize, sha256, metadata_sha256, tag_id, requires_python, dependencies, core_metadata)
     select * from unnest(
       $1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::int[], $8::text[], $9::jsonb[], $10::jsonb[])
     on conflict (filename) do update set filename = excluded.filename
     returning filename, sha256, tag_id`,
    [
      all.map(({ file }) => file.filename),
      all.map(({ version }) => version),
      all.map(({ buildId }) => buildId),
      all.map(({ file }) => file.filesize),
      all.map(({ file }) => file.filehash),
      all.map(({ metadataSha256 }) => metadataSha256),
      all.map(({ tag }) => tag),
      all.map(({ file }) => file.requires_python),
      all.map(({ file }) => JSON.stringify(file.dependencies)),
      all.map(({ coreMetadata }) => (coreMetadata === null ? null : JSON.stringify(coreMetadata))),
    ],
  );
  for (const { filename, sha256 } of rows)
    if (byName.get(filename)?.file.filehash !== sha256) throw otherContents(filename);
  await remember(db, all);
  return new Map(rows.map(({ filename, tag_id }) => [filename, tag_id]));
}

/** A pure wheel of PyPy's that CPython's build yields too is pure for both, and for whoever comes after them. */
async function widen(db: Queryable, { filename, version, by }: Yielded): Promise<void> {
  const [tags] = await db.query<WheelTags & Row>(
    `select py, abi, platform, reach from files join tags using (tag_id) where filename = $1 and version_id = $2`,
    [filename, version],
  );
  if (!tags) return;
  const reach = widerReach(tags.reach, reachOf(tags, by));
  if (reach === tags.reach) return;
  await db.query('update files set tag_id = $2 where filename = $1', [
    filename,
    await tagId(db, { ...tags, reach }),
  ]);
}

/** Remembers for ever what these names stand for. Throws PIW_FILE_EXISTS for one that stood for other bytes. */
async function remember(db: Queryable, files: readonly NewFile[]): Promise<void> {
  const spent = await db.query<{ filename: string }>(
    `with given as (select * from unnest($1::text[], $2::text[]) as g (filename, sha256)),
     added as (insert into published (filename, sha256) select * from given on conflict (filename) do nothing)
     select g.filename from given g join published p using (filename) where p.sha256 <> g.sha256`,
    [files.map(({ file }) => file.filename), files.map(({ file }) => file.filehash)],
  );
  if (spent[0]) throw otherContents(spent[0].filename);
}

/** What was ever published of the project and version in this wheel's name: [filename, SHA-256]. */
export async function publishedLike(db: Queryable, filename: string): Promise<[string, string][]> {
  const rows = await db.query<{ filename: string; sha256: string }>(
    'select filename, sha256 from published where wheel_stem(filename) = $1 order by filename',
    [wheelStem(filename)],
  );
  return rows.map((row) => [row.filename, row.sha256]);
}

const otherContents = (filename: string): PiwError =>
  new PiwError('PIW_FILE_EXISTS', `${filename} is known already, with other contents`);
