import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readdirSync, realpathSync, rmSync } from 'node:fs';
import { copyFile, open, rm } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { forEachConcurrently } from '../concurrency/for-each-concurrently.js';
import {
  FILE_LIST_QUERY,
  copyOutStatement,
  describeSnapshot,
  listLogMonths,
  listSequences,
  listTables,
  prepareForCopy,
  stillListed,
  type ListedFile,
} from '../database/dump.js';
import { installedVersion, newerError, schemaVersion } from '../database/migrations.js';
import { Database, type Snapshot } from '../database/pool.js';
import { PiwError } from '../errors.js';
import { makeFolders, syncFolder, withDiskErrors } from '../files/disk.js';
import { acquireLock } from '../servers/folder-lock.js';
import { VERSION } from '../version.js';
import { copyVerified, isCopied } from './copy.js';
import {
  CONFIGURATION_FOLDER,
  FILES_FOLDER,
  FILE_LIST,
  LOCK_FILE,
  OWN_NAMES,
  checkPaths,
  listedPackages,
  newStateFolder,
  publishedPair,
  tableFile,
  writeManifest,
  type Manifest,
} from './manifest.js';

interface BackupOptions {
  readonly dsn: string;
  readonly outputPath: string;
  readonly folder: string;
  /** Configuration files to copy. */
  readonly configuration: readonly string[];
  /** Whether to copy the published files; to make hard links of them; and to read again those that are there already. */
  readonly copiesFiles: boolean;
  readonly links: boolean;
  readonly rereads: boolean;
  /** Called with the bytes of published files that are in the backup, and those of all. */
  readonly onProgress?: (done: number, of: number) => void;
  readonly signal: AbortSignal;
}

/** A complete backup. */
export interface BackupSummary {
  readonly taken: string;
  readonly rows: number;
  /** Published files that the database lists, and their bytes; and how many of them are new in the backup. */
  readonly files: number;
  readonly bytes: number;
  readonly new_files: number;
  /** Files that the farm removed while the backup ran. */
  readonly removed: readonly string[];
  /** Files that the database lists, and that are not under the output path, or have other contents there. */
  readonly missing: readonly string[];
  readonly configuration: readonly string[];
}

/** Packages whose files are copied at once: most of the time goes into waiting until the disk has them. */
const COPIERS = 4;
/** The dump mostly waits for PostgreSQL; a higher level takes much more time, and little space less. */
const GZIP_LEVEL = 4;

/**
 * Writes a backup of a farm, which may be running, into a folder; see manifest.ts. The database comes first, as it is at
 * one moment, then the published files that it lists: they never change, and are only ever removed. Throws PIW_NOT_EMPTY,
 * PIW_IN_USE, PIW_DATABASE_VERSION, PIW_DATABASE_NEWER, and the errors of the database and of disks; then the folder
 * contains the previous backup, as before.
 */
export async function backUp(options: BackupOptions): Promise<BackupSummary> {
  const { folder, dsn } = options;
  const unlock = prepareFolder(folder, options.outputPath);
  let database: Database | undefined;
  const state = newStateFolder();
  try {
    database = await Database.open(dsn, 'backup', { connections: 1 });
    const summary = await new FarmBackup(database, options, state).run();
    removeOtherStates(folder, state);
    return summary;
  } catch (error) {
    await rm(join(folder, state), { recursive: true, force: true });
    throw error;
  } finally {
    await database?.close();
    unlock();
  }
}

/** Creates and locks the folder, and returns the function that unlocks it. */
function prepareFolder(folder: string, outputPath: string): () => void {
  const [own, output] = [realPath(folder), realPath(outputPath)];
  if (isWithin(own, output) || isWithin(output, own))
    throw new PiwError(
      'PIW_USAGE',
      `${folder}: the backup needs a folder outside the output path ${outputPath}`,
    );
  withDiskErrors(folder, () => {
    makeFolders(folder, 0o700);
  });
  const foreign = withDiskErrors(folder, () => readdirSync(folder)).find((name) => !OWN_NAMES.test(name));
  if (foreign !== undefined)
    throw new PiwError(
      'PIW_NOT_EMPTY',
      `${folder} contains other files than a backup, for example ${foreign}`,
    );
  return withDiskErrors(folder, () =>
    acquireLock(join(folder, LOCK_FILE), {
      folder: `the backup folder ${folder}`,
      holder: 'another backup or restore',
    }),
  );
}

