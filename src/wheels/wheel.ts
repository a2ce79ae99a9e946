import { createHash } from 'node:crypto';
import { open as openFile, type FileHandle } from 'node:fs/promises';
import { basename } from 'node:path';
import { inflateRawSync } from 'node:zlib';
import yauzl, { type Entry, type ZipFile } from 'yauzl';
import { PiwError, errorMessage } from '../errors.js';
import { codeOf, diskError } from '../files/disk.js';
import type { FileState } from '../model/file-state.js';
import type { CoreMetadata } from '../model/fields.js';
import { coreMetadataOf, plainText, type Headers } from './core-metadata.js';
import { isPackageName, normalise } from './names.js';
import { parseWheelName, type WheelName } from './tags.js';
import { isSpecifier, sameVersion } from './versions.js';

/** Limits for a file that claims to be a wheel. */
const LIMITS = {
  entries: 100_000,
  /** Bytes of the name of one entry, which is at most as long as a path can be, and of all names together. */
  name: 4096,
  names: 32 * 1024 ** 2,
  /** Bytes of METADATA, and of WHEEL. */
  metadata: 1024 * 1024,
  /** Characters. */
  version: 200,
  /** Tags in the filename and in WHEEL, after expansion. */
  tags: 10_000,
  /** Bytes. */
  unpacked: 16 * 1024 ** 3,
  /** An archive that unpacks to more than this, in bytes and in multiples of its own size, is a zip bomb. */
  bomb: { bytes: 256 * 1024 ** 2, ratio: 100 },
};
/** How an entry may be stored: 0 (stored) or 8 (deflated). All installers know these two. */
const COMPRESSION_METHODS: readonly number[] = [0, 8];

interface Wheel extends WheelName {
  /** METADATA, byte for byte. */
  readonly metadata: Buffer;
  readonly metadataSha256: string;
  /** The project's name, as METADATA spells it. */
  readonly name: string;
  /** Requires-Python; null if METADATA has none, or one that installers can't parse. */
  readonly requiresPython: string | null;
  readonly coreMetadata: CoreMetadata;
}

/**
 * Reads an untrusted wheel (a path, or its bytes), and returns what its METADATA says. Throws PIW_BAD_WHEEL,
 * with the reason, unless it is a zip archive that is not made to fill a disk, without links, in which every
 * name is unique and stays below the folder that it is unpacked to; it has one dist-info folder, with the
 * name and version of the filename; its METADATA agrees; and the tags in its WHEEL are those of the filename.
 * Throws PIW_DISK_ERROR if it is the disk that can't be read.
 */
