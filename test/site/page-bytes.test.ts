import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Project } from '../../src/model/project.js';
import { SimpleIndexWriter } from '../../src/site/simple/index-writer.js';
import { Site } from '../../src/site/site.js';
import { sampleProject } from './sample-site.js';
import { memoryFolder } from '../helpers/memory-folder.js';

const PUBLIC_URL = 'https://farm.example/';
/** A text in which every kind of page has something to escape. */
const SPECIAL = `"a" <b>&amp; 'c'\\ \u00fc\u20ac\u{1f600}\u2028`;

/** Returns a project of 30 versions whose first three files have unusual texts in all of their fields. */
function unusualProject(): Project {
  const project = sampleProject('demo', SPECIAL, 30, Date.UTC(2026, 10, 30));
  const files = project.files.map((file, n) => {
    if (n > 2 || file.provenance === null) return file;
    const requirements: [string, string][] = [
      [SPECIAL, '1'],
      ['b', SPECIAL],
    ];
    return {
      ...file,
      filename: file.filename.replace('-', `+${SPECIAL.replaceAll('\\', '')}-`),
      requires_python: SPECIAL,
      yanked: SPECIAL,
      remark: SPECIAL,
      slave: SPECIAL,
      duration_s: 1234.5 * n,
      downloads: 12_345,
      dependencies: { apt: ['libffi8', 'libgfortran5'], '': ['libx.so.1'] },
      provenance: {
        sdist: n === 0 ? null : ([SPECIAL, 'ab'.repeat(32)] as [string, string]),
        requirements,
        python: SPECIAL,
        pip: SPECIAL,
        source_date_epoch: 1_700_000_000 + n,
      },
    };
  });
  const [first, ...rest] = project.versions;
  if (!first) throw new Error('the sample has no version');
  const versions = [{ ...first, skip: SPECIAL, yanked: SPECIAL, requires_python: SPECIAL }, ...rest];
  return { ...project, skip: SPECIAL, versions, files };
}

/** The SHA-256 of each page, abbreviated; of the project's page only the content, not what is on every page. */
const DIGESTS = {
  'simple/demo/index.html': 'f2b355578fa739f1',
  'simple/demo/index.v1_json': 'e5b19b7be94e42bc',
  'pypi/demo/json': '972c347305ee711f',
  'project/demo/index.html': '4474f14cb56bb526',
  'project/demo/json/index.json': 'a3639250d5444ec7',
};

// A change of these bytes makes every farm write all of its pages again, and every mirror fetch them again.
void t.test('the pages of a project have the same bytes as ever', (t) => {
  const output = mkdtempSync(join(memoryFolder(), 'piw-bytes-'));
  t.teardown(() => {
    rmSync(output, { recursive: true });
  });
  const index = new SimpleIndexWriter(output, PUBLIC_URL);
  const site = new Site({ outputPath: output, publicUrl: PUBLIC_URL });
  const project = unusualProject();
  const metadata = project.files.find(({ core_metadata: found }) => found !== null)?.core_metadata ?? null;
  const { package: name, status, files } = project;
  const versions = project.versions.map(({ version }) => version);
  index.setUp();
  site.setUp();
  index.write({ name, status, versions, files, metadata }, 7);
  site.writeProject(project, 7);
  const digests = Object.keys(DIGESTS).map((path) => {
    const page = readFileSync(join(output, path), 'utf8');
    const content = path.startsWith('project') ? page.replace(/^<!DOCTYPE.*?<h1>|<\/main>.*$/gs, '') : page;
    return [path, createHash('sha256').update(content).digest('hex').slice(0, 16)];
  });
  t.same(Object.fromEntries(digests), DIGESTS);
  t.end();
});
