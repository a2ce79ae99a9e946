import { createHash } from 'node:crypto';
import { open as openFile } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Readable } from 'node:stream';
import yauzl, { type Entry, type ZipFile } from 'yauzl';
import { PiwError, errorMessage } from '../errors.js';
import { codeOf, diskError } from '../files/disk.js';
import type { FileState } from '../model/file-state.js';
import type { CoreMetadata } from '../model/fields.js';
import { coreMetadataOf, plainText, type Headers } from './core-metadata.js';
import { isPackageName, normalise } from './names.js';
import { parseWheelName, type WheelName } from './tags.js';
import { isSpecifier, sameVersion } from './versions.js';

/** Bounds of what is believed to be a wheel. */
const LIMITS = {
  entries: 100_000,
  /** Bytes of the name of an entry, which is no longer than a path can be, and of all of them. */
  name: 4096,
  names: 32 * 1024 ** 2,
  /** Bytes of METADATA, and of WHEEL. */
  metadata: 1024 * 1024,
  /** Characters. */
  version: 200,
  /** In the filename and in WHEEL, counted one by one. */
  tags: 10_000,
  /** Bytes. */
  unpacked: 16 * 1024 ** 3,
  /** From so many bytes unpacked on, and so many times its own size, it is no package any more but a bomb. */
  bomb: { bytes: 256 * 1024 ** 2, ratio: 100 },
};
/** How an entry may be stored: as it is, or deflated. All installers know these two. */
const COMPRESSION_METHODS: readonly number[] = [0, 8];

export interface Wheel extends WheelName {
  /** METADATA, byte for byte. */
  readonly metadata: Buffer;
  readonly metadataSha256: string;
  /** As METADATA spells them. */
  readonly name: string;
  /** Requires-Python; null where METADATA has none, or one that installers can't read. */
  readonly requiresPython: string | null;
  readonly coreMetadata: CoreMetadata;
}

/**
 * Opens a wheel (a path, or its bytes) that nobody has vouched for, and gives what its METADATA says.
 * Raises PIW_BAD_WHEEL, with the reason, unless: it is a zip archive in which every name stays below
 * where it is unpacked and stands once, nothing is a link, and which is not made to fill a disk; it
 * has one dist-info folder, of the name and version in the filename; its METADATA agrees; and the
 * tags in its WHEEL are those of the filename. Throws PIW_DISK_ERROR where it is the disk that can't be read.
 */
export async function readWheel(
  archive: string | Uint8Array,
  { filename = typeof archive === 'string' ? basename(archive) : '' }: { filename?: string } = {},
): Promise<Wheel> {
  const wheelName = parseWheelName(filename);
  const metadataFiles = await readEntries(archive, filename);
  const metadata = metadataFiles.get('METADATA');
  const wheel = metadataFiles.get('WHEEL');
  if (!metadata || !wheel) throw badWheel(filename, 'it has no METADATA or no WHEEL');
  const headers = parseHeaders(decodeUtf8(metadata, filename));
  const metadataVersion = headers.get('metadata-version')?.[0] ?? '1.0';
  if (!/^[12]\.\d{1,3}$/.test(metadataVersion))
    throw badWheel(
      filename,
      `its METADATA is of version ${JSON.stringify(metadataVersion.slice(0, 20))}; installers read 1.0 to 2.x`,
    );
  const declared = { name: headers.get('name')?.[0] ?? '', version: headers.get('version')?.[0] ?? '' };
  // What setuptools calls a project whose configuration it could not read.
  if (declared.name === 'UNKNOWN') throw badWheel(filename, 'its METADATA names no project: it says UNKNOWN');
  if (!isPackageName(declared.name) || normalise(declared.name) !== normalise(wheelName.distribution)) {
    throw badWheel(filename, `its METADATA is of ${JSON.stringify(declared.name.slice(0, 100))}`);
  }
  if (
    declared.version.length > LIMITS.version ||
    !sameVersion(declared.version, unescapeVersion(wheelName.version))
  ) {
    throw badWheel(filename, `its METADATA says version ${JSON.stringify(declared.version.slice(0, 100))}`);
  }
  const requiresPython = plainText(headers.get('requires-python')?.[0], 1024);
  checkTags(wheelName, parseHeaders(wheel.toString('utf8')).get('tag') ?? []);
  return {
    ...wheelName,
    metadata,
    metadataSha256: createHash('sha256').update(metadata).digest('hex'),
    name: declared.name,
    requiresPython: requiresPython !== null && isSpecifier(requiresPython) ? requiresPython : null,
    coreMetadata: coreMetadataOf(headers),
  };
}

