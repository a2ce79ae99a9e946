import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, statSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { IndexedFile } from '../../src/model/project.js';
import { simplePath } from '../../src/site/layout.js';
import { SimpleIndexWriter } from '../../src/site/simple/index-writer.js';
import { readWheel } from '../../src/wheels/wheel.js';
import { makeWheel, sha256 } from '../helpers/wheel.js';

/** A wheel on the shelf. */
interface ShelfRelease {
  readonly version: string;
  readonly build?: string;
  readonly requires?: readonly string[];
  readonly python?: string;
  readonly yanked?: string;
  /** The day of its upload, YYYY-MM-DD. */
  readonly day: string;
}

export const YANK_REASON = 'eats "things" <raw> & burns them';
/** A project that others require and that doesn't exist. */
export const MISSING_PROJECT = 'shelf-nowhere';
/** The number of releases of shelf-deep, and how many of them, the oldest, have requirements that can be met. */
export const DEEP = { releaseCount: 20, installableCount: 3 };
const dailyReleases = (
  count: number,
  releaseOf: (number: number) => Omit<ShelfRelease, 'version' | 'day'>,
): ShelfRelease[] =>
  Array.from({ length: count }, (_, i) => {
    const number = i + 1;
    return {
      version: `${number}.0`,
      day: `2023-01-${String(number).padStart(2, '0')}`,
      ...releaseOf(number),
    };
  });

/** All projects, as wheels spell their names. The tests' expectations follow from this table. */
const PROJECTS: Readonly<Record<string, readonly ShelfRelease[]>> = {
  shelf_demo: [
    { version: '1.0', day: '2024-01-10' },
    { version: '1.1', day: '2024-02-10' },
    { version: '1.1', build: '2', day: '2024-02-11' },
    { version: '1.2+local.1', day: '2024-03-10' },
    { version: '2.0', day: '2024-04-10', yanked: YANK_REASON },
    { version: '3.0', day: '2024-05-10', python: '>=4' },
  ],
  'Shelf.Lib': ['1.0', '1.1', '1.2', '1.3'].map((version) => ({ version, day: '2024-01-01' })),
  // Its name is not normalised.
  'Discord.Py': [{ version: '1.0', day: '2024-01-01' }],
  shelf_app: [{ version: '1.0', day: '2024-01-15', requires: ['shelf-demo', 'Shelf_Lib>=1.1'] }],
  // The newer releases require a version of shelf-lib that doesn't exist.
  shelf_deep: dailyReleases(DEEP.releaseCount, (number) =>
    number > DEEP.installableCount ? { requires: ['shelf-lib>=99'] } : {},
  ),
  shelf_top: [{ version: '1.0', day: '2024-01-20', requires: ['shelf-deep', 'shelf-lib<1.3'] }],
  // The newer releases require a project that doesn't exist.
  shelf_gone: dailyReleases(5, (number) => (number > 2 ? { requires: [MISSING_PROJECT] } : {})),
};

export interface Shelf {
  /** The output path. */
  readonly output: string;
  /** By filename. */
  readonly sha256: ReadonlyMap<string, string>;
  /** By the normalised name of their project. */
  readonly files: ReadonlyMap<string, readonly IndexedFile[]>;
}

/** Writes an output path with real wheels, using the farm's own code. */
export async function makeShelf(): Promise<Shelf> {
  const output = mkdtempSync(join(tmpdir(), 'piw-shelf-'));
  const index = new SimpleIndexWriter(output);
  const hashes = new Map<string, string>();
  const filesByProject = new Map<string, readonly IndexedFile[]>();
  const pages: [name: string, serial: number][] = [];
  index.setUp();
  for (const [distribution, releases] of Object.entries(PROJECTS)) {
    const name = distribution.toLowerCase().replace(/[-_.]+/g, '-');
    const folder = join(output, simplePath(name));
    mkdirSync(folder, { recursive: true });
    const files: IndexedFile[] = [];
    for (const release of releases) files.push(await publish(folder, distribution, release));
    for (const file of files) hashes.set(file.filename, file.sha256);
    filesByProject.set(name, files);
    const serial = pages.length + 1;
    const versions = [...new Set(releases.map((release) => release.version))];
    pages.push([name, index.write({ name, status: 'active', versions, files }, serial)]);
  }
  await index.writeRoot(oneBatch(pages.sort()), pages.length);
  return { output, sha256: hashes, files: filesByProject };
}

/** Yields rows as a database does. */
export async function* oneBatch<Row>(rows: readonly Row[]): AsyncGenerator<readonly Row[]> {
  yield await Promise.resolve(rows);
}

/** Writes a wheel and its metadata into its project's folder. */
export async function publish(
  folder: string,
  distribution: string,
  release: ShelfRelease,
): Promise<IndexedFile> {
  const { version, requires = [], python = '>=3.8', yanked, day } = release;
  const path = await makeInstallable(folder, distribution, release);
  const wheel = await readWheel(path);
  writeFileSync(`${path}.metadata`, wheel.metadata);
  if (requires.length > 0 && !wheel.metadata.includes('Requires-Dist'))
    throw new Error(`${path} has no requirements`);
  return {
    filename: basename(path),
    version,
    filesize: statSync(path).size,
    sha256: sha256(await readFile(path)),
    metadata_sha256: wheel.metadataSha256,
    requires_python: python,
    yanked: yanked ?? null,
    uploaded: Date.parse(`${day}T12:00:00Z`),
  };
}

/** Writes a wheel with one module, which has its version and build tag, and the RECORD that installers check. */
async function makeInstallable(folder: string, distribution: string, release: ShelfRelease): Promise<string> {
  const { version, build, requires = [], python = '>=3.8' } = release;
  const name = distribution.replace(/[-.]+/g, '_');
  const distInfo = `${distribution}-${version}.dist-info`;
  const module = `VERSION = "${version}"\nBUILD = "${build ?? ''}"\n`;
  const requirements = requires.map((requirement) => `Requires-Dist: ${requirement}\n`).join('');
  const metadata = `Metadata-Version: 2.1\nName: ${distribution}\nVersion: ${version}\nRequires-Python: ${python}\n${requirements}`;
  const wheel = `Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\n${build === undefined ? '' : `Build: ${build}\n`}Tag: py3-none-any\n`;
  const contents = {
    [`${name.toLowerCase()}.py`]: module,
    [`${distInfo}/METADATA`]: metadata,
    [`${distInfo}/WHEEL`]: wheel,
  };
  const record = Object.entries(contents)
    .map(
      ([path, text]) =>
        `${path},sha256=${createHash('sha256').update(text).digest('base64url')},${Buffer.byteLength(text)}\n`,
    )
    .join('');
  return makeWheel(folder, {
    name: distribution,
    version,
    ...(build === undefined ? {} : { build }),
    metadata,
    wheel,
    files: {
      [`${name.toLowerCase()}.py`]: Buffer.from(module),
      [`${distInfo}/RECORD`]: Buffer.from(`${record}${distInfo}/RECORD,,\n`),
    },
  });
}
