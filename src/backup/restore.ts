import { existsSync, readFileSync, readdirSync, statSync, type Stats } from 'node:fs';
import { chown, mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { addAbortSignal, type Readable } from 'node:stream';
import { forEachConcurrently } from '../concurrency/for-each-concurrently.js';
import { setPaused } from '../database/control.js';
import { checkTarget, loadDump, publishedDigests, type TargetDatabase } from '../database/load.js';
import { newerError, schemaVersion } from '../database/migrations.js';
import { Database } from '../database/pool.js';
import { PiwError, hasCode } from '../errors.js';
import { codeOf, makeFolders, syncFolder, undefinedIfMissing, withDiskErrors } from '../files/disk.js';
import { acquireLock } from '../servers/folder-lock.js';
import { normalise } from '../wheels/names.js';
import { describeWheel, hashFile } from '../wheels/wheel.js';
import { copyVerified, isIntact } from './copy.js';
import {
  CONFIGURATION_FOLDER,
  FILES_FOLDER,
  FILE_LIST,
  LOCK_FILE,
  checkPaths,
  damaged,
  listedPackages,
  openCompressed,
  publishedPair,
  readManifest,
  tableFile,
  type ListedPackage,
  type Manifest,
  type PublishedFile,
} from './manifest.js';
import type { ListedFile } from '../database/dump.js';
import { formatQuantity } from '../units.js';

export interface RestoreOptions {
  readonly dsn: string;
  readonly outputPath: string;
  readonly folder: string;
  /** The master's role: see checkTarget(). */
  readonly user: string | undefined;
  readonly userForSuperuser: string;
  readonly allowSuperuser: boolean;
  /** Whether files under the output path are kept. */
  readonly keepsFiles: boolean;
  /** Whether records of files that can't be restored are dropped. */
  readonly dropsMissing: boolean;
  /** Called with the bytes of published files that have been checked or copied, and those of all. */
  readonly onProgress?: (doing: 'checked' | 'copied', done: number, of: number) => void;
  readonly signal: AbortSignal;
}

/** A wheel under the output path that the backup does not list: it was published after the backup. */
export interface UnlistedWheel {
  readonly path: string;
  readonly package: string;
  /** Undefined if it is not a wheel that can be read. */
  readonly version: string | undefined;
  /** Why piw import would not take it; null: it would. */
  readonly obstacle: string | null;
}

/** What a restore will do. */
export interface RestorePlan {
  readonly manifest: Manifest;
  readonly target: TargetDatabase;
  /** Files to copy, and their bytes; and files that are under the output path already. */
  readonly toCopy: number;
  readonly bytesToCopy: number;
  readonly inPlace: number;
  /** `PACKAGE/FILENAME` of files that can't be restored, and are dropped. */
  readonly dropped: readonly string[];
  readonly unlisted: readonly UnlistedWheel[];
}

/** Where a published file is. */
type Place = 'in place' | 'in backup' | 'lost';

/** Packages that are checked or copied at once. */
const WORKERS = 4;

/**
 * Restores a backup: plan() checks the backup, the database and the output path, and carryOut() does what the plan says.
 * It copies files first, and then loads the database in one transaction; so a restore that was interrupted can be
 * repeated with `keepsFiles`. close() has to be called in any case.
 */
export class Restore {
  readonly #options: RestoreOptions;
  readonly #database: Database;
  readonly #unlock: () => void;

  private constructor(options: RestoreOptions, database: Database, unlock: () => void) {
    this.#options = options;
    this.#database = database;
    this.#unlock = unlock;
  }

  /** Throws PIW_NO_BACKUP, PIW_BACKUP_DAMAGED, PIW_IN_USE, and the errors of Database.open(). */
  static async open(options: RestoreOptions): Promise<Restore> {
    readManifest(options.folder);
    const unlock = lockFolder(options.folder);
    try {
      return new Restore(options, await Database.open(options.dsn, 'restore', { connections: 1 }), unlock);
    } catch (error) {
      unlock();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#database.close();
    this.#unlock();
  }

  /**
   * Throws PIW_BACKUP_DAMAGED, PIW_NOT_EMPTY, PIW_FILES_MISSING unless `dropsMissing`, and the errors of checkTarget().
   */
  async plan(): Promise<RestorePlan> {
    const { folder, outputPath, keepsFiles } = this.#options;
    const manifest = readManifest(folder);
    if (manifest.schema_version > schemaVersion())
      throw newerError(manifest.schema_version, schemaVersion(), `the backup in ${folder}`);
    const target = await checkTarget(this.#database, this.#options);
    if (keepsFiles) refuseMissing(outputPath);
    else refuseFiles(outputPath);
    await this.#checkState(manifest);
    return { manifest, target, ...(await this.#checkFiles(manifest)) };
  }

  /**
   * Returns the unlisted wheels, with what the restored database has against them. If any could be imported, builds are
   * paused, because they could produce other wheels of the same names.
   */
  async carryOut(plan: RestorePlan): Promise<readonly UnlistedWheel[]> {
    const { manifest, target, dropped } = plan;
    await this.#copyFiles(plan);
    await loadDump(
      this.#database,
      {
        schemaVersion: manifest.schema_version,
        tables: manifest.tables,
        sequences: manifest.sequences,
        logMonths: manifest.log_months,
        open: (name) => this.#openTable(manifest, name),
      },
      {
        user: target.user,
        lostFiles: dropped.map((name) => name.slice(name.indexOf('/') + 1)),
        keepsPages: this.#options.keepsFiles,
      },
    );
    const unlisted = await this.#judgeUnlisted(plan.unlisted);
    if (unlisted.some(({ obstacle }) => obstacle === null))
      await setPaused(this.#database, 'slave-driver', true);
    return unlisted;
  }

  /** A name stands for the same contents for ever, even if the wheel was removed. */
  async #judgeUnlisted(unlisted: readonly UnlistedWheel[]): Promise<readonly UnlistedWheel[]> {
    const nameOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);
    const digests = await publishedDigests(
      this.#database,
      unlisted.map(({ path }) => nameOf(path)),
    );
    return await Promise.all(
      unlisted.map(async (wheel) => {
        const digest = digests.get(nameOf(wheel.path));
        if (wheel.obstacle !== null || digest === undefined) return wheel;
        const isSame = digest === (await hashFile(wheel.path)).sha256;
        return {
          ...wheel,
          obstacle: isSame
            ? 'it had been removed before the backup'
            : 'its name was published before, with different contents',
        };
      }),
    );
  }

  /** Returns the copy of a configuration file, by its path in the manifest. */
  readConfiguration({ state }: Manifest, path: string): string {
    return readFileSync(join(this.#options.folder, state, CONFIGURATION_FOLDER, path), 'utf8');
  }

  async #checkState({ state, tables, files }: Manifest): Promise<void> {
    const { folder, signal } = this.#options;
    const parts = tables.map(({ name, sha256 }) => ({ name: tableFile(name), sha256 }));
    for (const { name, sha256 } of [...parts, { name: FILE_LIST, sha256: files.sha256 }]) {
      signal.throwIfAborted();
      if (!(await isIntact(join(folder, state, name), { name, sha256, size: undefined })))
        throw damaged(folder, join(state, name));
    }
  }

  /** Reads all published files, in the backup or under the output path. */
  async #checkFiles(
    manifest: Manifest,
  ): Promise<Pick<RestorePlan, 'toCopy' | 'bytesToCopy' | 'inPlace' | 'dropped' | 'unlisted'>> {
    const { folder, outputPath, keepsFiles, dropsMissing, onProgress, signal } = this.#options;
    const counts = { toCopy: 0, bytesToCopy: 0, inPlace: 0 };
    const dropped: string[] = [];
    const unlisted: string[] = [];
    const names = new Set<string>();
    let done = 0;
    const packages = listedPackages(join(folder, manifest.state, FILE_LIST));
    await forEachConcurrently(packages, WORKERS, async (listed) => {
      checkPaths(join(folder, manifest.state), listed);
      names.add(listed.name);
      for (const file of listed.files) {
        signal.throwIfAborted();
        const place = await this.#find(manifest, file);
        if (place === 'in place') counts.inPlace += 1;
        else if (place === 'lost') dropped.push(`${file.package}/${file.filename}`);
        else {
          counts.toCopy += 1;
          counts.bytesToCopy += file.filesize;
        }
        done += file.filesize;
        onProgress?.('checked', done, manifest.files.bytes);
      }
      if (keepsFiles) unlisted.push(...unlistedWheels(outputPath, listed));
    });
    if (keepsFiles)
      for (const name of undefinedIfMissing(() => readdirSync(join(outputPath, FILES_FOLDER))) ?? [])
        if (!names.has(name)) unlisted.push(...unlistedWheels(outputPath, { name, files: [] }));
    const recorded = new Set([...manifest.files.removed, ...manifest.files.lost]);
    const unexpected = dropped.filter((name) => !recorded.has(name));
    if (unexpected.length > 0 && !dropsMissing)
      throw missingError(
        unexpected,
        manifest.files.copied ? folder : undefined,
        keepsFiles ? outputPath : undefined,
      );
    return { ...counts, dropped, unlisted: await describeUnlisted(unlisted.sort()) };
  }

  /** Returns where a published file and its metadata are: the least favourable of the two. */
  async #find(manifest: Manifest, file: ListedFile): Promise<Place> {
    const places = new Set<Place>();
    for (const part of publishedPair(file)) places.add(await this.#findPart(manifest, file, part));
    return (['lost', 'in backup'] as const).find((place) => places.has(place)) ?? 'in place';
  }

  async #findPart({ files: { copied } }: Manifest, file: ListedFile, part: PublishedFile): Promise<Place> {
    const { folder, outputPath, keepsFiles } = this.#options;
    const existing = join(outputPath, FILES_FOLDER, file.package, part.name);
    if (keepsFiles && (await isIntact(existing, part))) return 'in place';
    // A wheel of other contents under its name is not replaced: somebody may need it.
    if (keepsFiles && part.name === file.filename && existsSync(existing)) return 'lost';
    const backup = join(folder, FILES_FOLDER, file.package, part.name);
    return copied && (await isIntact(backup, part)) ? 'in backup' : 'lost';
  }

  async #copyFiles({ manifest, dropped, bytesToCopy }: RestorePlan): Promise<void> {
    const { folder, outputPath, onProgress, signal } = this.#options;
    const skipped = new Set(dropped);
    const owner = ownerOf(outputPath);
    await createFolder(join(outputPath, FILES_FOLDER), owner);
    let done = 0;
    const packages = listedPackages(join(folder, manifest.state, FILE_LIST));
    await forEachConcurrently(packages, WORKERS, async ({ name, files }) => {
      const target = join(outputPath, FILES_FOLDER, name);
      let isChanged = false;
      for (const file of files) {
        signal.throwIfAborted();
        if (skipped.has(`${name}/${file.filename}`)) continue;
        await createFolder(target, owner);
        for (const part of publishedPair(file)) {
          const copy = join(target, part.name);
          // The plan has compared a wheel that is there.
          if (part.name === file.filename ? existsSync(copy) : await isIntact(copy, part)) continue;
          const source = join(folder, FILES_FOLDER, name, part.name);
          if (!(await copyVerified(source, copy, part, { mode: 0o644, owner })))
            throw damaged(folder, join(FILES_FOLDER, name, part.name));
          isChanged = true;
          done += part.size ?? 0;
          onProgress?.('copied', done, bytesToCopy);
        }
      }
      if (isChanged) await withDiskErrors(target, () => syncFolder(target));
    });
    await withDiskErrors(outputPath, () => syncFolder(join(outputPath, FILES_FOLDER)));
  }

  #openTable({ state }: Manifest, name: string): Readable {
    const { folder, signal } = this.#options;
    return addAbortSignal(signal, openCompressed(join(folder, state, tableFile(name))));
  }
}

/** Locks the folder, unless it can't be written: then no backup can change it either. Returns what unlocks it. */
function lockFolder(folder: string): () => void {
  try {
    return acquireLock(join(folder, LOCK_FILE), {
      folder: `the backup folder ${folder}`,
      holder: 'a backup or another restore',
    });
  } catch (error) {
    if (['EROFS', 'EACCES', 'EPERM', 'ENOSPC'].includes(codeOf(error))) return () => undefined;
    throw error;
  }
}

function refuseFiles(outputPath: string): void {
  const names = undefinedIfMissing(() => readdirSync(outputPath)) ?? [];
  const name = names.find((each) => each !== 'lost+found');
  if (name !== undefined)
    throw new PiwError(
      'PIW_NOT_EMPTY',
      `the output path ${outputPath} is not empty: it contains ${name}; --keep-files keeps the files that are there`,
    );
}

function refuseMissing(outputPath: string): void {
  if (!existsSync(outputPath))
    throw new PiwError('PIW_USAGE', `there is no output path ${outputPath} whose files could be kept`);
}

function missingError(
  missing: readonly string[],
  folder: string | undefined,
  outputPath: string | undefined,
): PiwError {
  const places = [folder, outputPath].filter((place) => place !== undefined);
  const where =
    places.length === 0
      ? 'The backup was made with --no-files, and without --keep-files'
      : `Missing from ${places.join(' and ')}, or damaged there`;
  return new PiwError(
    'PIW_FILES_MISSING',
    `${formatQuantity(missing.length, 'file')} can't be restored, for example ${missing[0] ?? ''}. ${where}.`,
  );
}

/** Returns the paths of the wheels in a package's folder that the backup does not list. */
function unlistedWheels(outputPath: string, { name, files }: ListedPackage): readonly string[] {
  const folder = join(outputPath, FILES_FOLDER, name);
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return [];
  const listed = new Set(files.map(({ filename }) => filename));
  return readdirSync(folder)
    .filter((filename) => filename.endsWith('.whl') && !filename.startsWith('.') && !listed.has(filename))
    .map((filename) => join(folder, filename));
}

async function describeUnlisted(paths: readonly string[]): Promise<readonly UnlistedWheel[]> {
  const wheels: UnlistedWheel[] = [];
  for (const path of paths) {
    const name = dirname(path).slice(dirname(path).lastIndexOf('/') + 1);
    try {
      const { package_tag, package_version_tag } = await describeWheel(path);
      const isOwn = normalise(package_tag) === name;
      const obstacle = isOwn ? null : `it is in the folder of ${name}`;
      wheels.push({ path, package: name, version: package_version_tag, obstacle });
    } catch (error) {
      if (!hasCode(error, 'PIW_BAD_WHEEL')) throw error;
      wheels.push({ path, package: name, version: undefined, obstacle: error.message });
    }
  }
  return wheels;
}

/** Returns the owner for restored files, if this process may choose one: that of the output path. */
function ownerOf(outputPath: string): Stats | undefined {
  if (process.getuid?.() !== 0) return undefined;
  let path = outputPath;
  while (!existsSync(path)) path = dirname(path);
  return statSync(path);
}

async function createFolder(path: string, owner: Stats | undefined): Promise<void> {
  if (existsSync(path)) return;
  await withDiskErrors(path, async () => {
    makeFolders(dirname(path));
    await mkdir(path, { recursive: true });
    if (owner) await chown(path, owner.uid, owner.gid);
  });
}