/**
 * The state of a wheel on this machine, to be announced to a master. Throws PIW_BAD_WHEEL, and PIW_DISK_ERROR where it
 * is the disk that can't be read.
 */
export async function describeWheel(path: string): Promise<FileState> {
  const { sha256, size } = await hashFile(path).catch((error: unknown) => {
    if (!PATH_ERRORS.has(codeOf(error))) throw diskError(path, error);
    throw new PiwError('PIW_BAD_WHEEL', `${path} can't be read: ${errorMessage(error)}`, { cause: error });
  });
  const wheel = await readWheel(path);
  return {
    filename: wheel.filename,
    filesize: size,
    filehash: sha256,
    package_tag: wheel.distribution,
    package_version_tag: wheel.version,
    py_version_tag: wheel.py,
    abi_tag: wheel.abi,
    platform_tag: wheel.platform,
    requires_python: wheel.requiresPython,
    dependencies: {},
    transferred: false,
  };
}

/** How opening or reading fails where the path is wrong, and not the disk. */
const PATH_ERRORS: ReadonlySet<string> = new Set(['ENOENT', 'EACCES', 'EPERM', 'EISDIR', 'ENOTDIR', 'ELOOP']);

/** SHA-256 (hex) and size (bytes) of a file of any size. */
export async function hashFile(path: string): Promise<{ readonly sha256: string; readonly size: number }> {
  const hash = createHash('sha256');
  // One buffer for all of it: what a stream throws away, the collector lets pile up to 100 MB.
  const buffer = Buffer.allocUnsafe(1024 * 1024);
  const file = await openFile(path);
  let size = 0;
  try {
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, size);
      if (bytesRead === 0) break;
      hash.update(buffer.subarray(0, bytesRead));
      size += bytesRead;
    }
  } finally {
    await file.close();
  }
  return { sha256: hash.digest('hex'), size };
}

/** METADATA and WHEEL of the one dist-info folder; every other entry is looked at by its name only. */
async function readEntries(
  archive: string | Uint8Array,
  filename: string,
): Promise<ReadonlyMap<string, Buffer>> {
  const zip = await openArchive(archive, filename);
  const metadataFiles = new Map<string, Buffer>();
  try {
    if (zip.entryCount > LIMITS.entries) throw badWheel(filename, `it has ${String(zip.entryCount)} entries`);
    let unpacked = 0;
    let packed = 0;
    let nameBytes = 0;
    const names = new Set<string>();
    let distInfo: string | undefined;
    for await (const entry of entries(zip)) {
      checkEntry(entry, filename);
      unpacked += entry.uncompressedSize;
      packed += entry.compressedSize;
      nameBytes += entry.fileNameLength;
      const bomb = unpacked > LIMITS.bomb.bytes && unpacked > zip.fileSize * LIMITS.bomb.ratio;
      if (bomb || unpacked > LIMITS.unpacked) throw badWheel(filename, 'unpacked it would be too large');
      if (entry.fileNameLength > LIMITS.name || nameBytes > LIMITS.names)
        throw badWheel(filename, 'the names of its entries are too long');
      if (packed > zip.fileSize) throw badWheel(filename, 'its entries lie upon each other');
      // Which of them an installer takes is its own affair.
      if (names.has(entry.fileName))
        throw badWheel(filename, `it has two entries ${JSON.stringify(entry.fileName.slice(0, 100))}`);
      names.add(entry.fileName);
      const match = /^([^/]+\.dist-info)\/(.+)$/.exec(entry.fileName);
      if (!match) continue;
      distInfo ??= match[1];
      if (distInfo !== match[1]) throw badWheel(filename, 'it has more than one dist-info folder');
      const inner = match[2] ?? '';
      if (inner !== 'METADATA' && inner !== 'WHEEL') continue;
      if (entry.uncompressedSize > LIMITS.metadata) throw badWheel(filename, `its ${inner} is too large`);
      metadataFiles.set(inner, await contents(zip, entry, filename));
    }
    checkDistInfo(distInfo, filename);
    return metadataFiles;
  } catch (error) {
    throw asWheelError(filename, error);
  } finally {
    zip.close();
  }
}

