/**
 * Does the disk work of a Scribe for the benchmark `pages`: `pages-writer.js FOLDER render|write VERSIONS FILES
 * PACKAGES`.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { decode, encode } from '@msgpack/msgpack';
import type { IndexedFile, Project, ProjectFile } from '../../src/model/project.js';
import { replaceFile } from '../../src/files/atomic.js';
import { SimpleIndexWriter } from '../../src/site/simple/index-writer.js';
import { Site } from '../../src/site/site.js';

const [folder = '', mode = '', ...counts] = process.argv.slice(2);
const [versions = 0, filesPerVersion = 0, packages = 0] = counts.map(Number);
const TARGETS = ['cp39', 'cp311', 'cp312', 'cp313'];
const sha256Hex = (text: string): string => createHash('sha256').update(text).digest('hex');
const METADATA = `Metadata-Version: 2.4\nName: demo\nVersion: 1.0\n${'Classifier: Programming Language :: Python\n'.repeat(30)}`;

/** Returns a package as the Oracle does; each round changes something on each of its pages. */
function makeProject(name: string, round: number): Project {
  const files: ProjectFile[] = [];
  const projectVersions: Project['versions'] = Array.from({ length: versions }, (_, n) => {
    const version = `1.${versions - n}.${n === 0 ? round : 0}`;
    for (const abi of TARGETS.slice(0, filesPerVersion)) {
      const filename = `${name.replaceAll('-', '_')}-${version}-${abi}-${abi}-linux_aarch64.whl`;
      files.push({
        filename,
        version,
        filesize: 1_234_567 + n,
        sha256: sha256Hex(filename),
        metadata_sha256: sha256Hex(version),
        requires_python: '>=3.9',
        yanked: null,
        uploaded: 1.7e12 + n * 1e8,
        build_id: 1_000_000 + n,
        serves: [[abi, 'linux_aarch64']],
        dependencies: { apt: ['libopenblas0', 'libgfortran5'] },
        downloads: n,
        built: 1.7e12 + n * 1e8,
        duration_s: 12.5,
        slave: 'anvil',
        provenance: {
          sdist: [`${name}-${version}.tar.gz`, sha256Hex(name)],
          python: 'CPython 3.11.7',
          pip: '26.0',
          requirements: [
            ['setuptools', '80.9.0'],
            ['wheel', '0.45.1'],
          ],
          source_date_epoch: 1_700_000_000,
        },
        remark: null,
        core_metadata: null,
      });
    }
    return {
      version,
      released: 1.7e12 + n * 1e8,
      skip: null,
      yanked: null,
      has_sdist: true,
      requires_python: '>=3.9',
      targets: TARGETS.slice(0, filesPerVersion).map((abi) => ({
        abi,
        platform: 'linux_aarch64',
        state: 'built' as const,
        build_id: 1_000_000 + n,
        failure_class: null,
        reason: null,
        remark: null,
        held_until: null,
        filename: `${name}-${version}-${abi}-${abi}-linux_aarch64.whl`,
      })),
    };
  });
  return {
    package: name,
    description: 'A package of the usual kind',
    status: 'active',
    skip: null,
    downloads: 123_456 + round,
    downloads_last_month: 1234,
    versions: projectVersions,
    files,
  };
}

/** What the writers get of a package. */
interface RenderInput {
  readonly project: Project;
  readonly files: readonly IndexedFile[];
  readonly versions: readonly string[];
}

const index = new SimpleIndexWriter(folder);
const site = new Site({ outputPath: folder, publicUrl: 'https://farm.example/' });
mkdirSync(folder, { recursive: true });
index.setUp();
site.setUp();

const ROUNDS = 2;
/** A Scribe holds one package at a time, not thousands: so a few packages serve as templates for all of them. */
const DISTINCT = 4;
const distinct: RenderInput[][] = Array.from({ length: ROUNDS }, (_, round) =>
  Array.from({ length: DISTINCT }, (__, n) => {
    // As decoded from a message.
    const decoded = decode(encode(makeProject(`package-${n}`, round))) as Project;
    return {
      project: decoded,
      files: [...decoded.files].reverse(),
      versions: decoded.versions.map(({ version }) => version).reverse(),
    };
  }),
);

function* renderInputs(round: number): Generator<RenderInput> {
  for (let n = 0; n < packages; n += 1) {
    const template = distinct[round]?.[n % DISTINCT];
    if (template) yield { ...template, project: { ...template.project, package: `package-${n}` } };
  }
}

let serial = 0;
function render({ project: projectData, files, versions: versionList }: RenderInput): void {
  serial += 1;
  const name = projectData.package;
  replaceFile(join(folder, 'simple', name, `${files.at(-1)?.filename ?? ''}.metadata`), METADATA);
  index.write({ name, status: projectData.status, versions: versionList, files }, serial, serial - packages);
  site.writeProject(projectData, serial);
}

/** Returns the existing files of a package: [path, contents]. */
function pageContents(name: string): (readonly [string, Buffer])[] {
  const paths = [
    ...['index.html', 'index.v1_json'].map((file) => join(folder, 'simple', name, file)),
    ...['index.html', 'json/index.json'].map((file) => join(folder, 'project', name, file)),
  ];
  const metadata = readdirSync(join(folder, 'simple', name)).find((file) => file.endsWith('.metadata')) ?? '';
  return [...paths, join(folder, 'simple', name, metadata)].map(
    (path) => [path, readFileSync(path)] as const,
  );
}

/** The files that the `write` mode writes, by package, as the writers have rendered them. */
const stored = new Map<string, (readonly [string, Buffer])[]>();

/** Writes all packages once. Returns the time that it took, seconds. */
function runRound(round: number): number {
  const startedAt = performance.now();
  for (const input of renderInputs(round)) {
    if (mode === 'render') render(input);
    else {
      for (const [path, bytes] of stored.get(input.project.package) ?? []) {
        writeFileSync(`${path}.tmp`, bytes);
        renameSync(`${path}.tmp`, path);
      }
    }
  }
  return (performance.now() - startedAt) / 1000;
}

if (mode === 'write') {
  // In both modes the folders exist before the first round.
  for (const input of renderInputs(0)) {
    render(input);
    const pageFiles = pageContents(input.project.package);
    stored.set(input.project.package, pageFiles);
    for (const [path] of pageFiles) rmSync(path);
  }
} else {
  for (const { project: projectData } of renderInputs(0))
    for (const path of [join('simple', projectData.package), join('project', projectData.package, 'json')])
      mkdirSync(join(folder, path), { recursive: true });
}

process.once('disconnect', () => process.exit());
process.on('message', ({ round }: { round: number }) => {
  const seconds = runRound(round);
  const pageFiles = pageContents('package-0');
  const kb = pageFiles.reduce((total, [path]) => total + statSync(path).size, 0) / 1000;
  process.send?.({ rate: packages / seconds, files: pageFiles.length, kb });
});
process.send?.({ ready: true });
