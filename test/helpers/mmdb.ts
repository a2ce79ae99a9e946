/**
 * Returns a MaxMind database (format 2.0) of networks and their countries, so that the real reader can read a real
 * file. https://maxmind.github.io/MaxMind-DB/
 */
export function buildMmdb(networks: Readonly<Record<string, string>>): Buffer {
  const data: Buffer[] = [];
  const dataOffsets = new Map<string, number>();
  let dataSize = 0;
  for (const country of new Set(Object.values(networks))) {
    const entry = encodeMap({ country: encodeMap({ iso_code: encodeString(country) }) });
    dataOffsets.set(country, dataSize);
    dataSize += data[data.push(entry) - 1]?.length ?? 0;
  }
  // A binary tree: each node has the successors for bit 0 and bit 1, a node or a country; undefined is "not found".
  const nodes: (number | string | undefined)[][] = [[undefined, undefined]];
  for (const [network, country] of Object.entries(networks)) {
    const [address = '', length = ''] = network.split('/');
    const bits = addressBits(address).slice(0, address.includes(':') ? Number(length) : 96 + Number(length));
    let node = 0;
    for (const bit of bits.slice(0, -1)) {
      let next = nodes[node]?.[bit];
      if (typeof next !== 'number') {
        next = nodes.push([undefined, undefined]) - 1;
        (nodes[node] ?? [])[bit] = next;
      }
      node = next;
    }
    (nodes[node] ?? [])[bits.at(-1) ?? 0] = country;
  }
  const tree = Buffer.alloc(nodes.length * 6);
  nodes.flat().forEach((record, i) => {
    const value =
      typeof record === 'number'
        ? record
        : record === undefined
          ? nodes.length
          : nodes.length + 16 + (dataOffsets.get(record) ?? 0);
    tree.writeUIntBE(value, i * 3, 3);
  });
  const metadata = encodeMap({
    binary_format_major_version: encodeUint(5, 2),
    binary_format_minor_version: encodeUint(5, 0),
    build_epoch: encodeUint(6, 1_700_000_000),
    database_type: encodeString('Test-Country'),
    description: encodeMap({ en: encodeString('test') }),
    ip_version: encodeUint(5, 6),
    languages: Buffer.from([0x01, 0x04, ...encodeString('en')]),
    node_count: encodeUint(6, nodes.length),
    record_size: encodeUint(5, 24),
  });
  const marker = Buffer.concat([Buffer.from([0xab, 0xcd, 0xef]), Buffer.from('MaxMind.com')]);
  return Buffer.concat([tree, Buffer.alloc(16), ...data, marker, metadata]);
}

/** Returns all 128 bits of an address; an IPv4 address is in the last 32 of them. */
function addressBits(address: string): number[] {
  const bytes = address.includes(':')
    ? address
        .replace(/::$/, ':0'.repeat(9 - address.split(':').filter((group) => group !== '').length - 1))
        .split(':')
        .flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 255])
    : [...Array.from({ length: 12 }, () => 0), ...address.split('.').map(Number)];
  return bytes.flatMap((byte) => Array.from({ length: 8 }, (_, i) => (byte >> (7 - i)) & 1));
}

function encodeString(value: string): Buffer {
  const bytes = Buffer.from(value);
  if (bytes.length > 28) throw new Error(`"${value}" is longer than 28 bytes`);
  return Buffer.concat([Buffer.from([0x40 | bytes.length]), bytes]);
}

function encodeMap(entries: Readonly<Record<string, Buffer>>): Buffer {
  const pairs = Object.entries(entries);
  return Buffer.concat([
    Buffer.from([0xe0 | pairs.length]),
    ...pairs.flatMap(([key, value]) => [encodeString(key), value]),
  ]);
}

function encodeUint(type: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  const significantBytes = bytes.subarray(
    bytes.findIndex((byte) => byte > 0) < 0 ? 4 : bytes.findIndex((byte) => byte > 0),
  );
  return Buffer.concat([Buffer.from([(type << 5) | significantBytes.length]), significantBytes]);
}
