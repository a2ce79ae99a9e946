import { open, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import yauzl, { type Entry, type ZipFile } from 'yauzl';
import { PiwError, errorMessage } from '../errors.js';
import { isElf, neededLibraries, type ReadAt } from './elf.js';
import { findOwningPackages } from './owners.js';

/** What every system with a C library has. */
const LIBC_LIBRARY =
  /^(?:ld-linux.*|ld64|ld-musl-.*|ld|libc|libc\.musl-.*|libm|libpthread|libdl|librt|libutil|linux-vdso.*)\.so(?:\.\d+)?$/;

/** Libraries and extensions by their name: of other systems than Linux, or too large to look at. */
const COMPILED_FILE = /\.(?:so(?:\.[\d.]{1,20})?|pyd|dll|dylib)$/;

/** Larger files of a wheel are not looked at, nor what comes after so many bytes in all, or libraries. */
const SCAN_LIMITS = { fileBytes: 2 * 1024 ** 3, totalBytes: 8 * 1024 ** 3, libraries: 1000 };

/**
 * Returns what of a wheel is native: whether it holds a compiled file, and what these need of the system, by package
 * manager: the packages that have the libraries that its ELF files name and it doesn't bring along; under '' the
 * libraries that no package here has. A file at a time is unpacked into `scratch`. The wheel was found to be sound
 * before; what of it can't be unpacked all the same throws PIW_BAD_WHEEL, and what the system says of `scratch` is
 * thrown as it is.
 */
export async function inspectNativeCode(
  path: string,
  scratch: string,
): Promise<{
  readonly compiled: boolean;
  readonly dependencies: Readonly<Record<string, readonly string[]>>;
}> {
  const { needed, names, compiled } = await scanWheel(path, scratch).catch((error: unknown) => {
    // Of the file system's errors, and of no other, it is told which call failed.
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
      // Everything but Python's own: programs bear any name, or none that tells.
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

/** The entry's contents if they are an ELF file's. Raises what yauzl has to say of a broken entry. */
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
      // What leads past the end reads nothing there.
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
