import t from 'tap';
import {
  isCountedStatus,
  classifyRequest,
  normalisePrefix,
  isWheelRequest,
  publicPath,
} from '../../src/weblog/requests.js';

const classify = (path: string) => classifyRequest(`GET ${path} HTTP/1.1`);
const wheel = 'demo-1.0+local-cp311-cp311-linux_armv7l.whl';

void t.test('a request is classified by its path', (t) => {
  const cases: readonly (readonly [string, string, string])[] = [
    [`/simple/demo/${wheel}`, 'downloads', wheel],
    [`/simple/demo/${wheel.replace('+', '%2B')}`, 'downloads', wheel],
    [`/simple/demo/${wheel}?x=1#sha256=y`, 'downloads', wheel],
    [`http://farm.example/simple/demo/${wheel}`, 'downloads', wheel],
    // The path that mirrors use.
    [`/packages/demo/${wheel.replace('+', '%2B')}`, 'downloads', wheel],
    // A package's page of the simple index is of the kind `index-pages`.
    ['/simple/demo/', 'index-pages', 'demo'],
    ['/simple/demo', 'index-pages', 'demo'],
    ['/simple/De_mo.x/', 'index-pages', 'de-mo-x'],
    ['/simple/demo/index.v1_json', 'index-pages', 'demo'],
    ['/project/demo/', 'projects', 'demo'],
    ['/project/demo', 'projects', 'demo'],
    ['/project/demo/index.html', 'projects', 'demo'],
    ['/project/demo/json/', 'json', 'demo'],
    ['/project/demo/json', 'json', 'demo'],
    ['/project/demo/json/index.json', 'json', 'demo'],
    ['/', 'pages', '/'],
    // From an index URL with an extra slash.
    [`//simple//demo/${wheel}`, 'downloads', wheel],
    ['/?utm=1', 'pages', '/'],
    ['/packages.html', 'pages', '/packages.html'],
    ['/logs/0001/234567.html', 'pages', '/logs/0001/234567.html'],
  ];
  for (const [path, kind, name] of cases) t.same(classify(path), { kind, name }, path);
  t.same(
    classifyRequest('GET /simple/demo/'),
    { kind: 'index-pages', name: 'demo' },
    'HTTP/0.9 has no version',
  );
  t.end();
});

void t.test('requests for a site below a path are recognised with and without that path', (t) => {
  const demo = { kind: 'downloads', name: wheel };
  const below = (path: string) => classifyRequest(`GET ${path} HTTP/1.1`, '/a/farm');
  t.same(below(`/a/farm/simple/demo/${wheel}`), demo);
  t.same(below(`/simple/demo/${wheel}`), demo, 'as behind a proxy');
  t.same(below('/a/farm'), { kind: 'pages', name: '/' });
  t.same(below('/a/farm/'), { kind: 'pages', name: '/' });
  t.equal(below(`/a/farmer/simple/demo/${wheel}`), null);
  t.equal(classify(`/a/farm/simple/demo/${wheel}`), null);
  t.ok(isWheelRequest(`GET /a/farm/simple/demo/${wheel.replace('+', '%2B')}?x HTTP/1.1`));
  for (const request of [`HEAD /${wheel} HTTP/1.1`, `GET /${wheel}.metadata HTTP/1.1`, '-'])
    t.notOk(isWheelRequest(request), request);
  for (const [url, path] of [
    [null, ''],
    ['https://example.org', ''],
    ['https://example.org/', ''],
    ['https://example.org/a/farm/', '/a/farm'],
    ['nonsense', ''],
  ] as const)
    t.equal(publicPath(url), path, String(url));
  for (const prefix of ['a/farm', '/a/farm/', '//a//farm//'])
    t.equal(normalisePrefix(prefix), '/a/farm', prefix);
  t.equal(normalisePrefix('/'), '');
  t.end();
});

void t.test('other requests are not counted', (t) => {
  const otherPaths = [
    '',
    '*',
    `/simple/demo/${wheel}.metadata`,
    `/simple/demo/x/${wheel}`,
    '/simple/',
    '/simple/-demo-/',
    '/simple/demo/%00.whl',
    '/simple/demo/a%2fb.whl',
    '/simple/%ZZ/',
    '/simple/%ff/',
    '/simple/../etc/passwd',
    `/simple/demo/${'x'.repeat(300)}.whl`,
    '/project/demo/xml/',
    '/static/site.css',
    '/robots.txt',
    'example.org:443',
  ];
  for (const path of otherPaths) t.equal(classify(path), null, path);
  for (const method of ['HEAD', 'POST', 'get', 'OPTIONS'])
    t.equal(classifyRequest(`${method} /simple/demo/ HTTP/1.1`), null, method);
  t.equal(classifyRequest('-'), null);
  t.end();
});

void t.test('only a 200 counts as a download, but a 304 counts as a visit of a page', (t) => {
  t.same(
    [200, 206, 304, 404].map((status) => isCountedStatus('downloads', status)),
    [true, false, false, false],
  );
  t.same(
    [200, 206, 304, 404].map((status) => isCountedStatus('index-pages', status)),
    [true, false, true, false],
  );
  t.end();
});
