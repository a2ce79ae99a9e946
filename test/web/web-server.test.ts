import { mkdirSync, mkdtempSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import t, { type Test } from 'tap';
import { startWebServer } from '../../src/web/web-server.js';
import type { IndexedFile } from '../../src/model/project.js';
import { compressPages } from '../../src/site/compress-pages.js';
import { SimpleIndexWriter } from '../../src/site/simple/index-writer.js';

const JSON_TYPE = 'application/vnd.pypi.simple.v1+json';
const HTML_TYPE = 'application/vnd.pypi.simple.v1+html';
const WHEEL = '/simple/demo/demo-1.0-py3-none-any.whl';
const files: IndexedFile[] = Array.from({ length: 10 }, (_, n) => ({
  filename: `demo-1.${n}-py3-none-any.whl`,
  version: `1.${n}`,
  filesize: 10,
  sha256: 'ab'.repeat(32),
  metadata_sha256: 'cd'.repeat(32),
  requires_python: null,
  yanked: null,
  uploaded: 1.7e12,
}));

interface RawAnswer {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly body: Buffer;
  readonly text: string;
}

/** Starts a server on a site with one project. `get` sends the path as it is; fetch would normalise it. */
async function startServer(t: Test) {
  const output = mkdtempSync(join(tmpdir(), 'piw-web-'));
  const index = new SimpleIndexWriter(output);
  index.setUp();
  const write = (serial: number) =>
    index.write({ name: 'demo', status: 'active', versions: files.map((f) => f.version), files }, serial);
  write(7);
  await index.writeRoot(
    (async function* () {
      yield await Promise.resolve([['demo', 7]] as const);
    })(),
    9,
  );
  writeFileSync(join(output, WHEEL), '0123456789');
  const server = await startWebServer({ root: output, host: '127.0.0.1', port: 0 });
  t.teardown(() => server.close());
  const get = (path: string, headers: Record<string, string> = {}, method = 'GET') =>
    new Promise<RawAnswer>((resolve, reject) => {
      const clientRequest = request(
        { port: server.port, host: '127.0.0.1', path, headers, method },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('end', () => {
            const body = Buffer.concat(chunks);
            resolve({
              status: response.statusCode ?? 0,
              headers: response.headers,
              body,
              text: body.toString('latin1'),
            });
          });
          response.on('error', reject);
        },
      );
      clientRequest.on('error', reject);
      clientRequest.end();
    });
  return { output, server, get, write };
}

void t.test('the client gets the form of a page that it prefers, with its content type', async (t) => {
  const { get } = await startServer(t);
  const preferences: [accept: string, type: RegExp | string][] = [
    [`${JSON_TYPE}, text/html;q=0.1`, JSON_TYPE],
    [`${JSON_TYPE};q=0.1, ${HTML_TYPE};q=0.2, text/html;q=0.01`, HTML_TYPE],
    ['application/vnd.pypi.simple.latest+json', JSON_TYPE],
    ['application/vnd.pypi.simple.latest+html', HTML_TYPE],
    ['text/html,application/xhtml+xml,*/*;q=0.8', /^text\/html/],
    ['*/*', /^text\/html/],
  ];
  for (const path of ['/simple/demo/', '/simple/'])
    for (const [accept, type] of preferences) {
      const { status, headers } = await get(path, { accept });
      t.match(
        { status, headers },
        { status: 200, headers: { 'content-type': type, vary: /Accept\b/ } },
        accept,
      );
    }
  t.match((await get('/simple/demo/')).headers, { 'content-type': /^text\/html/ });
  const notAcceptable = await get('/simple/demo/', { accept: 'image/png' });
  t.equal(notAcceptable.status, 406);
  t.match(notAcceptable.text, JSON_TYPE);
  t.equal((await get('/simple/none/', { accept: 'image/png' })).status, 404);
});

