import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import t from 'tap';
import { listedPackages, type ListedPackage } from '../../src/backup/manifest.js';

const path = join(mkdtempSync(join(tmpdir(), 'piw-manifest-')), 'list.gz');
const row = (name: string, version: string): string =>
  `${name}\t${name}-${version}-py3-none-any.whl\t1000\t${'a'.repeat(64)}\t\n`;

async function readList(): Promise<readonly string[]> {
  const packages: ListedPackage[] = [];
  for await (const each of listedPackages(path)) packages.push(each);
  return packages.map(({ name, files }) => `${name} ${files.length}`);
}

void t.test('the files of a package are listed together', async (t) => {
  const many = Array.from({ length: 3000 }, (_, n) => row('many', `1.${n}`)).join('');
  writeFileSync(path, gzipSync(row('a', '1.0') + many + row('z', '1.0') + row('z', '2.0')));
  t.same(await readList(), ['a 1', 'many 3000', 'z 2']);
  writeFileSync(path, gzipSync(''));
  t.same(await readList(), []);
});

void t.test('a list that cannot be read or decompressed is damaged', async (t) => {
  const bytes = gzipSync(row('a', '1.0'));
  for (const contents of [bytes.subarray(0, bytes.length - 10), Buffer.from('no gzip'), undefined]) {
    if (contents) writeFileSync(path, contents);
    const list = contents ? path : `${path}.missing`;
    await t.rejects(
      async () => {
        for await (const each of listedPackages(list)) t.ok(each.name);
      },
      { code: 'PIW_BACKUP_DAMAGED' },
      list,
    );
  }
});