/** The extra field with the name in UTF-8, which some installers take and some don't. */
const UNICODE_PATH_FIELD = 0x7075;

function escapesFolder(name: string): boolean {
  const drive = /^[A-Za-z]:/.test(name);
  // eslint-disable-next-line no-control-regex
  const strange = /[\\\u0000-\u001f\u007f]/.test(name);
  return strange || drive || name.startsWith('/') || name.split('/').includes('..');
}

function checkEntry(entry: Entry, filename: string): void {
  const name = entry.fileName;
  // Without a flag for UTF-8 its bytes are read as characters of a PC of 1981, by each installer in its own way.
  if ([name, entry.fileNameRaw.toString('latin1')].some((spelled) => escapesFolder(spelled))) {
    throw badWheel(filename, `its entry ${JSON.stringify(name.slice(0, 100))} leads out of its folder`);
  }
  if (entry.extraFields.some(({ id }) => id === UNICODE_PATH_FIELD))
    throw badWheel(filename, `its entry ${JSON.stringify(name.slice(0, 100))} has another name as well`);
  // The upper half of the external attributes is the Unix mode where the archive was made on Unix.
  const mode = (entry.externalFileAttributes >>> 16) & 0o170000;
  if (![0, 0o100000, 0o040000, 0o120000].includes(mode))
    throw badWheel(filename, `its entry ${JSON.stringify(name.slice(0, 100))} is no file`);
  if (!COMPRESSION_METHODS.includes(entry.compressionMethod))
    throw badWheel(filename, `its entry ${JSON.stringify(name.slice(0, 100))} is packed in an unknown way`);
  if (mode === 0o120000)
    throw badWheel(filename, `its entry ${JSON.stringify(name.slice(0, 100))} is a link`);
  if (entry.isEncrypted()) throw badWheel(filename, 'it is encrypted');
}

function checkDistInfo(distInfo: string | undefined, filename: string): void {
  const name = parseWheelName(filename);
  const match = /^(.+)-([^-]+)\.dist-info$/.exec(distInfo ?? '');
  const [, distribution = '', version = ''] = match ?? [];
  const agrees =
    isPackageName(distribution) &&
    normalise(distribution) === normalise(name.distribution) &&
    sameVersion(unescapeVersion(version), unescapeVersion(name.version));
  if (!agrees) throw badWheel(filename, 'its dist-info folder is of another name or version');
}

function checkTags(name: WheelName, lines: readonly string[]): void {
  let remaining = LIMITS.tags;
  // A line of some hundred bytes can stand for more tags than there is memory.
  const expand = (...sets: readonly [py: string, abi: string, platform: string]): readonly string[] => {
    const [pys, abis, platforms] = sets.map((set) => set.split('.')) as [string[], string[], string[]];
    remaining -= pys.length * abis.length * platforms.length;
    if (remaining < 0) throw badWheel(name.filename, `it has more than ${String(LIMITS.tags)} tags`);
    return pys.flatMap((py) =>
      abis.flatMap((abi) => platforms.map((platform) => `${py}-${abi}-${platform}`)),
    );
  };
  const filenameTags = new Set(expand(name.py, name.abi, name.platform));
  const wheelTags = new Set(
    lines.flatMap((line) => {
      const [py = '', abi = '', platform = ''] = line.trim().split('-');
      return expand(py, abi, platform);
    }),
  );
  // Some tools write no Tag at all; what is written must agree.
  if (
    wheelTags.size > 0 &&
    (filenameTags.size !== wheelTags.size || [...filenameTags].some((tag) => !wheelTags.has(tag)))
  ) {
    throw badWheel(name.filename, `its WHEEL says ${[...wheelTags].slice(0, 3).join(', ').slice(0, 200)}`);
  }
}

