import {
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import t from 'tap';
import { deferred } from '../../../src/concurrency/deferred.js';
import type { IndexedFile } from '../../../src/model/project.js';
import { compressPages } from '../../../src/site/compress-pages.js';
import { SimpleIndexWriter } from '../../../src/site/simple/index-writer.js';
import { HEAD_BYTES } from '../../../src/site/simple/serial.js';
import { simpleSerialOf } from '../../../src/site/simple/render.js';

const MARKUP = `<script>alert("x")</script>&'`;
const file: IndexedFile = {
  filename: 'demo-1.0+local-py3-none-any.whl',
  version: '1.0+local',
  filesize: 1234,
  sha256: 'ab'.repeat(32),
  metadata_sha256: 'cd'.repeat(32),
  requires_python: `>=3.8 ${MARKUP}`,
  yanked: MARKUP,
  uploaded: Date.UTC(2026, 0, 2, 3, 4, 5, 678),
};
const demo = { name: 'demo', status: 'active', versions: ['1.0+local'], files: [file] } as const;

function setUpIndex() {
  const output = mkdtempSync(join(tmpdir(), 'piw-simple-'));
  const index = new SimpleIndexWriter(output);
  index.setUp();
  return { output, index, read: (path: string) => readFileSync(join(output, path), 'utf8') };
}

async function* rootPages(...pages: (readonly [string, number])[][]) {
  for (const page of pages) yield await Promise.resolve(page);
}

void t.test('the simple index has everything that clients need about each file', (t) => {
  const { index, read } = setUpIndex();
  index.write(demo, 7);
  const json = JSON.parse(read('simple/demo/index.v1_json')) as Record<string, unknown>;
  t.same(json, {
    meta: { 'api-version': '1.4', '_last-serial': 7 },
    name: 'demo',
    'project-status': { status: 'active' },
    versions: ['1.0+local'],
    files: [
      {
        filename: file.filename,
        url: 'demo-1.0%2Blocal-py3-none-any.whl',
        hashes: { sha256: file.sha256 },
        size: 1234,
        'upload-time': '2026-01-02T03:04:05.678000Z',
        'requires-python': `>=3.8 ${MARKUP}`,
        yanked: MARKUP,
        'core-metadata': { sha256: file.metadata_sha256 },
        provenance: null,
      },
    ],
  });
  const html = read('simple/demo/index.html');
  t.match(html, `href="demo-1.0%2Blocal-py3-none-any.whl#sha256=${file.sha256}"`);
  t.match(html, ` data-core-metadata="sha256=${file.metadata_sha256}">`);
  t.notMatch(html, 'dist-info-metadata', 'with it, pip 22.3 to 23.0.1 would not find the file');
  t.notMatch(html, /<script>/);
  t.equal(read('simple/demo/index.v1_html'), html);
  t.end();
});

void t.test("PyPI's JSON has the METADATA of the newest release", (t) => {
  const { index, read } = setUpIndex();
  const metadata = {
    summary: 'A demonstration.',
    license: 'MIT',
    requires: ['six>=1.9'],
    links: [
      ['Homepage', 'https://demo.example/'],
      ['Source', 'https://git.example/demo'],
    ] as [string, string][],
  };
  index.write({ ...demo, metadata }, 7);
  t.match(JSON.parse(read('pypi/demo/json')), {
    info: {
      summary: 'A demonstration.',
      license: 'MIT',
      requires_dist: ['six>=1.9'],
      home_page: 'https://demo.example/',
      project_urls: { Homepage: 'https://demo.example/', Source: 'https://git.example/demo' },
    },
  });
  index.write({ ...demo, metadata: null }, 8);
  t.match(JSON.parse(read('pypi/demo/json')), {
    info: { summary: null, license: null, requires_dist: null, home_page: null, project_urls: null },
  });
  t.end();
});

void t.test("PyPI's JSON has the files of the simple index, for mirrors", async (t) => {
  const { output, index, read } = setUpIndex();
  const final = { ...file, filename: 'demo-1.0-py3-none-any.whl', version: '1.0', yanked: null };
  const files = [final, { ...final, filename: 'demo-2.0a1-py3-none-any.whl', version: '2.0a1' }, file];
  index.write({ ...demo, versions: ['1.0', '2.0a1', '1.0+local'], files }, 7);
  const json = JSON.parse(read('pypi/demo/json')) as Record<string, unknown>;
  t.match(json, {
    last_serial: 7,
    info: { name: 'demo', version: '1.0', yanked: false, yanked_reason: null },
    urls: [{ filename: 'demo-1.0-py3-none-any.whl' }],
    releases: { '1.0': [{ yanked: false }], '2.0a1': [{}], '1.0+local': [{ yanked_reason: MARKUP }] },
  });
  t.same((json['releases'] as Record<string, unknown>)['1.0+local'], [
    {
      comment_text: '',
      digests: { sha256: file.sha256 },
      downloads: -1,
      filename: file.filename,
      has_sig: false,
      packagetype: 'bdist_wheel',
      python_version: 'py3',
      requires_python: `>=3.8 ${MARKUP}`,
      size: 1234,
      upload_time: '2026-01-02T03:04:05',
      upload_time_iso_8601: '2026-01-02T03:04:05.678000Z',
      url: '/packages/demo/demo-1.0%2Blocal-py3-none-any.whl',
      yanked: true,
      yanked_reason: MARKUP,
    },
  ]);
  const targetOf = (name: string) => readlinkSync(join(output, name));
  t.equal(targetOf('packages'), 'simple', 'the folder that the URLs lead to');
  t.equal(targetOf('pypi/demo/json'), '7.json', 'the serial, for servers that send it in a header');
  const publicIndex = new SimpleIndexWriter(output, 'https://farm.example');
  publicIndex.write(demo, 8);
  publicIndex.write(demo, 9, 8);
  t.match(read('pypi/demo/json'), '"url":"https://farm.example/packages/demo/demo-1.0%2Blocal');
  t.match(read('pypi/demo/json'), '{"last_serial":8,', 'unchanged content keeps its serial');
  t.same(readdirSync(join(output, 'pypi/demo')).sort(), ['7.json', '8.json', 'json']);
  await compressPages(output, 'demo');
  t.same(
    readdirSync(join(output, 'pypi/demo')).sort(),
    ['8.json', 'json'],
    'the previous page is removed later',
  );
  t.ok(publicIndex.remove('demo', 9));
  t.notOk(existsSync(join(output, 'pypi/demo')));
});

void t.test('the root lists projects page by page, and no serial above its own', async (t) => {
  const { index, read } = setUpIndex();
  await index.writeRoot(rootPages([['a', 3]], [], [['b', 9]]), 8);
  t.same(JSON.parse(read('simple/index.v1_json')), {
    meta: { 'api-version': '1.4', '_last-serial': 8 },
    projects: [
      { name: 'a', '_last-serial': 3 },
      { name: 'b', '_last-serial': 8 },
    ],
  });
  t.match(read('simple/index.html'), '<a href="a/">a</a><br>\n<a href="b/">b</a><br>\n</body>');
  t.equal(read('simple/index.v1_html'), read('simple/index.html'));
  await index.writeRoot(rootPages(), 9);
  t.same(JSON.parse(read('simple/index.v1_json')), {
    meta: { 'api-version': '1.4', '_last-serial': 9 },
    projects: [],
  });
  t.end();
});

void t.test('a root that fails halfway leaves the old one in place, and no temporary files', async (t) => {
  const { output, index, read } = setUpIndex();
  await index.writeRoot(rootPages([['a', 3]]), 3);
  const before = read('simple/index.v1_json');
  const broken = async function* () {
    yield await Promise.resolve([['b', 4]] as const);
    throw new Error('the database is away');
  };
  await t.rejects(index.writeRoot(broken(), 4), /away/);
  t.equal(read('simple/index.v1_json'), before);
  t.same(readdirSync(join(output, 'simple')).sort(), ['index.html', 'index.v1_html', 'index.v1_json']);
});

void t.test('a root that took too long does not replace a later one', async (t) => {
  const { output, index, read } = setUpIndex();
  const suspended = deferred();
  const slow = async function* () {
    yield await Promise.resolve([['a', 3]] as const);
    await suspended.promise;
  };
  const early = index.writeRoot(slow(), 3);
  await index.writeRoot(rootPages([['a', 3]], [['b', 4]]), 4);
  const [json, html] = [read('simple/index.v1_json'), read('simple/index.html')];
  suspended.resolve();
  await early;
  t.equal(read('simple/index.v1_json'), json);
  t.equal(read('simple/index.html'), html);
  t.same(readdirSync(join(output, 'simple')).sort(), ['index.html', 'index.v1_html', 'index.v1_json']);
  await index.writeRoot(rootPages([['c', 4]]), 4);
  t.match(read('simple/index.html'), 'c/', 'a root with the same serial is written');
});

void t.test('a writer with a lower serial writes and removes nothing', (t) => {
  const { index, read } = setUpIndex();
  t.equal(index.write(demo, 7), 7);
  t.equal(index.write({ ...demo, files: [] }, 6), 7, 'an older state');
  t.match(read('simple/demo/index.v1_json'), /"_last-serial":7.*demo-1\.0/);
  t.match(read('simple/demo/index.html'), 'demo-1.0');
  t.notOk(index.remove('demo', 6));
  t.ok(index.has('demo'));
  t.ok(index.remove('demo', 8));
  t.notOk(index.has('demo'));
  t.end();
});

void t.test(
  'an unchanged page keeps its serial and its modification time, if the root has that serial',
  (t) => {
    const { output, index } = setUpIndex();
    const page = join(output, 'simple/demo/index.html');
    index.write(demo, 7);
    utimesSync(page, 1000, 1000);
    t.equal(index.write(demo, 8, 7), 7);
    t.equal(statSync(page).mtimeMs, 1e6);
    t.equal(index.write(demo, 9, 3), 9, 'mirrors have to fetch it again');
    t.equal(index.write({ ...demo, status: 'archived' }, 10, 9), 10);
    t.not(statSync(page).mtimeMs, 1e6);
    t.end();
  },
);

void t.test('a page that was only partly written is repaired by the next write', (t) => {
  const { output, index, read } = setUpIndex();
  index.write(demo, 7);
  for (const name of ['index.html', 'index.v1_html']) {
    rmSync(join(output, 'simple/demo', name));
    writeFileSync(join(output, 'simple/demo', name), 'of another state');
  }
  t.equal(index.write(demo, 8, 7), 7);
  t.match(read('simple/demo/index.html'), 'demo-1.0');
  t.equal(read('simple/demo/index.v1_html'), read('simple/demo/index.html'));
  t.end();
});

void t.test('compressPages() compresses a page, and a new page removes the compressed form', async (t) => {
  const { output, index, read } = setUpIndex();
  const files = Array.from({ length: 20 }, (_, n) => ({
    ...file,
    filename: `demo-1.${n}-py3-none-any.whl`,
  }));
  index.write({ ...demo, files }, 7);
  const small = { ...demo, name: 'small' };
  index.write(small, 8);
  for (const name of ['demo', 'small', 'absent']) await compressPages(output, name);
  const projectFolder = join(output, 'simple/demo');
  for (const name of ['index.html', 'index.v1_json']) {
    t.equal(
      gunzipSync(readFileSync(join(projectFolder, `${name}.gz`))).toString(),
      read(`simple/demo/${name}`),
      name,
    );
    const modifiedAt = (file: string) => Math.floor(statSync(join(projectFolder, file)).mtimeMs);
    t.equal(modifiedAt(`${name}.gz`), modifiedAt(name), 'servers send the same Last-Modified for both');
  }
  t.equal(readdirSync(projectFolder).length, 5, 'no temporary files are left');
  t.notOk(existsSync(join(output, 'simple/small/index.html.gz')), 'small pages are not compressed');
  index.write(demo, 9);
  t.same(readdirSync(projectFolder).sort(), ['index.html', 'index.v1_html', 'index.v1_json']);
  await compressPages(output, 'demo');
  index.remove('demo', 10);
  t.notOk(existsSync(projectFolder));
});

void t.test('the compressed form of a page that was replaced in the meantime is dropped', async (t) => {
  const { output, index } = setUpIndex();
  const projectWithFiles = (count: number) => ({
    ...demo,
    files: Array.from({ length: count }, (_, n) => ({
      ...file,
      filename: `demo-1.${n}-py3-none-any.whl`,
    })),
  });
  index.write(projectWithFiles(2000), 7);
  const packing = compressPages(output, 'demo');
  index.write(projectWithFiles(1999), 8);
  await packing;
  const projectFolder = join(output, 'simple/demo');
  for (const name of readdirSync(projectFolder).filter((entry) => entry.endsWith('.gz')))
    t.same(
      gunzipSync(readFileSync(join(projectFolder, name))),
      readFileSync(join(projectFolder, name.slice(0, -3))),
      name,
    );
  t.notOk(existsSync(join(projectFolder, 'index.html.gz')));
  t.same(
    readdirSync(projectFolder).filter((entry) => entry.startsWith('.')),
    [],
  );
});

void t.test('the serial is read from the first bytes, and only of pages of piw', (t) => {
  t.equal(simpleSerialOf('{"meta":{"api-version":"1.4","_last-serial":12},"name"'), 12);
  t.equal(
    simpleSerialOf(
      `{"meta":{"api-version":"1.4","_last-serial":${Number.MAX_SAFE_INTEGER}}`.slice(0, HEAD_BYTES),
    ),
    Number.MAX_SAFE_INTEGER,
  );
  for (const other of [undefined, '', '{"meta":{"api-version":"1.4"},"name":"six"', '<html>'])
    t.equal(simpleSerialOf(other), undefined);
  t.end();
});