void t.test('a page with only one form is sent to every client that accepts it', async (t) => {
  const { output, get } = await startServer(t);
  mkdirSync(join(output, 'simple/other'));
  writeFileSync(join(output, 'simple/other/index.html'), 'links');
  const pip = await get('/simple/other/', { accept: `${JSON_TYPE}, text/html; q=0.01` });
  t.match(pip, { status: 200, text: 'links', headers: { 'content-type': /^text\/html/ } });
  t.equal((await get('/simple/other/', { accept: JSON_TYPE })).status, 406);
});

void t.test('an answer has the serial of its page, for mirrors', async (t) => {
  const { get, write } = await startServer(t);
  t.match((await get('/simple/demo/', { accept: JSON_TYPE })).headers, { 'x-pypi-last-serial': '7' });
  t.match((await get('/simple/demo/')).headers, { 'x-pypi-last-serial': '7' });
  t.match((await get('/simple/')).headers, { 'x-pypi-last-serial': '9' });
  write(12);
  t.match((await get('/simple/demo/')).headers, { 'x-pypi-last-serial': '12' });
});

void t.test('an unchanged page is not sent again, and each form has an ETag of its own', async (t) => {
  const { output, get } = await startServer(t);
  await compressPages(output, 'demo');
  const etags = new Set<string>();
  for (const headers of [
    { accept: JSON_TYPE },
    { accept: HTML_TYPE },
    { accept: 'text/html' },
    { accept: JSON_TYPE, 'accept-encoding': 'gzip' },
  ]) {
    const etag = String((await get('/simple/demo/', headers)).headers['etag']);
    etags.add(etag);
    const revalidated = await get('/simple/demo/', { ...headers, 'if-none-match': `"x", W/${etag}` });
    t.match({ status: revalidated.status, text: revalidated.text }, { status: 304, text: '' });
  }
  t.equal(etags.size, 4);
  const { headers } = await get('/simple/demo/');
  const since = { 'if-modified-since': String(headers['last-modified']) };
  t.equal((await get('/simple/demo/', since)).status, 304);
});

void t.test('a client that accepts gzip gets the compressed page, with the same contents', async (t) => {
  const { output, get } = await startServer(t);
  await compressPages(output, 'demo');
  const plain = await get('/simple/demo/', { accept: JSON_TYPE });
  t.equal(plain.headers['content-encoding'], undefined);
  const compressed = await get('/simple/demo/', { accept: JSON_TYPE, 'accept-encoding': 'gzip, br' });
  t.match(compressed.headers, {
    'content-encoding': 'gzip',
    vary: /Accept-Encoding/,
    'content-type': JSON_TYPE,
  });
  t.equal(Number(compressed.headers['content-length']), compressed.body.length);
  t.same(gunzipSync(compressed.body), plain.body);
  const refused = await get('/simple/demo/', { accept: JSON_TYPE, 'accept-encoding': 'gzip;q=0' });
  t.equal(refused.headers['content-encoding'], undefined);
});

void t.test('every client gets the text of a log, which is stored compressed', async (t) => {
  const { output, get } = await startServer(t);
  mkdirSync(join(output, 'logs/0000'), { recursive: true });
  writeFileSync(join(output, 'logs/0000/000012.txt.gz'), gzipSync('a log'));
  t.match(await get('/logs/0000/000012.txt'), { status: 200, text: 'a log' });
  const compressed = await get('/logs/0000/000012.txt', { 'accept-encoding': 'gzip' });
  t.match(compressed.headers, { 'content-encoding': 'gzip', 'content-type': /^text\/plain/ });
  t.equal(gunzipSync(compressed.body).toString(), 'a log');
});