/** In a filename each `-` of a version is written `_`; PEP 440 takes either. */
const unescapeVersion = (version: string): string => version.replaceAll('_', '-');

function openArchive(archive: string | Uint8Array, filename: string): Promise<ZipFile> {
  const options = { lazyEntries: true, autoClose: false, strictFileNames: true, validateEntrySizes: true };
  return new Promise((resolve, reject) => {
    const onOpen = (error: Error | null, zip: ZipFile) => {
      if (error) reject(asWheelError(filename, error));
      else resolve(zip);
    };
    if (typeof archive === 'string') yauzl.open(archive, options, onOpen);
    else {
      const bytes = Buffer.from(archive.buffer, archive.byteOffset, archive.length);
      yauzl.fromBuffer(bytes, options, onOpen);
    }
  });
}

async function* entries(zip: ZipFile): AsyncGenerator<Entry> {
  for (;;) {
    const entry = await new Promise<Entry | undefined>((resolve, reject) => {
      const settle = (what: () => void) => {
        zip.off('entry', onEntry);
        zip.off('end', onEnd);
        zip.off('error', onError);
        what();
      };
      const onEntry = (found: Entry) => {
        settle(() => {
          resolve(found);
        });
      };
      const onEnd = () => {
        settle(() => {
          resolve(undefined);
        });
      };
      const onError = (error: Error) => {
        settle(() => {
          reject(error);
        });
      };
      zip.once('entry', onEntry);
      zip.once('end', onEnd);
      zip.once('error', onError);
      zip.readEntry();
    });
    if (!entry) return;
    yield entry;
  }
}

async function contents(zip: ZipFile, entry: Entry, filename: string): Promise<Buffer> {
  const stream = await new Promise<Readable>((resolve, reject) => {
    zip.openReadStream(entry, (error, readable) => {
      if (error) reject(error);
      else resolve(readable);
    });
  });
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream) {
    size += (chunk as Buffer).length;
    if (size > LIMITS.metadata) throw badWheel(filename, `its ${entry.fileName} is too large`);
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}

/** METADATA is UTF-8 (core metadata specification). Throws PIW_BAD_WHEEL where it is not. */
function decodeUtf8(contents: Buffer, filename: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(contents);
  } catch {
    throw badWheel(filename, 'its METADATA is not UTF-8');
  }
}

/** The header fields of METADATA or WHEEL by lower-case name; what follows the first empty line is text. */
function parseHeaders(text: string): Headers {
  const headers = new Map<string, string[]>();
  let lastValues: string[] | undefined;
  for (const line of text.split(/\r?\n/)) {
    if (line === '') break;
    if (/^\s/.test(line) && lastValues) {
      lastValues[lastValues.length - 1] = `${lastValues.at(-1) ?? ''} ${line.trim()}`;
      continue;
    }
    const colon = line.indexOf(':');
    if (colon < 1) continue;
    const name = line.slice(0, colon).toLowerCase();
    lastValues = headers.get(name) ?? [];
    lastValues.push(line.slice(colon + 1).trim());
    headers.set(name, lastValues);
  }
  return headers;
}

/** PIW_BAD_WHEEL in yauzl's own words for a broken archive; trouble with the disk says nothing about the wheel. */
function asWheelError(filename: string, error: unknown): Error {
  const trouble = diskError(filename, error);
  return trouble instanceof PiwError ? trouble : badWheel(filename, errorMessage(error));
}

function badWheel(filename: string, why: string): PiwError {
  return new PiwError('PIW_BAD_WHEEL', `${filename}: ${why}`);
}
