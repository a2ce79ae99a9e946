import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { classifyFile } from '../../src/pypi/files.js';
import type { IndexProject, IndexRoot } from '../../src/pypi/index-page.js';
import { SimpleIndexClient } from '../../src/pypi/index-reader.js';
import { newestBuildable, groupByRelease } from '../../src/pypi/releases.js';
import { selectReleases, parseWatchEntries } from '../../src/pypi/watch.js';
import { normalise } from '../../src/wheels/names.js';

type IndexHandler = (request: IncomingMessage, response: ServerResponse) => void;

async function serveIndex(t: Test, answer: IndexHandler, maxBytes = 100_000): Promise<SimpleIndexClient> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => new Promise((resolve) => server.close(resolve)));
  const { port } = server.address() as AddressInfo;
  return new SimpleIndexClient(`http://me:hush@127.0.0.1:${port}/simple`, {
    timeoutMs: 10_000,
    maxBytes,
  });
}

const respondWith =
  (type: string, body: string, status = 200): IndexHandler =>
  (_, response) => {
    response.writeHead(status, { 'content-type': type, etag: '"1"' }).end(body);
  };

const HASH = 'ab'.repeat(32);
const HTML = `<!DOCTYPE html><html><head><title>Links for a-b</title></head><body>
<a href="../../f/a_b-1.0.tar.gz#sha256=${HASH}" data-requires-python="&gt;=3.8" data-upload-time="2024-01-02T03:04:05Z">a_b-1.0.tar.gz</a>
<a href="/f/a_b-1.0-py3-none-any.whl" data-yanked="">a_b-1.0-py3-none-any.whl</a>
<a href="javascript:alert(1)">x.tar.gz</a></body></html>`;
const JSON_TYPE = 'application/vnd.pypi.simple.v1+json';

void t.test('HTML is understood whatever the request accepts', async (t) => {
  const project = (await (
    await serveIndex(t, respondWith('text/html', HTML))
  ).project('A.B')) as IndexProject;
  t.equal(project.files.length, 2);
  t.match(project.files[0], {
    kind: 'sdist',
    version: '1.0',
    sha256: HASH,
    requiresPython: '>=3.8',
    yanked: null,
  });
  t.match(project.files[0]?.url, /^http:\/\/127\.0\.0\.1:\d+\/f\/a_b-1\.0\.tar\.gz$/);
  t.match(project.files[1], { kind: 'wheel', version: '1.0', yanked: '' });
});

void t.test('JSON is understood, with the reasons for yanks', async (t) => {
  const body = {
    meta: { 'api-version': '1.4' },
    name: 'a-b',
    files: [
      {
        filename: 'a-b-2.0.zip',
        url: 'a-b-2.0.zip',
        hashes: { sha256: HASH },
        size: 5,
        yanked: 'broken',
        'upload-time': '2024-01-02T03:04:05.000000Z',
      },
    ],
    'project-status': { status: 'archived' },
  };
  const project = (await (
    await serveIndex(t, respondWith(JSON_TYPE, JSON.stringify(body)))
  ).project('a-b')) as IndexProject;
  t.match(project, {
    status: 'archived',
    files: [{ kind: 'sdist', version: '2.0', yanked: 'broken', size: 5 }],
  });
});

void t.test('an invalid page is an error and never an empty project', async (t) => {
  const badPages: [string, string][] = [
    ['text/html', '<html><body><h1>We will be right back</h1><a href="/status">status</a></body></html>'],
    ['text/html', ''],
    ['text/plain', 'hello'],
    [JSON_TYPE, '{"files": '],
    [JSON_TYPE, '{"files": []}'],
    [JSON_TYPE, '{"meta": {"api-version": "2.0"}, "name": "a-b", "files": []}'],
    [JSON_TYPE, '{"meta": {"api-version": "1.0"}, "name": "other", "files": []}'],
    ['text/html', HTML + 'x'.repeat(100_001)],
  ];
  for (const [type, body] of badPages) {
    const error: unknown = await (
      await serveIndex(t, respondWith(type, body))
    )
      .project('a-b')
      .catch((e: unknown) => e);
    t.match(error, { code: 'PIW_INDEX' }, body.slice(0, 40));
    t.notMatch(String(error), /hush/, 'the message has no password');
  }
});

void t.test('a missing project is undefined, and an unchanged page is notModified', async (t) => {
  t.equal(await (await serveIndex(t, respondWith('text/html', 'no', 404))).project('a-b'), undefined);
  const unchanged = await serveIndex(t, (request, response) => {
    response.writeHead(request.headers['if-none-match'] === '"1"' ? 304 : 500).end();
  });
  t.same(await unchanged.project('a-b', { etag: '"1"' }), { notModified: true });
});

