import { mkdtempSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import t from 'tap';
import { startWebServer } from '../../src/farm/web-server.js';
import type { IndexedFile, Project } from '../../src/protocols/oracle.js';
import { pipLine } from '../../src/site/pages.js';
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

function site() {
  const output = mkdtempSync(join(tmpdir(), 'piw-site-'));
  const its = new Site({ outputPath: output, publicUrl: 'http://127.0.0.1:1/' });
  its.setUp();
  const index = new SimpleIndex(output);
  return { output, site: its, index, read: (path: string) => readFileSync(join(output, path), 'utf8') };
}

void t.test('the simple index says of each file what a client needs', (t) => {
  const { index, read } = site();
  index.write({ name: 'demo', status: 'active', versions: ['1.0+local'], files: [file] });
  index.writeRoot(['demo']);
  const json = JSON.parse(read('simple/demo/index.v1_json')) as Record<string, unknown>;
  t.match(json, {
    meta: { 'api-version': '1.4' },
    name: 'demo',
    versions: ['1.0+local'],
    'project-status': { status: 'active' },
  });
  t.match((json['files'] as unknown[])[0], {
    filename: file.filename,
    hashes: { sha256: file.sha256 },
    size: 1234,
    'upload-time': '2026-01-02T03:04:05.678000Z',
    yanked: EVIL,
    'core-metadata': { sha256: file.metadata_sha256 },
  });
  t.notMatch(read('simple/demo/index.v1_json'), /dist-info-metadata/);
  const html = read('simple/demo/index.html');
  t.match(html, `href="demo-1.0%2Blocal-py3-none-any.whl#sha256=${file.sha256}"`);
  t.match(html, `data-dist-info-metadata="sha256=${file.metadata_sha256}"`);
  t.notMatch(html, /<script>/);
  t.same(JSON.parse(read('simple/index.v1_json')), {
    meta: { 'api-version': '1.4' },
    projects: [{ name: 'demo' }],
  });
  t.end();
});

void t.test('markup in every field of a project stays text', (t) => {
  const { site: its, read } = site();
  its.writeProject(project);
  const html = read('project/demo/index.html');
  t.notMatch(html, /<script>/);
  t.match(html, '&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;&#39;');
  t.match(html, /failed \(compiler\)/);
  t.match(html, 'logs/0000/000012.txt');
  t.end();
});

void t.test('nothing temporary stays, and what has not changed is not written again', (t) => {
  const { site: its, output } = site();
  writeFileSync(join(output, '.tmp-left-over'), 'x');
  its.writeLog(12, 'a log');
  t.equal(gunzipSync(readFileSync(join(output, 'logs/0000/000012.txt.gz'))).toString(), 'a log');
  its.setUp();
  t.notOk(readdirSync(output).some((name) => name.startsWith('.tmp-')));
  t.end();
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

void t.test(
  'the web server negotiates, redirects, gives ranges and hides what is not for readers',
  async (t) => {
    const { site: its, index, output } = site();
    index.write({ name: 'demo', status: 'active', versions: [], files: [file] });
    index.writeRoot(['demo']);
    its.writeLog(12, 'a log');
    writeFileSync(join(output, 'simple/demo/demo-1.0-py3-none-any.whl'), '0123456789');
    writeFileSync(join(output, '.secret'), 'x');
    const server = await startWebServer({ root: output, host: '127.0.0.1', port: 0 });
    t.teardown(() => server.close());
    const get = (path: string, headers: Record<string, string> = {}, method = 'GET') =>
      new Promise<{ status: number; headers: Record<string, string | string[] | undefined>; body: string }>(
        (resolve, reject) => {
          // Not fetch: it would tidy the path up before it leaves.
          const asked = request(
            { port: server.port, host: '127.0.0.1', path, headers, method },
            (response) => {
              let body = '';
              response.on('data', (data: Buffer) => (body += data.toString('latin1')));
              response.on('end', () => {
                resolve({ status: response.statusCode ?? 0, headers: response.headers, body });
              });
            },
          );
          asked.on('error', reject);
          asked.end();
        },
      );
    const json = 'application/vnd.pypi.simple.v1+json';
    const negotiated = await get('/simple/demo/', { accept: `${json}, text/html;q=0.1` });
    t.match(negotiated, { status: 200, headers: { 'content-type': json, vary: 'Accept' } });
    t.match((await get('/simple/demo/')).headers, { 'content-type': /^text\/html/ });
    t.equal((await get('/simple/demo/', { accept: 'image/png' })).status, 406);
    t.match(await get('/simple/De_mo'), { status: 301, headers: { location: '/simple/de-mo/' } });
    t.match(await get('/p/Demo'), { status: 301, headers: { location: '/project/demo/' } });
    t.equal(
      (await get('/simple/demo/', { 'if-none-match': String((await get('/simple/demo/')).headers['etag']) }))
        .status,
      304,
    );
    t.match(await get('/simple/demo/demo-1.0-py3-none-any.whl', { range: 'bytes=2-4' }), {
      status: 206,
      body: '234',
      headers: { 'content-range': 'bytes 2-4/10' },
    });
    t.match(await get('/simple/demo/demo-1.0-py3-none-any.whl', { range: 'bytes=-3' }), {
      status: 206,
      body: '789',
    });
    t.equal((await get('/simple/demo/demo-1.0-py3-none-any.whl', { range: 'bytes=20-' })).status, 416);
    t.match(await get('/simple/demo/demo-1.0-py3-none-any.whl', {}, 'HEAD'), {
      status: 200,
      body: '',
      headers: { 'content-length': '10', 'accept-ranges': 'bytes' },
    });
    t.equal((await get('/', {}, 'POST')).status, 405);
    t.match(await get('/logs/0000/000012.txt'), { status: 200, body: 'a log' });
    for (const path of [
      '/.secret',
      '/.transfers/x',
      '/../etc/passwd',
      '/%2e%2e/etc/passwd',
      '/simple/..%2f..%2f.secret',
      '/simple/%00',
      '/a\\b',
      '/%ff',
      '/nothing',
    ])
      t.equal((await get(path)).status, 404, path);
    await t.rejects(startWebServer({ root: output, host: '127.0.0.1', port: server.port }), {
      code: 'PIW_PORT_IN_USE',
    });
  },
);
