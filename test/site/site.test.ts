import { mkdtempSync, readFileSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import t from 'tap';
import type { IndexedFile, Project } from '../../src/protocols/oracle.js';
import { pipLine } from '../../src/site/install.js';
import type { Build } from '../../src/site/log.js';
import { SimpleIndex } from '../../src/site/simple-index.js';
import { Site } from '../../src/site/site.js';

const EVIL = `<script>alert("x")</script>&'`;
const file: IndexedFile = {
  filename: 'demo-1.0+local-py3-none-any.whl',
  version: '1.0+local',
  filesize: 1234,
  sha256: 'ab'.repeat(32),
  metadata_sha256: 'cd'.repeat(32),
  requires_python: `>=3.8 ${EVIL}`,
  yanked: EVIL,
  uploaded: Date.UTC(2026, 0, 2, 3, 4, 5, 678),
};
const project: Project = {
  package: 'demo',
  description: EVIL,
  status: 'active',
  skip: EVIL,
  downloads: 5,
  downloads_last_month: 4,
  versions: [
    {
      version: '1.0+local',
      released: 1.7e12,
      skip: EVIL,
      yanked: EVIL,
      has_sdist: true,
      requires_python: EVIL,
      targets: [
        {
          abi: 'cp311',
          platform: 'linux_x86_64',
          state: 'failed',
          build_id: 12,
          failure_class: 'compiler',
          held_until: null,
          filename: null,
        },
      ],
    },
  ],
  files: [
    {
      ...file,
      build_id: 12,
      serves: [['cp311', 'linux_x86_64']],
      dependencies: { apt: ['libffi8'] },
      downloads: 3,
    },
  ],
};

const sampleLog: Build = {
  build_id: 12,
  package: 'demo',
  version: '1.0',
  abi: 'cp311',
  platform: 'linux_x86_64',
  status: true,
  failure_class: null,
  built: 0,
  duration_s: 1,
  output: 'a log',
};

function site() {
  const output = mkdtempSync(join(tmpdir(), 'piw-site-'));
  const its = new Site({ outputPath: output, publicUrl: 'http://127.0.0.1:1/' });
  its.setUp();
  const index = new SimpleIndex(output);
  return { output, site: its, index, read: (path: string) => readFileSync(join(output, path), 'utf8') };
}

void t.test('markup in every field of a project stays text', (t) => {
  const { site: its, read } = site();
  its.writeProject(project, 7);
  const html = read('project/demo/index.html');
  t.notMatch(html, /<script>/);
  t.match(html, '&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;&#39;');
  t.match(html, 'logs/0000/000012.html#why');
  t.end();
});

void t.test('nothing temporary stays', async (t) => {
  const { site: its, output } = site();
  writeFileSync(join(output, '.tmp-left-over'), 'x');
  utimesSync(join(output, '.tmp-left-over'), 1000, 1000);
  await its.writeLog(sampleLog);
  t.equal(gunzipSync(readFileSync(join(output, 'logs/0000/000012.txt.gz'))).toString(), 'a log');
  its.setUp();
  t.notOk(readdirSync(output).some((name) => name.startsWith('.tmp-')));
});

void t.test('the pip line trusts a plain http host, but not this machine, which needs no trust', (t) => {
  t.equal(
    pipLine('http://127.0.0.1:8080/simple/', 'six'),
    'pip install --index-url http://127.0.0.1:8080/simple/ six',
  );
  t.match(pipLine('http://farm.lan/simple/', 'six'), '--trusted-host farm.lan');
  t.notMatch(pipLine('https://farm.example/simple/', 'six'), /trusted/);
  t.end();
});
