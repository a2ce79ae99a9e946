/** Reads bytes of a file: fewer than asked for at its end. */
export type Read = (offset: number, length: number) => Promise<Buffer>;

/** Bounds of what is believed: program headers, entries of the dynamic section, names of libraries. */
const MAX = { headers: 1000, dynamic: 10_000, needed: 1000, name: 200 };
const PT = { load: 1, dynamic: 2 };
const DT = { end: 0, needed: 1, strings: 5 };

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly size: number;
}

export const isElf = (head: Buffer): boolean => head.subarray(0, 4).equals(Buffer.from('\x7fELF', 'latin1'));

/**
 * The libraries that an ELF file names as needed (DT_NEEDED), of 32 or 64 bits and of either byte order,
 * as the loader would find them: by the program headers, for sections may be stripped. What is no ELF
 * file, or a broken one, needs nothing: then no loader will take it either. Format: System V ABI, chapters
 * 4 and 5.
 */
export async function neededLibraries(read: Read): Promise<readonly string[]> {
  const head = await read(0, 64);
  const wide = head[4] === 2;
  if (!isElf(head) || head.length < (wide ? 64 : 52)) return [];
  const number = numbers(head[5] === 2, wide);
  const headersAt = number.word(head, wide ? 32 : 28);
  const size = number.half(head, wide ? 54 : 42);
  const count = Math.min(number.half(head, wide ? 56 : 44), MAX.headers);
  if (size < (wide ? 56 : 32)) return [];
  const table = await read(headersAt, size * count);
  const segments: Segment[] = [];
  for (let at = 0; at + size <= table.length; at += size) {
    segments.push({
      type: number.whole(table, at),
      offset: number.word(table, at + (wide ? 8 : 4)),
      address: number.word(table, at + (wide ? 16 : 8)),
      size: number.word(table, at + (wide ? 32 : 16)),
    });
  }
  const dynamic = segments.find(({ type }) => type === PT.dynamic);
  if (!dynamic) return [];
  const entry = wide ? 16 : 8;
  const entries = await read(dynamic.offset, Math.min(dynamic.size, MAX.dynamic * entry));
  const names: number[] = [];
  let strings: number | undefined;
  for (let at = 0; at + entry <= entries.length; at += entry) {
    const tag = number.word(entries, at);
    const value = number.word(entries, at + entry / 2);
    if (tag === DT.end) break;
    if (tag === DT.needed && names.length < MAX.needed) names.push(value);
    if (tag === DT.strings) strings = value;
  }
  // The table of strings is named by its address in memory; the segment that holds it says where it is.
  const address = strings;
  const holder =
    address === undefined
      ? undefined
      : segments.find(
          (one) => one.type === PT.load && address - one.address < one.size && address >= one.address,
        );
  if (address === undefined || !holder) return [];
  const start = holder.offset + address - holder.address;
  const found: string[] = [];
  for (const name of names) found.push(text(await read(start + name, MAX.name)));
  return [...new Set(found)].filter((name) => /^[A-Za-z0-9][\w.+-]*$/.test(name));
}

/** Up to its NUL; a name without one is none. */
function text(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return end < 0 ? '' : bytes.toString('latin1', 0, end);
}

/** Readers of the file's own numbers. One too large to be an offset in any file is past every end. */
function numbers(big: boolean, wide: boolean) {
  const half = (b: Buffer, at: number) => (big ? b.readUInt16BE(at) : b.readUInt16LE(at));
  const whole = (b: Buffer, at: number) => (big ? b.readUInt32BE(at) : b.readUInt32LE(at));
  const long = (b: Buffer, at: number) => Number(big ? b.readBigUInt64BE(at) : b.readBigUInt64LE(at));
  return { half, whole, word: wide ? long : whole };
}
