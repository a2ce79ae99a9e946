import { mkdtempSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Project, ProjectFile } from '../../src/model/project.js';
import { homePage } from '../../src/site/pages/home.js';
import { Site } from '../../src/site/site.js';
import { PLATFORM, sampleFront, sampleProject, sampleStatistics } from './sample-site.js';
import { memoryFolder } from '../helpers/memory-folder.js';

const now = Date.UTC(2026, 10, 30);

/** Writes a project, and returns its page (with collapsed white space) and its JSON. */
function writeAndRead(project: Project): { readonly page: string; readonly json: Record<string, unknown> } {
  const output = mkdtempSync(join(memoryFolder(), 'piw-project-'));
  const site = new Site({ outputPath: output, publicUrl: null });
  site.setUp();
  site.writeProject(project, 1);
  const read = (path: string) => readFileSync(join(output, 'project', project.package, path), 'utf8');
  return {
    page: read('index.html').replace(/\s+/g, ' '),
    json: JSON.parse(read('json/index.json')) as Record<string, unknown>,
  };
}

const [sample, file] = ((): [Project, ProjectFile] => {
  const project = sampleProject('demo', 'A demonstration.', 1, now);
  const [first] = project.files;
  if (!first) throw new Error('the sample has no file');
  return [project, first];
})();

void t.test("the page and the JSON have the newest wheel's METADATA", (t) => {
  const { page, json } = writeAndRead({ ...sample, description: null });
  t.match(page, '<p class="lead">A demonstration.</p>');
  t.match(page, /licence<\/dt> <dd>BSD-3-Clause</);
  t.match(page, '<a href="https://demo.example/" rel="nofollow noopener">Homepage</a>');
  t.match(page, 'requires 10 packages</summary>', 'a long list is collapsed');
  t.match(page, '<code>typing-extensions&gt;=4</code>');
  t.match(json['metadata'], {
    version: file.version,
    summary: 'A demonstration.',
    license: 'BSD-3-Clause',
    links: [{ label: 'Homepage', url: 'https://demo.example/' }],
    requires_dist: ['typing-extensions>=4'],
  });
  t.end();
});

void t.test('each wheel shows its source, and when, where and with what it was built', (t) => {
  const remark = 'the extension demo._fast did not compile';
  const { page, json } = writeAndRead({ ...sample, files: [{ ...file, remark }] });
  t.match(page, /<summary>Built on \d{4}-\d\d-\d\d by pi4-attic in 59 min<\/summary>/);
  const [name, digest] = file.provenance?.sdist ?? ['', ''];
  t.match(page, `<dt>source</dt><dd>${name}<code class="hash">sha256:${digest}</code>`);
  t.match(page, '<dt>Python</dt><dd>CPython 3.11.2</dd><dt>pip</dt><dd>25.3</dd>');
  t.match(page, '<dd>Cython 3.1.4, meson-python 0.18.0</dd>');
  t.match(page, '<b class="badge building">remark</b>');
  t.match(page, 'The extension demo._fast did not compile.</p>');
  t.match(json, {
    versions: [
      {
        files: [
          {
            remark,
            imported: false,
            build: { seconds: 3541, slave: 'pi4-attic' },
            provenance: {
              source: { filename: name, sha256: digest },
              python: 'CPython 3.11.2',
              pip: '25.3',
              build_requirements: [{ name: 'Cython', version: '3.1.4' }],
            },
          },
        ],
      },
    ],
  });
  t.end();
});

void t.test('an imported wheel is shown as imported, and not as one that could not be built', (t) => {
  const filename = `demo-1.0-cp39-cp39-${PLATFORM}.whl`;
  const { page, json } = writeAndRead({
    ...sample,
    versions: sample.versions.map((version) => ({
      ...version,
      has_sdist: false,
      targets: version.targets.map((target, i) => ({
        ...target,
        ...(i === 0
          ? { state: 'built' as const, filename, build_id: 7 }
          : { state: 'none' as const, filename: null, build_id: null }),
      })),
    })),
    files: [{ ...file, filename, build_id: 7, slave: null, duration_s: 0, provenance: null }],
  });
  t.match(page, '<td class="built">imported</td>');
  t.match(page, /<div class="soft">Imported on \d{4}-\d\d-\d\d\.<\/div>/);
  t.notMatch(page, /no source|not built because|>built</i);
  t.notMatch(page, /0\.0 s/);
  t.match(json, { versions: [{ files: [{ imported: true, build: null, provenance: null }] }] });
  t.end();
});

void t.test('the home page groups the latest builds of a package', (t) => {
  const [build] = sampleFront(now).latest;
  if (!build) throw new Error('the sample has no build');
  const endedBuild = (version: string, abi: string, more = {}) => ({
    ...build,
    package: 'demo',
    version,
    abi,
    ...more,
  });
  const latest = [
    ...['cp313', 'cp311', 'cp39'].map((abi) => endedBuild('2.0', abi)),
    ...['1.9', '1.8'].map((version) => endedBuild(version, 'cp311')),
    endedBuild('2.0', 'cp314', { status: false }),
    endedBuild('1.0', 'cp39', { package: 'other', imported: true, duration_s: 0 }),
  ];
  const home = homePage(sampleStatistics(now), { ...sampleFront(now), latest }, null);
  const rows =
    /<ul class="rows">.*?<\/ul>/s
      .exec(home)?.[0]
      .replace(/\s+/g, ' ')
      .match(/<li>.*?<\/li>/g) ?? [];
  t.equal(rows.length, 3);
  t.match(rows[0], 'demo 2.0</a> <span class="soft">cp311, cp313, cp39 and 2 other versions<');
  t.match(rows[1], '>failed<');
  t.match(rows[2], '>imported<');
  t.notMatch(home, '0.0 s');
  t.end();
});