void t.test('other spellings of a path redirect to the normalised name with a slash', async (t) => {
  const { get } = await startServer(t);
  for (const [path, location] of [
    ['/simple/De_mo', '/simple/de-mo/'],
    ['/simple/demo', '/simple/demo/'],
    ['/simple/a._-b/', '/simple/a-b/'],
    ['/simple', '/simple/'],
    ['/p/Demo', '/project/demo/'],
    ['/p/Demo/', '/project/demo/'],
    ['/project/', '/packages.html'],
    ['/project', '/packages.html'],
    ['/project/Demo/json/', '/project/demo/json/'],
  ] as const) {
    const { status, headers } = await get(path);
    t.match({ status, headers }, { status: 301, headers: { location } }, path);
  }
});

void t.test('ranges and HEAD are supported', async (t) => {
  const { get } = await startServer(t);
  const part = await get(WHEEL, { range: 'bytes=2-4' });
  t.match(part, {
    status: 206,
    text: '234',
    headers: { 'content-range': 'bytes 2-4/10', 'content-length': '3' },
  });
  t.match(await get(WHEEL, { range: 'bytes=-3' }), { status: 206, text: '789' });
  t.match(await get(WHEEL, { range: 'bytes=-99' }), { status: 206, text: '0123456789' });
  t.match(await get(WHEEL, { range: 'bytes=8-20' }), { status: 206, text: '89' });
  t.equal((await get(WHEEL, { range: 'bytes=20-' })).status, 416);
  t.match(await get(WHEEL, { range: 'bytes=2-4', 'if-range': '"another"' }), {
    status: 200,
    text: '0123456789',
  });
  t.match(await get(WHEEL, {}, 'HEAD'), {
    status: 200,
    text: '',
    headers: { 'content-length': '10', 'accept-ranges': 'bytes', 'cache-control': /immutable/ },
  });
  for (const range of ['bytes=2-4', 'bytes=20-']) {
    const { status, headers } = await get(WHEEL, { range }, 'HEAD');
    t.match({ status, headers }, { status: 200, headers: { 'content-length': '10' } }, `HEAD with ${range}`);
    t.equal(headers['content-range'], undefined);
  }
  t.match(await get('/none', {}, 'HEAD'), { status: 404, text: '' });
  const post = await get('/', {}, 'POST');
  t.match(post, { status: 405, headers: { allow: 'GET, HEAD' } });
});

void t.test('nothing but the site is served', async (t) => {
  const { output, get } = await startServer(t);
  writeFileSync(join(output, '.secret'), 'x');
  const paths = [
    '/.secret',
    '/.transfers/x',
    '/../etc/passwd',
    '/%2e%2e/etc/passwd',
    '/simple/..%2f..%2f.secret',
  ];
  for (const path of [
    ...paths,
    '/simple/%00',
    '/a\\b',
    '/%ff',
    '/nothing',
    `/${'x'.repeat(300)}`,
    '/simple/demo/index.html/x',
  ])
    t.equal((await get(path)).status, 404, path);
});

void t.test('a file that is replaced while it is being sent is sent complete and unchanged', async (t) => {
  const { output, get } = await startServer(t);
  const path = join(output, 'large.txt');
  const contentOf = (letter: string) => letter.repeat(1_000_000);
  writeFileSync(path, contentOf('a'));
  let replacements = 0;
  const stopping = new AbortController();
  const replacing = (async () => {
    for (; !stopping.signal.aborted; replacements += 1) {
      const next = contentOf(replacements % 2 === 0 ? 'bb' : 'a');
      writeFileSync(`${path}.new`, next);
      renameSync(`${path}.new`, path);
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  for (let n = 0; n < 10; n += 1) {
    const { text, headers } = await get('/large.txt');
    t.equal(text.length, Number(headers['content-length']));
    t.ok(text === contentOf('a') || text === contentOf('bb'));
  }
  stopping.abort();
  await replacing;
  t.ok(replacements > 0);
  t.ok(readFileSync(path).length > 0);
});

void t.test('a port in use is an error', async (t) => {
  const { output, server } = await startServer(t);
  await t.rejects(startWebServer({ root: output, host: '127.0.0.1', port: server.port }), {
    code: 'PIW_PORT_IN_USE',
  });
});