export async function readWheel(
  archive: string | Uint8Array,
  { filename = typeof archive === 'string' ? basename(archive) : '' }: { filename?: string } = {},
): Promise<Wheel> {
  const wheelName = parseWheelName(filename);
  const metadataFiles = await readEntries(archive, filename);
  const metadata = metadataFiles.get('METADATA');
  const wheel = metadataFiles.get('WHEEL');
  if (!metadata || !wheel) throw badWheel(filename, 'it has no METADATA or no WHEEL file');
  const headers = parseHeaders(decodeUtf8(metadata, filename));
  const metadataVersion = headers.get('metadata-version')?.[0] ?? '1.0';
  if (!/^[12]\.\d{1,3}$/.test(metadataVersion))
    throw badWheel(
      filename,
      `its METADATA has the unknown version ${JSON.stringify(metadataVersion.slice(0, 20))}; installers read 1.0 to 2.x`,
    );
  const declared = { name: headers.get('name')?.[0] ?? '', version: headers.get('version')?.[0] ?? '' };
  // The name that setuptools gives a project whose configuration it could not read.
  if (declared.name === 'UNKNOWN') throw badWheel(filename, 'its METADATA has no project name but UNKNOWN');
  if (!isPackageName(declared.name) || normalise(declared.name) !== normalise(wheelName.distribution)) {
    throw badWheel(filename, `its METADATA names the project ${JSON.stringify(declared.name.slice(0, 100))}`);
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
 * Returns the state of a wheel on this machine, to be announced to a master. Throws PIW_BAD_WHEEL, and
 * PIW_DISK_ERROR if it is the disk that can't be read.
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

/** Errors of opening or reading for which the path is to blame, and not the disk. */
const PATH_ERRORS: ReadonlySet<string> = new Set(['ENOENT', 'EACCES', 'EPERM', 'EISDIR', 'ENOTDIR', 'ELOOP']);

/** Returns the SHA-256 (hex) and size (bytes) of a file of any size. */
export async function hashFile(path: string): Promise<{ readonly sha256: string; readonly size: number }> {
  const file = await openFile(path);
  try {
    return await hashOpened(file);
  } finally {
    await file.close();
  }
}

/** Returns the digest and size of an open file. Throws what node:fs throws. */
export async function hashOpened(
  file: FileHandle,
): Promise<{ readonly sha256: string; readonly size: number }> {
  const hash = createHash('sha256');
  // One buffer for the whole file: the collector lets discarded stream buffers pile up to 100 MB.
  const buffer = Buffer.allocUnsafe(1024 * 1024);
  let size = 0;
  for (;;) {
    const { bytesRead } = await file.read(buffer, 0, buffer.length, size);
    if (bytesRead === 0) return { sha256: hash.digest('hex'), size };
    hash.update(buffer.subarray(0, bytesRead));
    size += bytesRead;
  }
}

/** Returns METADATA and WHEEL of the one dist-info folder; of every other entry only the name is checked. */
async function readEntries(
  archive: string | Uint8Array,
  filename: string,
): Promise<ReadonlyMap<string, Buffer>> {
  const zip = await openArchive(archive, filename);
  const metadataFiles = new Map<string, Buffer>();
  try {
    if (zip.entryCount > LIMITS.entries)
      throw badWheel(filename, `it has too many entries: ${zip.entryCount}`);
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
      if (bomb || unpacked > LIMITS.unpacked) throw badWheel(filename, 'it would be too large when unpacked');
      if (entry.fileNameLength > LIMITS.name || nameBytes > LIMITS.names)
        throw badWheel(filename, 'the names of its entries are too long');
      if (packed > zip.fileSize) throw badWheel(filename, 'its entries overlap');
      // Installers differ in which of the two they take.
      if (names.has(entry.fileName))
        throw badWheel(filename, `it has two entries named ${JSON.stringify(entry.fileName.slice(0, 100))}`);
      names.add(entry.fileName);
      const match = /^([^/]+\.dist-info)\/(.+)$/.exec(entry.fileName);
      if (!match) continue;
      distInfo ??= match[1];
      if (distInfo !== match[1]) throw badWheel(filename, 'it has more than one dist-info folder');
      const inner = match[2] ?? '';
      if (inner !== 'METADATA' && inner !== 'WHEEL') continue;
      if (Math.max(entry.uncompressedSize, entry.compressedSize) > LIMITS.metadata)
        throw badWheel(filename, `its ${inner} is too large`);
      metadataFiles.set(inner, await contents(archive, zip, entry));
    }
    checkDistInfo(distInfo, filename);
    return metadataFiles;
  } catch (error) {
    throw asWheelError(filename, error);
  } finally {
    zip.close();
  }
}

/** The extra field with a name in UTF-8, which only some installers use. */
const UNICODE_PATH_FIELD = 0x7075;

function escapesFolder(name: string): boolean {
  const drive = /^[A-Za-z]:/.test(name);
  // eslint-disable-next-line no-control-regex
  const strange = /[\\\u0000-\u001f\u007f]/.test(name);
  return strange || drive || name.startsWith('/') || name.split('/').includes('..');
}

function checkEntry(entry: Entry, filename: string): void {
  const name = entry.fileName;
  // Without the UTF-8 flag the bytes are read as CP437, the PC's character set of 1981, by each installer in
  // its own way.
  if ([name, entry.fileNameRaw.toString('latin1')].some((spelled) => escapesFolder(spelled))) {
    throw badWheel(
      filename,
      `its entry ${JSON.stringify(name.slice(0, 100))} points outside of the archive's folder`,
    );
  }
  if (entry.extraFields.some(({ id }) => id === UNICODE_PATH_FIELD))
    throw badWheel(filename, `its entry ${JSON.stringify(name.slice(0, 100))} has a second name`);
  // The upper half of the external attributes is the Unix mode where the archive was made on Unix.
  const mode = (entry.externalFileAttributes >>> 16) & 0o170000;
  if (![0, 0o100000, 0o040000, 0o120000].includes(mode))
    throw badWheel(filename, `its entry ${JSON.stringify(name.slice(0, 100))} is not a regular file`);
  if (!COMPRESSION_METHODS.includes(entry.compressionMethod))
    throw badWheel(
      filename,
      `its entry ${JSON.stringify(name.slice(0, 100))} uses an unknown compression method`,
    );
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
  if (!agrees) throw badWheel(filename, 'its dist-info folder has a different name or version');
}

function checkTags(name: WheelName, lines: readonly string[]): void {
  let remaining = LIMITS.tags;
  // A line of a few hundred bytes can expand to more tags than fit in memory.
  const expand = (...sets: readonly [py: string, abi: string, platform: string]): readonly string[] => {
    const [pys, abis, platforms] = sets.map((set) => set.split('.')) as [string[], string[], string[]];
    remaining -= pys.length * abis.length * platforms.length;
    if (remaining < 0) throw badWheel(name.filename, `it has more than ${LIMITS.tags} tags`);
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
  // Some tools write no Tag at all; those that are written must agree.
  if (
    wheelTags.size > 0 &&
    (filenameTags.size !== wheelTags.size || [...filenameTags].some((tag) => !wheelTags.has(tag)))
  ) {
    throw badWheel(
      name.filename,
      `the tags in its WHEEL differ from its filename: ${[...wheelTags].slice(0, 3).join(', ').slice(0, 200)}`,
    );
  }
}

/** In a filename each `-` of a version is written as `_`; PEP 440 accepts both. */
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
      const settle = (complete: () => void) => {
        zip.off('entry', onEntry);
        zip.off('end', onEnd);
        zip.off('error', onError);
        complete();
      };
      const onEntry = (nextEntry: Entry) => {
        settle(() => {
          resolve(nextEntry);
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

/**
 * Returns the bytes of a small entry. They are read and inflated at once: yauzl's streams take several times as long as
 * the few KB that METADATA and WHEEL have. Throws an error for bytes that can't be unpacked to the size that the entry
 * announces.
 */
async function contents(archive: string | Uint8Array, zip: ZipFile, entry: Entry): Promise<Buffer> {
  const { fileDataStart } = await zip.readLocalFileHeaderPromise(entry, { minimal: true });
  const packed = await readRange(archive, fileDataStart, entry.compressedSize);
  if (entry.compressionMethod === 0) return packed;
  return inflate(packed, entry.fileName, entry.uncompressedSize);
}

function inflate(packed: Buffer, name: string, announcedSize: number): Buffer {
  let unpacked: Buffer;
  try {
    unpacked = inflateRawSync(packed, { maxOutputLength: Math.max(1, announcedSize) });
  } catch (error) {
    if (codeOf(error) !== 'ERR_BUFFER_TOO_LARGE') throw error;
    throw new Error(`its ${name} unpacks to more bytes than it announces`);
  }
  if (unpacked.length < announcedSize)
    throw new Error(`its ${name} unpacks to fewer bytes than it announces`);
  return unpacked;
}

async function readRange(archive: string | Uint8Array, start: number, length: number): Promise<Buffer> {
  if (typeof archive !== 'string') return Buffer.from(archive.buffer, archive.byteOffset + start, length);
  const file = await openFile(archive);
  try {
    const bytes = Buffer.alloc(length);
    const { bytesRead } = await file.read(bytes, 0, length, start);
    return bytes.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

/** Decodes METADATA, which is UTF-8 (core metadata specification). Throws PIW_BAD_WHEEL if it is not. */
function decodeUtf8(contents: Buffer, filename: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(contents);
  } catch {
    throw badWheel(filename, 'its METADATA is not UTF-8');
  }
}

/**
 * Parses the header fields of METADATA or WHEEL, by lower-case name; the text after the first empty line is
 * ignored.
 */
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

/**
 * Returns PIW_BAD_WHEEL, with yauzl's own message, for a broken archive; a disk error says nothing about the
 * wheel, and is returned as such.
 */
function asWheelError(filename: string, error: unknown): Error {
  const trouble = diskError(filename, error);
  return trouble instanceof PiwError ? trouble : badWheel(filename, errorMessage(error));
}

function badWheel(filename: string, reason: string): PiwError {
  return new PiwError('PIW_BAD_WHEEL', `${filename}: ${reason}`);
}