void t.test('a request that fails temporarily is retried; it has a user agent and credentials', async (t) => {
  let requestCount = 0;
  let agent = '';
  let authorization = '';
  const reader = await serveIndex(t, (request, response) => {
    requestCount += 1;
    agent = request.headers['user-agent'] ?? '';
    authorization = request.headers.authorization ?? '';
    if (requestCount === 1) response.writeHead(503).end();
    else respondWith('text/html', HTML)(request, response);
  });
  t.ok(await reader.project('a-b'));
  t.equal(requestCount, 2);
  t.match(agent, /^piw\//);
  t.equal(authorization, `Basic ${Buffer.from('me:hush').toString('base64')}`);
});

void t.test('files are classified by their names', (t) => {
  const name = normalise('zope.interface');
  t.same(classifyFile('zope.interface-5.0.tar.gz', name), { kind: 'sdist', version: '5.0' });
  t.same(classifyFile('zope_interface-5.0.post1.tar.gz', name), { kind: 'sdist', version: '5.0.post1' });
  t.same(classifyFile('zope-interface-5.0.zip', name), { kind: 'sdist', version: '5.0' });
  t.same(classifyFile('zope.interface-5.0-py2.7.egg', name), { kind: 'other', version: null });
  t.same(classifyFile('other-5.0.tar.gz', name), { kind: 'other', version: null });
  t.same(classifyFile('zope.interface-5.0.linux-x86_64.tar.gz', name), { kind: 'other', version: null });
  t.end();
});

void t.test('the newest release is the one that pip would choose, and following a name begins there', (t) => {
  const file = (version: string, yanked: string | null = null, kind: 'sdist' | 'wheel' = 'sdist') => ({
    filename: `a-${version}.tar.gz`,
    url: 'http://x/',
    sha256: null,
    size: null,
    uploadTime: null,
    requiresPython: null,
    yanked,
    kind,
    version,
  });
  const files = [
    file('1.10'),
    file('1.9'),
    file('2.0rc1'),
    file('1.11', 'bad'),
    file('1.12', null, 'wheel'),
    file('1.2'),
  ];
  const available = groupByRelease({
    name: normalise('a'),
    files,
    status: 'active',
    etag: undefined,
    serial: 0,
  });
  t.equal(newestBuildable(available)?.version, '1.10');
  const [watched] = parseWatchEntries(['a', 'a==1.2', 'A==7']);
  t.ok(watched);
  if (!watched) return;
  const { wanted, missing } = selectReleases(watched, available, 'newest');
  t.same(
    wanted.map(({ release, requested }) => [release.version, requested]),
    [
      ['1.2', true],
      ['1.10', true],
      ['1.11', false],
      ['2.0rc1', false],
    ],
  );
  t.same(missing, ['7']);
  t.end();
});

void t.test(
  'a page with an invalid escape, an overlong yank reason or an overlong requires-python is read',
  async (t) => {
    const long = 'x'.repeat(5000);
    const html = `<!DOCTYPE html><html><head><meta name="pypi:repository-version" content="1.0"></head><body>
<a href="a-%zz.tar.gz"><img></a>
<a href="a-b-1.0.tar.gz" data-yanked="${long}">a-b-1.0.tar.gz</a>
<a href="a-b-2.0.tar.gz" data-requires-python="${long}">a-b-2.0.tar.gz</a></body></html>`;
    const files = ['1.0', '2.0'].map((version) => ({
      filename: `a-b-${version}.tar.gz`,
      url: `a-b-${version}.tar.gz`,
      hashes: {},
      ...(version === '1.0' ? { yanked: long } : { 'requires-python': long }),
    }));
    const json = JSON.stringify({ meta: { 'api-version': '1.0' }, name: 'a-b', files });
    for (const [type, body] of [
      ['text/html', html],
      [JSON_TYPE, json],
    ] as const) {
      const project = (await (await serveIndex(t, respondWith(type, body))).project('a-b')) as IndexProject;
      t.same(
        project.files.map(({ version, yanked }) => [version, yanked?.length]),
        type === 'text/html'
          ? [
              [null, undefined],
              ['1.0', 1024],
            ]
          : [['1.0', 1024]],
        `${type}: the file is still yanked, and the one without a usable requires-python is left out`,
      );
    }
  },
);

void t.test('reading the root of a large index does not block the event loop', async (t) => {
  const names = Array.from({ length: 300_000 }, (_, n) => `package-${n}`);
  const html = `<!DOCTYPE html><html><body>${names.map((name) => `<a href="/simple/${name}/">${name}</a>`).join('\n')}</body></html>`;
  const json = JSON.stringify({ meta: { 'api-version': '1.0' }, projects: names.map((name) => ({ name })) });
  for (const [type, body, minTicks] of [
    ['text/html', html, 50],
    [JSON_TYPE, json, 10],
  ] as const) {
    const reader = await serveIndex(t, respondWith(type, body), 100_000_000);
    let ticks = 0;
    const timer = setInterval(() => (ticks += 1), 0);
    const root = (await reader.root()) as IndexRoot;
    clearInterval(timer);
    t.equal(root.projects.size, names.length);
    t.ok(ticks > minTicks, `${ticks} ticks of a timer`);
  }
});
