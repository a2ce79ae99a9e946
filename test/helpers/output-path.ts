import { mkdirSync, mkdtempSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { IndexedFile, Project, SearchRow } from '../../src/model/project.js';
import { SIBLINGS } from '../../src/site/layout.js';
import type { Build } from '../../src/site/pages/log.js';
import { SimpleIndexWriter } from '../../src/site/simple/index-writer.js';
import { Site } from '../../src/site/site.js';
import { hashFile, readWheel } from '../../src/wheels/wheel.js';
import { NO_DETAILS } from '../../src/model/build-details.js';
import { emptyFront, emptyStatistics } from '../site/sample-site.js';
import { makeWheel, type WheelParts } from './wheel.js';
import { memoryFolder } from './memory-folder.js';

type SampleWheel = WheelParts & { readonly version: string; readonly yanked?: string };

const metadata = (name: string, version: string, extraHeaders = ''): string =>
  `Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\n${extraHeaders}\nWhat it is for.\n`;

/**
 * Three projects: with versions that do not sort as text, yanked ones, build tags, and a name that is not normalised.
 */
const PROJECTS: Readonly<Record<string, readonly SampleWheel[]>> = {
  demo: [
    { version: '1.0rc1', yanked: 'a "bad" <b>build</b> & more' },
    { version: '1.0' },
    { version: '1.0+local.2', metadata: metadata('demo', '1.0+local.2', 'Requires-Python: >=3.8,<4\n') },
    { version: '1.2', yanked: '' },
    { version: '1.10', tag: 'cp311-cp311-linux_x86_64' },
    { version: '1.10', tag: 'cp312-cp312-linux_x86_64', build: '2' },
  ],
  'old-one': [{ name: 'Old_One', version: '0.1', metadata: metadata('Old-One', '0.1') }],
  'zope-interface': [
    { name: 'zope.interface', version: '7.0' },
    { name: 'zope.interface', version: '7.0.post1' },
  ],
};

/**
 * Creates a valid output path as the product writes it, with real wheels, logs and compressed pages; returns its
 * path.
 */
export async function makeOutputPath(): Promise<string> {
  const output = mkdtempSync(join(memoryFolder(), 'piw-output-'));
  const site = new Site({ outputPath: output, publicUrl: 'https://farm.example/' });
  const index = new SimpleIndexWriter(output);
  site.setUp();
  let buildId = 1_000_000;
  const serials: (readonly [string, number])[] = [];
  for (const [name, wheels] of Object.entries(PROJECTS)) {
    const status = name === 'old-one' ? 'archived' : 'active';
    const folder = join(output, 'simple', name);
    mkdirSync(folder, { recursive: true });
    const files: IndexedFile[] = [];
    for (const { yanked = null, ...parts } of wheels)
      files.push(await publish(folder, { name, ...parts }, yanked));
    const versions = [...new Set(files.map(({ version }) => version))];
    buildId += 1;
    serials.push([name, index.write({ name, status, versions, files }, buildId)]);
    await site.writeLog(sampleBuild(name, buildId));
    site.writeProject(sampleProject(name, status, files, buildId), buildId);
  }
  const pages = async function* () {
    yield await Promise.resolve(serials);
  };
  await index.writeRoot(pages(), buildId + 1);
  const rows = Object.entries(PROJECTS).map(([name, files]): SearchRow => [name, null, files.length, 5]);
  const searchPages = async function* () {
    yield await Promise.resolve(rows);
  };
  site.writeHome(emptyStatistics, emptyFront);
  site.writeFarm(emptyStatistics, null, null, Date.UTC(2026, 0, 2));
  await site.writeSearch(searchPages());
  await site.writeSitemap(searchPages());
  for (const page of ['simple/index.html', 'simple/demo/index.v1_json', 'index.html'])
    compressPage(output, page);
  return output;
}

/** Writes a wheel and its metadata into a project's folder; returns its record for the index. */
export async function publish(
  folder: string,
  parts: WheelParts & { readonly version: string },
  yanked: string | null = null,
): Promise<IndexedFile> {
  const path = await makeWheel(folder, parts);
  const wheel = await readWheel(path);
  writeFileSync(`${path}.metadata`, wheel.metadata);
  return {
    filename: basename(path),
    version: parts.version,
    filesize: statSync(path).size,
    sha256: (await hashFile(path)).sha256,
    metadata_sha256: wheel.metadataSha256,
    requires_python: wheel.requiresPython,
    yanked,
    uploaded: Date.UTC(2026, 0, 2, 3, 4, 5, 678),
  };
}

const sampleBuild = (name: string, buildId: number): Build => ({
  build_id: buildId,
  package: name,
  version: '1.0',
  abi: 'cp311',
  platform: 'linux_x86_64',
  status: true,
  failure_class: null,
  built: Date.UTC(2026, 0, 2),
  slave: 'anvil',
  duration_s: 12,
  output: 'building\nbuilt\n',
  details: NO_DETAILS,
});

export function sampleProject(
  name: string,
  status: Project['status'],
  files: readonly IndexedFile[],
  buildId: number,
): Project {
  const versions = [...new Set(files.map(({ version }) => version))].reverse();
  const target = { abi: 'cp311', platform: 'linux_x86_64' };
  return {
    package: name,
    description: 'A <project> & "more"',
    status,
    skip: null,
    downloads: 5,
    downloads_last_month: 4,
    versions: versions.map((version) => ({
      version,
      released: 1.7e12,
      skip: null,
      yanked: null,
      has_sdist: true,
      requires_python: null,
      targets: [
        {
          ...target,
          state: 'built' as const,
          build_id: buildId,
          failure_class: null,
          held_until: null,
          reason: null,
          remark: null,
          filename: files[0]?.filename ?? null,
        },
      ],
    })),
    files: files.map((file) => ({
      ...file,
      build_id: buildId,
      serves: [['cp311', 'linux_x86_64']],
      dependencies: {},
      downloads: 0,
      built: Date.UTC(2026, 0, 2),
      duration_s: 12,
      slave: 'anvil',
      provenance: null,
      remark: null,
      core_metadata: null,
    })),
  };
}

/** Writes the compressed sibling of a page, with the same mtime. */
function compressPage(output: string, page: string): void {
  const path = join(output, page);
  const { mtime } = statSync(path);
  writeFileSync(`${path}.gz`, gzipSync(readFileSync(path)));
  utimesSync(`${path}.gz`, mtime, mtime);
}

/** Changes a page's text; throws if `change` leaves it as it is. */
export function editPage(output: string, path: string, change: (text: string) => string): void {
  const text = readFileSync(join(output, path), 'utf8');
  const changed = change(text);
  if (changed === text) throw new Error(`nothing was changed in ${path}`);
  writeFileSync(join(output, path), changed);
}

/** Changes all forms of a page: HTML as text, JSON as parsed data. */
export function editAllForms(
  output: string,
  folder: string,
  html: ((text: string) => string) | undefined,
  json: ((page: SimpleJsonPage) => void) | undefined,
): void {
  for (const sibling of SIBLINGS) {
    const path = `${folder}/${sibling}`;
    if (sibling.endsWith('json') && json)
      editPage(output, path, (text) => {
        const page = JSON.parse(text) as SimpleJsonPage;
        json(page);
        return JSON.stringify(page);
      });
    if (!sibling.endsWith('json') && html) editPage(output, path, html);
  }
}

/** A page of the simple index in JSON, to which a test may add any fault. */
export interface SimpleJsonPage {
  [key: string]: unknown;
  meta: Record<string, unknown>;
  versions: string[];
  projects: Record<string, unknown>[];
  files: Record<string, unknown>[];
}
