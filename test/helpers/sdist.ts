import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { folderFiles, tarGz } from '../../src/farm/sdist.js';

/** dist/test/helpers lies as deep below the root as test/fixtures. */
const FIXTURES = fileURLToPath(new URL('../../../test/fixtures/sdists/', import.meta.url));

export interface Sdist {
  readonly name: string;
  readonly filename: string;
  readonly contents: Buffer;
  readonly sha256: string;
  readonly requiresPython: string;
}

/**
 * Packs a folder of test/fixtures/sdists, with the module that their backends share. The same folder
 * always gives the same bytes. With `as` it goes by the name of another.
 */
export function packFixture(
  fixture: string,
  {
    version = '1.0',
    requiresPython = '>=3.9',
    as = fixture,
  }: { version?: string; requiresPython?: string; as?: string } = {},
): Sdist {
  const name = `piw-fixture-${as}`;
  const stem = `${name.replaceAll('-', '_')}-${version}`;
  const about = `Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\nRequires-Python: ${requiresPython}\n`;
  const contents = tarGz([
    ...folderFiles(`${FIXTURES}${fixture}`, stem),
    [`${stem}/wheelwright.py`, readFileSync(`${FIXTURES}wheelwright.py`)],
    [`${stem}/PKG-INFO`, Buffer.from(about)],
  ]);
  const sha256 = createHash('sha256').update(contents).digest('hex');
  return { name, filename: `${stem}.tar.gz`, contents, sha256, requiresPython };
}
