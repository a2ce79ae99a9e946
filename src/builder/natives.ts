import { open, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import yauzl, { type Entry, type ZipFile } from 'yauzl';
import { PiwError, reason } from '../errors.js';
import { isElf, neededLibraries, type Read } from './elf.js';
import { ownersOf } from './owners.js';

/** What every system with a C library has. */
const OF_LIBC =
  /^(?:ld-linux.*|ld64|ld-musl-.*|ld|libc|libc\.musl-.*|libm|libpthread|libdl|librt|libutil|linux-vdso.*)\.so(?:\.\d+)?$/;

/** Libraries and extensions by their name: of other systems than Linux, or too large to look at. */
const COMPILED = /\.(?:so(?:\.[\d.]{1,20})?|pyd|dll|dylib)$/;

/** Larger files of a wheel are not looked at, nor what comes after so many bytes in all, or libraries. */
const LIMITS = { file: 2 * 1024 ** 3, all: 8 * 1024 ** 3, libraries: 1000 };

/**
 * Returns what of a wheel is native: whether it holds a compiled file, and what these need of the system, by package
 * manager: the packages that have the libraries that its ELF files name and it doesn't bring along; under '' the
 * libraries that no package here has. A file at a time is unpacked into `scratch`. The wheel was found to be sound
 * before; what of it can't be unpacked all the same throws PIW_BAD_WHEEL, and what the system says of `scratch` is
 * thrown as it is.
 */
export async function nativeParts(
  path: string,
  scratch: string,
): Promise<{
  readonly compiled: boolean;
  readonly dependencies: Readonly<Record<string, readonly string[]>>;
}> {
  const { needed, names, compiled } = await librariesOf(path, scratch).catch((error: unknown) => {
    // Of the file system's errors, and of no other, it is told which call failed.
    if ((error as NodeJS.ErrnoException).syscall !== undefined) throw error;
    throw new PiwError('PIW_BAD_WHEEL', `${basename(path)}: ${reason(error)}`, { cause: error });
  });
  const missing = [...needed].filter((name) => !names.has(name) && !OF_LIBC.test(name));
  return { compiled, dependencies: await ownersOf(missing.sort().slice(0, LIMITS.libraries)) };
}

async function librariesOf(
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
  let left = LIMITS.all;
  let compiled = false;
  try {
    for await (const entry of zip.eachEntry()) {
      if (entry.fileName.endsWith('/')) continue;
      names.add(basename(entry.fileName));
      compiled ||= COMPILED.test(entry.fileName);
      // Everything but Python's own: programs bear any name, or none that tells.
      if (/\.(?:py|pyi|pyc|txt|json|h|hpp)$/.test(entry.fileName)) continue;
      if (entry.uncompressedSize > LIMITS.file || entry.uncompressedSize > left) continue;
      const stream = await elfIn(zip, entry);
      if (!stream) continue;
      compiled = true;
      left -= entry.uncompressedSize;
      for (const name of await neededIn(stream, scratch)) needed.add(name);
    }
  } finally {
    zip.close();
  }
  return { needed, names, compiled };
}

/** The entry's contents if they are an ELF file's. Raises what yauzl has to say of a broken entry. */
async function elfIn(zip: ZipFile, entry: Entry): Promise<AsyncIterable<Buffer> | undefined> {
  const stream = await zip.openReadStreamPromise(entry);
  const pieces = (stream as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  const first = await pieces.next();
  if (first.done === true || !isElf(first.value)) {
    stream.destroy();
    return undefined;
  }
  return (async function* () {
    yield first.value;
    for (let next = await pieces.next(); next.done !== true; next = await pieces.next()) yield next.value;
  })();
}

async function neededIn(stream: AsyncIterable<Buffer>, scratch: string): Promise<readonly string[]> {
  const path = join(scratch, 'library');
  await writeFile(path, stream, { mode: 0o600 });
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const read: Read = async (offset, length) => {
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