/** Returns a path without symbolic links, whether or not it exists. */
const realPath = (path: string): string =>
  existsSync(path) ? realpathSync(path) : join(realPath(dirname(path)), basename(path));

const isWithin = (inner: string, outer: string): boolean => !/^\.\.(?:\/|$)/.test(relative(outer, inner));

/** Removes the states of earlier backups, and of backups that were killed. */
function removeOtherStates(folder: string, state: string): void {
  for (const name of readdirSync(folder))
    if (name.startsWith('state-') && name !== state) rmSync(join(folder, name), { recursive: true });
}

/** One backup into a folder that is locked for it. */
class FarmBackup {
  readonly #database: Database;
  readonly #options: BackupOptions;
  readonly #state: string;
  /** The state's folder. */
  readonly #stateFolder: string;
  /** Files that could not be copied; of `#lost` ones the backup has no earlier copy either. */
  readonly #missing = new Set<string>();
  readonly #lost = new Set<string>();
  #newFiles = 0;
  #doneBytes = 0;

  constructor(database: Database, options: BackupOptions, state: string) {
    this.#database = database;
    this.#options = options;
    this.#state = state;
    this.#stateFolder = join(options.folder, state);
  }

  async run(): Promise<BackupSummary> {
    const { folder, copiesFiles } = this.#options;
    const version = await this.#schemaVersion();
    withDiskErrors(folder, () => {
      mkdirSync(this.#stateFolder, { mode: 0o700 });
    });
    const dump = await this.#database.snapshot((db) => this.#dump(db, version));
    const configuration = await this.#copyConfiguration();
    const { files } = dump;
    if (copiesFiles) await this.#copyFiles(files.bytes);
    const listed = await this.#stillListed();
    await withDiskErrors(folder, () => syncFolder(this.#stateFolder));
    const manifest = {
      ...dump,
      piw: VERSION,
      state: this.#state,
      files: {
        ...files,
        copied: copiesFiles,
        removed: [...this.#lost].filter((name) => !listed.has(name)),
        lost: [...this.#lost].filter((name) => listed.has(name)),
      },
      configuration,
    };
    this.#options.signal.throwIfAborted();
    await writeManifest(folder, manifest);
    return {
      taken: dump.taken,
      rows: dump.tables.reduce((sum, { rows }) => sum + rows, 0),
      files: files.count,
      bytes: files.bytes,
      new_files: this.#newFiles,
      removed: manifest.files.removed,
      missing: [...this.#missing].filter((name) => listed.has(name)),
      configuration,
    };
  }

  /** Returns the version of the tables, which may be older than this program's: before an upgrade. */
  async #schemaVersion(): Promise<number> {
    const [installed, required] = [await installedVersion(this.#database), schemaVersion()];
    if (installed > required) throw newerError(installed, required);
    if (installed === 0) throw new PiwError('PIW_DATABASE_VERSION', 'the database has no tables yet');
    return installed;
  }

  async #dump(
    db: Snapshot,
    version: number,
  ): Promise<
    Pick<Manifest, 'schema_version' | 'taken' | 'installation' | 'tables' | 'sequences' | 'log_months'> & {
      files: Pick<Manifest['files'], 'sha256' | 'count' | 'bytes'>;
    }
  > {
    await prepareForCopy(db);
    const snapshot = await describeSnapshot(db, version);
    const tables: Manifest['tables'][number][] = [];
    for (const table of await listTables(db)) {
      const { rows, sha256 } = await this.#copyOut(db, copyOutStatement(table), tableFile(table.name));
      tables.push({ ...table, rows, sha256 });
    }
    const list = await this.#copyOut(db, `copy (${FILE_LIST_QUERY}) to stdout`, FILE_LIST);
    const [total] = await db.query<{ bytes: number }>(
      'select coalesce(sum(filesize), 0)::bigint as bytes from files',
    );
    return {
      schema_version: version,
      ...snapshot,
      tables,
      sequences: await listSequences(db),
      log_months: await listLogMonths(db),
      files: { sha256: list.sha256, count: list.rows, bytes: total?.bytes ?? 0 },
    };
  }

  /** Writes the rows of a COPY statement to a file of the state. */
  async #copyOut(db: Snapshot, statement: string, name: string): Promise<{ rows: number; sha256: string }> {
    let sha256 = '';
    const rows = await db.copyTo(statement, async (source) => {
      sha256 = await this.#writeCompressed(source, name);
    });
    return { rows, sha256 };
  }

  async #writeCompressed(rows: Readable, name: string): Promise<string> {
    const path = join(this.#stateFolder, name);
    const { signal } = this.#options;
    const file = await withDiskErrors(path, () => open(path, 'wx', 0o600));
    const hash = createHash('sha256');
    try {
      await pipeline(
        rows,
        createGzip({ level: GZIP_LEVEL }),
        async (source: AsyncIterable<Buffer>) => {
          for await (const bytes of source) {
            hash.update(bytes);
            await withDiskErrors(path, () => file.writeFile(bytes));
          }
        },
        { signal },
      );
      await withDiskErrors(path, () => file.sync());
      return hash.digest('hex');
    } finally {
      await file.close();
    }
  }

  async #copyConfiguration(): Promise<readonly string[]> {
    const { configuration } = this.#options;
    for (const path of configuration) {
      const copy = join(this.#stateFolder, CONFIGURATION_FOLDER, path);
      await withDiskErrors(copy, async () => {
        makeFolders(dirname(copy), 0o700);
        await copyFile(path, copy);
        chmodSync(copy, 0o600);
      });
    }
    return configuration;
  }

  async #copyFiles(totalBytes: number): Promise<void> {
    const { folder, onProgress, signal } = this.#options;
    withDiskErrors(folder, () => {
      makeFolders(join(folder, FILES_FOLDER), 0o700);
    });
    const packages = listedPackages(join(this.#stateFolder, FILE_LIST));
    await forEachConcurrently(packages, COPIERS, async (listed) => {
      checkPaths(this.#stateFolder, listed);
      const target = join(folder, FILES_FOLDER, listed.name);
      let isChanged = false;
      for (const file of listed.files) {
        signal.throwIfAborted();
        isChanged = (await this.#copyFile(file, target)) || isChanged;
        this.#doneBytes += file.filesize;
        onProgress?.(this.#doneBytes, totalBytes);
      }
      if (isChanged) await withDiskErrors(target, () => syncFolder(target));
    });
    await withDiskErrors(folder, () => syncFolder(join(folder, FILES_FOLDER)));
  }

  /** Copies a file and its metadata, unless they are there; returns whether it did. */
  async #copyFile(file: ListedFile, target: string): Promise<boolean> {
    const { outputPath, links, rereads } = this.#options;
    const source = join(outputPath, FILES_FOLDER, file.package);
    const key = `${file.package}/${file.filename}`;
    let isNew = false;
    for (const part of publishedPair(file)) {
      const [from, to] = [join(source, part.name), join(target, part.name)];
      const isThere = await isCopied(from, to, part, rereads);
      if (isThere && existsSync(from)) continue;
      withDiskErrors(target, () => {
        makeFolders(target, 0o700);
      });
      if (!isThere && (await copyVerified(from, to, part, { mode: 0o600, links }))) {
        isNew = true;
        continue;
      }
      this.#missing.add(key);
      if (!isThere) this.#lost.add(key);
    }
    if (isNew) this.#newFiles += 1;
    return isNew;
  }

  /** Returns which of the missing files the database lists even now: the others were removed meanwhile. */
  async #stillListed(): Promise<ReadonlySet<string>> {
    const names = [...this.#missing];
    const listed = await stillListed(this.#database, names.map(filenameOf));
    return new Set(names.filter((name) => listed.has(filenameOf(name))));
  }
}

/** Returns the filename in `PACKAGE/FILENAME`. */
const filenameOf = (key: string): string => key.slice(key.indexOf('/') + 1);
