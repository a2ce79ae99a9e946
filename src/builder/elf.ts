/** Reads bytes of a file; returns fewer than requested at its end. */
export type ReadAt = (offset: number, length: number) => Promise<Buffer>;

/** Limits against malformed files: program headers, dynamic entries, needed libraries, and the length of a name. */
const ELF_LIMITS = { headers: 1000, dynamic: 10_000, needed: 1000, name: 200 };
const PT = { load: 1, dynamic: 2 };
const DT = { end: 0, needed: 1, strings: 5 };

interface ProgramHeader {
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly size: number;
}

export const isElf = (head: Buffer): boolean => head.subarray(0, 4).equals(Buffer.from('\x7fELF', 'latin1'));

/**
 * Returns the libraries that an ELF file needs (DT_NEEDED), for 32 and 64 bits and both byte orders. Finds them as the
 * loader does, by the program headers, because sections may be stripped. Returns none for a file that is not ELF or
 * is broken, which no loader would load. Format: System V ABI, chapters 4 and 5.
 */
export async function neededLibraries(read: ReadAt): Promise<readonly string[]> {
  const head = await read(0, 64);
  const is64Bit = head[4] === 2;
  if (!isElf(head) || head.length < (is64Bit ? 64 : 52)) return [];
  const readers = numberReaders(head[5] === 2, is64Bit);
  const headersOffset = readers.word(head, is64Bit ? 32 : 28);
  const headerSize = readers.uint16(head, is64Bit ? 54 : 42);
  const count = Math.min(readers.uint16(head, is64Bit ? 56 : 44), ELF_LIMITS.headers);
  if (headerSize < (is64Bit ? 56 : 32)) return [];
  const table = await read(headersOffset, headerSize * count);
  const segments: ProgramHeader[] = [];
  for (let at = 0; at + headerSize <= table.length; at += headerSize) {
    segments.push({
      type: readers.uint32(table, at),
      offset: readers.word(table, at + (is64Bit ? 8 : 4)),
      address: readers.word(table, at + (is64Bit ? 16 : 8)),
      size: readers.word(table, at + (is64Bit ? 32 : 16)),
    });
  }
  const dynamic = segments.find(({ type }) => type === PT.dynamic);
  if (!dynamic) return [];
  const entrySize = is64Bit ? 16 : 8;
  const entries = await read(dynamic.offset, Math.min(dynamic.size, ELF_LIMITS.dynamic * entrySize));
  const nameOffsets: number[] = [];
  let stringTable: number | undefined;
  for (let at = 0; at + entrySize <= entries.length; at += entrySize) {
    const tag = readers.word(entries, at);
    const value = readers.word(entries, at + entrySize / 2);
    if (tag === DT.end) break;
    if (tag === DT.needed && nameOffsets.length < ELF_LIMITS.needed) nameOffsets.push(value);
    if (tag === DT.strings) stringTable = value;
  }
  // DT_STRTAB is an address in memory; the segment that contains it gives its offset in the file.
  const stringTableAddress = stringTable;
  const stringSegment =
    stringTableAddress === undefined
      ? undefined
      : segments.find(
          (segment) =>
            segment.type === PT.load &&
            stringTableAddress - segment.address < segment.size &&
            stringTableAddress >= segment.address,
        );
  if (stringTableAddress === undefined || !stringSegment) return [];
  const start = stringSegment.offset + stringTableAddress - stringSegment.address;
  const libraries: string[] = [];
  for (const name of nameOffsets) libraries.push(readCString(await read(start + name, ELF_LIMITS.name)));
  return [...new Set(libraries)].filter((name) => /^[A-Za-z0-9][\w.+-]*$/.test(name));
}

/** Returns the string up to its NUL; empty if it has none. */
function readCString(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return end < 0 ? '' : bytes.toString('latin1', 0, end);
}

/**
 * Returns readers of numbers in the file's byte order and word size. A number that is too large to be exact is past the
 * end of any file.
 */
function numberReaders(bigEndian: boolean, is64Bit: boolean) {
  const uint16 = (b: Buffer, at: number) => (bigEndian ? b.readUInt16BE(at) : b.readUInt16LE(at));
  const uint32 = (b: Buffer, at: number) => (bigEndian ? b.readUInt32BE(at) : b.readUInt32LE(at));
  const uint64 = (b: Buffer, at: number) => Number(bigEndian ? b.readBigUInt64BE(at) : b.readBigUInt64LE(at));
  return { uint16, uint32, word: is64Bit ? uint64 : uint32 };
}
