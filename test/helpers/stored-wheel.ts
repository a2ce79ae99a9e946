import { createHash, randomFillSync } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import type { FileState } from '../../src/model/file-state.js';

/** A member of a zip archive: its size, CRC-32 and offset. */
interface ZipMember {
  readonly name: string;
  readonly size: number;
  readonly crc: number;
  readonly offset: number;
}

const memberOf = (name: string, bytes: Buffer, offset: number): ZipMember => ({
  name,
  offset,
  size: bytes.length,
  crc: crc32(bytes),
});

/** Returns the fields that a member's local header and its entry in the central directory have in common. */
function commonFields({ name, size, crc }: ZipMember): Buffer {
  const fields = Buffer.alloc(26);
  fields.writeUInt16LE(20, 0);
  // 1 January 1980, stored.
  fields.writeUInt16LE(33, 8);
  fields.writeUInt32LE(crc, 10);
  fields.writeUInt32LE(size, 14);
  fields.writeUInt32LE(size, 18);
  fields.writeUInt16LE(Buffer.byteLength(name), 22);
  return fields;
}

const localHeader = (stored: ZipMember): Buffer =>
  Buffer.concat([Buffer.from('PK\x03\x04', 'latin1'), commonFields(stored), Buffer.from(stored.name)]);

function centralDirectory(entries: readonly ZipMember[], start: number): Buffer {
  const parts = entries.map((stored) => {
    const attributes = Buffer.alloc(14);
    attributes.writeUInt32LE(stored.offset, 10);
    const versionMadeBy = Buffer.from([20, 0]);
    return Buffer.concat([
      Buffer.from('PK\x01\x02', 'latin1'),
      versionMadeBy,
      commonFields(stored),
      attributes,
      Buffer.from(stored.name),
    ]);
  });
  const body = Buffer.concat(parts);
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06', 'latin1');
  end.writeUInt16LE(entries.length, 8);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(body.length, 12);
  end.writeUInt32LE(start, 16);
  return Buffer.concat([body, end]);
}

/** Returns the files in the .dist-info folder of a wheel for any Python. */
function distInfoMembers(name: string, version: string): readonly (readonly [string, Buffer])[] {
  const folder = `${name}-${version}.dist-info`;
  return [
    [`${folder}/METADATA`, Buffer.from(`Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\n`)],
    [`${folder}/WHEEL`, Buffer.from('Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n')],
    [`${folder}/RECORD`, Buffer.alloc(0)],
  ];
}

/** Returns everything in the archive after its first member, which ends at `start`. */
function archiveTail(name: string, version: string, first: ZipMember, start: number): Buffer {
  const entries = [first];
  const parts: Buffer[] = [];
  let offset = start;
  for (const [path, bytes] of distInfoMembers(name, version)) {
    const stored = memberOf(path, bytes, offset);
    const part = Buffer.concat([localHeader(stored), bytes]);
    entries.push(stored);
    parts.push(part);
    offset += part.length;
  }
  return Buffer.concat([...parts, centralDirectory(entries, offset)]);
}

function wheelFileState(name: string, version: string, filesize: number, filehash: string): FileState {
  return {
    filename: `${name}-${version}-py3-none-any.whl`,
    filesize,
    filehash,
    package_tag: name,
    package_version_tag: version,
    py_version_tag: 'py3',
    abi_tag: 'none',
    platform_tag: 'any',
    requires_python: null,
    dependencies: {},
    transferred: false,
  };
}

/** Returns a valid wheel in memory with a member of these bytes, and its description. */
export function storedWheel(
  name: string,
  version: string,
  member: Buffer,
): { bytes: Buffer; file: FileState } {
  const first = memberOf('data.bin', member, 0);
  const header = localHeader(first);
  const bytes = Buffer.concat([
    header,
    member,
    archiveTail(name, version, first, header.length + member.length),
  ]);
  const filehash = createHash('sha256').update(bytes).digest('hex');
  return { bytes, file: wheelFileState(name, version, bytes.length, filehash) };
}

/** Writes a valid wheel of a little over `size` random bytes (below 4 GB); returns its description. */
export function writeLargeWheel(path: string, name: string, version: string, size: number): FileState {
  const fd = openSync(path, 'w');
  const block = Buffer.alloc(1024 * 1024);
  const placeholderHeader = localHeader({ name: 'data.bin', size, crc: 0, offset: 0 });
  let crc = 0;
  // The header contains the CRC and comes first, so the bytes are generated twice, from the same seed.
  const seed = randomFillSync(Buffer.alloc(block.length));
  const blocks = function* () {
    for (let produced = 0, n = 0; produced < size; produced += block.length, n += 1) {
      seed.copy(block);
      block.writeUInt32LE(n, 0);
      yield block.subarray(0, Math.min(block.length, size - produced));
    }
  };
  for (const bytes of blocks()) crc = crc32(bytes, crc);
  const first = { name: 'data.bin', size, crc, offset: 0 };
  const hash = createHash('sha256');
  let written = 0;
  const write = (bytes: Buffer) => {
    hash.update(bytes);
    written += writeSync(fd, bytes);
  };
  write(localHeader(first));
  for (const bytes of blocks()) write(bytes);
  write(archiveTail(name, version, first, placeholderHeader.length + size));
  closeSync(fd);
  return wheelFileState(name, version, written, hash.digest('hex'));
}
