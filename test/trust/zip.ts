import { crc32, deflateRawSync } from 'node:zlib';

/** An entry of an archive, valid or not. Fields that are left out get correct values. */
export interface ZipEntry {
  readonly name: string | Buffer;
  readonly data?: Buffer | string;
  /** 8 means deflated. */
  readonly method?: number;
  readonly flags?: number;
  /** The Unix mode, including the file type. */
  readonly mode?: number;
  /** The unpacked and packed sizes that the central directory declares, bytes. */
  readonly size?: number;
  readonly packed?: number;
  /** A second name in an extra field, as Info-ZIP writes names in UTF-8. */
  readonly otherName?: string;
  /** The index of an entry whose bytes this one shares. */
  readonly sameAs?: number;
}

function unicodePath(name: Buffer, other: string): Buffer {
  const utf8 = Buffer.from(other);
  const head = Buffer.alloc(9);
  head.writeUInt16LE(0x7075, 0);
  head.writeUInt16LE(5 + utf8.length, 2);
  head.writeUInt8(1, 4);
  head.writeUInt32LE(crc32(name), 5);
  return Buffer.concat([head, utf8]);
}

/** Returns an archive, built byte by byte. */
export function buildZip(entries: readonly ZipEntry[], { entryCount }: { entryCount?: number } = {}): Buffer {
  const locals: Buffer[] = [];
  const directory: Buffer[] = [];
  const offsets: number[] = [];
  let offset = 0;
  for (const {
    name,
    data = '',
    method = 0,
    flags = 0,
    mode = 0o100644,
    size,
    packed,
    sameAs,
    otherName,
  } of entries) {
    const plain = Buffer.from(data);
    const bytes = method === 8 ? deflateRawSync(plain, { level: 9 }) : plain;
    const nameBytes = Buffer.from(name);
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(flags, 2);
    common.writeUInt16LE(method, 4);
    common.writeUInt32LE(crc32(plain), 10);
    common.writeUInt32LE(packed ?? bytes.length, 14);
    common.writeUInt32LE(size ?? plain.length, 18);
    common.writeUInt16LE(nameBytes.length, 22);
    const at = sameAs === undefined ? offset : (offsets[sameAs] ?? 0);
    offsets.push(at);
    if (sameAs === undefined) {
      const local = Buffer.concat([Buffer.from('PK\x03\x04', 'latin1'), common, nameBytes, bytes]);
      locals.push(local);
      offset += local.length;
    }
    const attributes = Buffer.alloc(14);
    attributes.writeUInt32LE((mode << 16) >>> 0, 6);
    attributes.writeUInt32LE(at, 10);
    const extra = otherName === undefined ? Buffer.alloc(0) : unicodePath(nameBytes, otherName);
    const entryHeader = Buffer.from(common);
    entryHeader.writeUInt16LE(extra.length, 24);
    directory.push(
      Buffer.concat([Buffer.from('PK\x01\x02\x14\x03', 'latin1'), entryHeader, attributes, nameBytes, extra]),
    );
  }
  const central = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06', 'latin1');
  end.writeUInt16LE(entryCount ?? entries.length, 8);
  end.writeUInt16LE(entryCount ?? entries.length, 10);
  end.writeUInt32LE(central.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...locals, central, end]);
}
