import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { folderFiles, tarGz } from '../../src/farm/sdist.js';

/** Relative to dist/test/helpers, where this file is compiled to. */
const FIXTURES = fileURLToPath(new URL('../../../test/fixtures/sdists/', import.meta.url));

export interface Sdist {
  readonly name: string;
  readonly filename: string;
  readonly contents: Buffer;
  readonly sha256: string;
  readonly requiresPython: string;
}

/**
 * Packs a folder of test/fixtures/sdists together with the module that their backends share. The same folder always
 * yields the same bytes. `nameSuffix` is the part of the name after `piw-fixture-`; `mtimes` are those of the first
 * files, by default 0.
 */
export function packFixture(
  fixture: string,
  {
    version = '1.0',
    requiresPython = '>=3.9',
    nameSuffix = fixture,
    mtimes = [],
  }: { version?: string; requiresPython?: string; nameSuffix?: string; mtimes?: readonly number[] } = {},
): Sdist {
  const name = `piw-fixture-${nameSuffix}`;
  const stem = `${name.replaceAll('-', '_')}-${version}`;
  const pkgInfo = `Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\nRequires-Python: ${requiresPython}\n`;
  const files = [
    ...folderFiles(`${FIXTURES}${fixture}`, stem),
    [`${stem}/wheelwright.py`, readFileSync(`${FIXTURES}wheelwright.py`)] as const,
    [`${stem}/PKG-INFO`, Buffer.from(pkgInfo)] as const,
  ];
  const contents = tarGz(files.map(([path, file], i) => [path, file, mtimes[i] ?? 0]));
  const sha256 = createHash('sha256').update(contents).digest('hex');
  return { name, filename: `${stem}.tar.gz`, contents, sha256, requiresPython };
}
