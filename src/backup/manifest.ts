import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, readFileSync, renameSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable, pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { listedFileOf, type DumpedTable, type ListedFile, type SequenceValue } from '../database/dump.js';
import { PiwError, errorMessage } from '../errors.js';
import { codeOf, syncFolder, withDiskErrors } from '../files/disk.js';

/**
 * A backup folder:
 *
 *   piw-backup.json     the manifest: what the backup consists of. It is written last, and replaced atomically, so a
 *                       backup is complete exactly if the manifest names it
 *   state-TIME-RANDOM/  the database at one moment: a file for each table, and the list of published files; and copies
 *                       of the configuration files
 *   simple/             the published files, as under the output path
 *   piw-backup.lock     while a backup or a restore is running
 *
 * The next backup into the folder writes a state of its own, adds the published files that are not there yet, replaces
 * the manifest, and then removes the previous state.
 */
const MANIFEST_FILE = 'piw-backup.json';
export const LOCK_FILE = 'piw-backup.lock';
export const FILES_FOLDER = 'simple';
export const CONFIGURATION_FOLDER = 'configuration';
/** The list of published files, in the state's folder. */
export const FILE_LIST = 'published-files.gz';
/** Matches every name that a backup folder may contain. */
export const OWN_NAMES = /^(?:piw-backup\.(?:json(?:\.new)?|lock(?:\.\d+)?)|state-.*|simple|lost\+found)$/;

/** The format of the folder; a later version of piw may write another one. */
const FORMAT = 1;

export interface Manifest {
  readonly format: typeof FORMAT;
  /** The version of piw that wrote it. */
  readonly piw: string;
  readonly schema_version: number;
  /** The moment of the database's state, ISO 8601, UTC. */
  readonly taken: string;
  /** The installation that the backup is of. */
  readonly installation: string | null;
  /** The folder of the state. */
  readonly state: string;
  readonly tables: readonly (DumpedTable & { readonly rows: number; readonly sha256: string })[];
  readonly sequences: readonly SequenceValue[];
  readonly log_months: readonly string[];
  readonly files: {
    /** The SHA-256 of the list; how many files it lists, and their bytes, without their metadata. */
    readonly sha256: string;
    readonly count: number;
    readonly bytes: number;
    /** Whether the files are in the backup, too. */
    readonly copied: boolean;
    /** Listed files that are not in the backup, because the farm removed them meanwhile, or had lost them before. */
    readonly removed: readonly string[];
    readonly lost: readonly string[];
  };
  /** Copies of configuration files: their absolute paths. */
  readonly configuration: readonly string[];
}

/** Returns the name of a table's file in the state's folder. */
export const tableFile = (name: string): string => `${name}.copy.gz`;

/** Returns the name of a new state's folder. */
export function newStateFolder(): string {
  const time = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
  return `state-${time}-${randomBytes(3).toString('hex')}`;
}

/** Replaces the manifest, which makes the backup complete. Throws the errors of diskError(). */
export async function writeManifest(folder: string, content: Omit<Manifest, 'format'>): Promise<void> {
  const manifest = { format: FORMAT, ...content } satisfies Manifest;
  const path = join(folder, MANIFEST_FILE);
  const temporary = `${path}.new`;
  await withDiskErrors(folder, async () => {
    rmSync(temporary, { force: true });
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(`${JSON.stringify({ ...manifest, sha256: digestOf(manifest) }, null, 1)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    renameSync(temporary, path);
    await syncFolder(folder);
  });
}

/** Returns the manifest of a complete backup. Throws PIW_NO_BACKUP, PIW_BACKUP_DAMAGED, or PIW_DATA_VERSION. */
export function readManifest(folder: string): Manifest {
  let text: string;
  try {
    text = readFileSync(join(folder, MANIFEST_FILE), 'utf8');
  } catch (error) {
    const reason = codeOf(error) === 'ENOENT' ? '' : `: ${errorMessage(error)}`;
    throw new PiwError('PIW_NO_BACKUP', `${folder} contains no complete backup${reason}`);
  }
  let parsed: { readonly format?: unknown; readonly sha256?: unknown };
  try {
    parsed = JSON.parse(text) as typeof parsed;
  } catch {
    throw damaged(folder, MANIFEST_FILE);
  }
  const { sha256, ...manifest } = parsed;
  if (sha256 !== digestOf(manifest)) throw damaged(folder, MANIFEST_FILE);
  if (manifest.format !== FORMAT)
    throw new PiwError(
      'PIW_DATA_VERSION',
      `the backup in ${folder} has format ${String(manifest.format)}; this version of piw uses format ${FORMAT}`,
    );
  return manifest as Manifest;
}

const digestOf = (manifest: object): string =>
  createHash('sha256').update(JSON.stringify(manifest)).digest('hex');

export const damaged = (folder: string, name: string): PiwError =>
  new PiwError('PIW_BACKUP_DAMAGED', `${join(folder, name)} is missing or damaged`);

/** The published files of a package. */
export interface ListedPackage {
  readonly name: string;
  readonly files: readonly ListedFile[];
}

/** Opens a compressed file of a backup. Reading it throws PIW_BACKUP_DAMAGED if the file can't be read or decompressed. */
export const openCompressed = (path: string): Readable =>
  Readable.from(decompress(path), { objectMode: false });

async function* decompress(path: string): AsyncGenerator<Buffer> {
  try {
    // An error of the file destroys both streams, so the loop throws it.
    for await (const bytes of pipeline(createReadStream(path), createGunzip(), () => undefined))
      yield bytes as Buffer;
  } catch (error) {
    throw new PiwError('PIW_BACKUP_DAMAGED', `${path} can't be read`, { cause: error });
  }
}

async function* linesOf(path: string): AsyncGenerator<string> {
  let rest = '';
  for await (const text of openCompressed(path).setEncoding('utf8')) {
    const lines = (rest + String(text)).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
  if (rest !== '') yield rest;
}

/**
 * Yields the packages in a list of published files, by name, each with its files. Throws PIW_BACKUP_DAMAGED if the list
 * can't be read.
 */
export async function* listedPackages(list: string): AsyncGenerator<ListedPackage> {
  let files: ListedFile[] = [];
  for await (const line of linesOf(list)) {
    const file = listedFileOf(line);
    const name = files[0]?.package;
    if (name !== undefined && name !== file.package) {
      yield { name, files };
      files = [];
    }
    files.push(file);
  }
  if (files[0]) yield { name: files[0].package, files };
}

/** Returns the files of a published wheel: itself and its metadata. */
export function publishedPair(file: ListedFile): readonly PublishedFile[] {
  const wheel = { name: file.filename, size: file.filesize, sha256: file.sha256 };
  // Wheels of early versions have no metadata.
  return file.metadata_sha256 === ''
    ? [wheel]
    : [wheel, { name: `${file.filename}.metadata`, size: undefined, sha256: file.metadata_sha256 }];
}

export interface PublishedFile {
  readonly name: string;
  /** Bytes; undefined if unknown. */
  readonly size: number | undefined;
  readonly sha256: string;
}

/** Throws PIW_BACKUP_DAMAGED unless the names can be those of published files: they become paths. */
export function checkPaths(folder: string, { name, files }: ListedPackage): void {
  const isSafe =
    /^[a-z0-9][a-z0-9-]*$/.test(name) &&
    files.every(
      ({ package: owner, filename }) => owner === name && /^[A-Za-z0-9][^/\\\0]*\.whl$/.test(filename),
    );
  if (!isSafe) throw damaged(folder, FILE_LIST);
}
