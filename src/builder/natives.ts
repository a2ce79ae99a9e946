import { open, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import yauzl, { type Entry, type ZipFile } from 'yauzl';
import { PiwError, errorMessage } from '../errors.js';
import { isElf, neededLibraries, type ReadAt } from './elf.js';
import { findOwningPackages } from './owners.js';

/** Libraries that are a part of the C library, which every system has. */
const LIBC_LIBRARY =
  /^(?:ld-linux.*|ld64|ld-musl-.*|ld|libc|libc\.musl-.*|libm|libpthread|libdl|librt|libutil|linux-vdso.*)\.so(?:\.\d+)?$/;

/** Names of libraries and extensions: for those of other systems than Linux, and those that are too large to scan. */
const COMPILED_FILE = /\.(?:so(?:\.[\d.]{1,20})?|pyd|dll|dylib)$/;

/** Limits per wheel: larger files are not scanned; neither is anything beyond the total size or number of libraries. */
const SCAN_LIMITS = { fileBytes: 2 * 1024 ** 3, totalBytes: 8 * 1024 ** 3, libraries: 1000 };

/**
 * Inspects the native code in a wheel. `compiled` says whether it contains a compiled file; `dependencies` lists, by
 * package manager, the system packages that own the libraries that its ELF files need and the wheel does not contain,
 * and under '' the libraries that no package of this system owns. Unpacks one file at a time into `scratch`. The
 * wheel must have been verified before; throws PIW_BAD_WHEEL if a member can't be unpacked all the same, and rethrows
 * file system errors of `scratch`.
 */
export async function inspectNativeCode(
  path: string,
  scratch: string,
): Promise<{
  readonly compiled: boolean;
  readonly dependencies: Readonly<Record<string, readonly string[]>>;
}> {
  const { needed, names, compiled } = await scanWheel(path, scratch).catch((error: unknown) => {
    // Only errors of the file system have a `syscall`.
    if ((error as NodeJS.ErrnoException).syscall !== undefined) throw error;
    throw new PiwError('PIW_BAD_WHEEL', `${basename(path)}: ${errorMessage(error)}`, { cause: error });
  });
  const externalLibraries = [...needed].filter((name) => !names.has(name) && !LIBC_LIBRARY.test(name));
  return {
    compiled,
    dependencies: await findOwningPackages(externalLibraries.sort().slice(0, SCAN_LIMITS.libraries)),
  };
}

async function scanWheel(
  path: string,
  scratch: string,
): Promise<{
  readonly needed: ReadonlySet<string>;
  readonly names: ReadonlySet<string>;
  readonly compiled: boolean;
}> {
  const zip = await yauzl.openPromise(path, { lazyEntries: true, autoClose: false });
  const needed = new Set<string>();
  const names = new Set<string>();
  let remainingBytes = SCAN_LIMITS.totalBytes;
  let compiled = false;
  try {
    for await (const entry of zip.eachEntry()) {
      if (entry.fileName.endsWith('/')) continue;
      names.add(basename(entry.fileName));
      compiled ||= COMPILED_FILE.test(entry.fileName);
      // Every other file may be native: the names of programs do not tell.
      if (/\.(?:py|pyi|pyc|txt|json|h|hpp)$/.test(entry.fileName)) continue;
      if (entry.uncompressedSize > SCAN_LIMITS.fileBytes || entry.uncompressedSize > remainingBytes) continue;
      const stream = await openIfElf(zip, entry);
      if (!stream) continue;
      compiled = true;
      remainingBytes -= entry.uncompressedSize;
      for (const name of await readNeededLibraries(stream, scratch)) needed.add(name);
    }
  } finally {
    zip.close();
  }
  return { needed, names, compiled };
}

/** Returns the contents of an entry if it is an ELF file, else undefined. Throws yauzl's error for a broken entry. */
async function openIfElf(zip: ZipFile, entry: Entry): Promise<AsyncIterable<Buffer> | undefined> {
  const stream = await zip.openReadStreamPromise(entry);
  const chunks = (stream as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  const first = await chunks.next();
  if (first.done === true || !isElf(first.value)) {
    stream.destroy();
    return undefined;
  }
  return (async function* () {
    yield first.value;
    for (let next = await chunks.next(); next.done !== true; next = await chunks.next()) yield next.value;
  })();
}

async function readNeededLibraries(
  stream: AsyncIterable<Buffer>,
  scratch: string,
): Promise<readonly string[]> {
  const path = join(scratch, 'library');
  await writeFile(path, stream, { mode: 0o600 });
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const read: ReadAt = async (offset, length) => {
      // An offset past the end reads nothing.
      if (!(offset < size)) return Buffer.alloc(0);
      const buffer = Buffer.alloc(Math.min(length, size - offset));
      const { bytesRead } = await file.read(buffer, 0, buffer.length, offset);
      return buffer.subarray(0, bytesRead);
    };
    return await neededLibraries(read);
  } finally {
    await file.close();
    await rm(path, { force: true });
  }
}
