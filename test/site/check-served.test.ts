import { gzipSync } from 'node:zlib';
import t from 'tap';
import { startWebServer } from '../../src/web/web-server.js';
import type { Fault } from '../../src/check/faults.js';
import { JSON_TYPE } from '../../src/check/manners.js';
import { RULES, type RuleId } from '../../src/check/rules.js';
import type { ProjectSelection } from '../../src/check/sample.js';
import { checkServed } from '../../src/check/served.js';
import { piwRunner } from '../helpers/command.js';
import { startFaultyProxy, type ProxyFaults, type ProxiedResponse } from '../helpers/misbehaving-server.js';
import { makeOutputPath } from '../helpers/output-path.js';

t.setTimeout(120_000);

const cleanOutput = await makeOutputPath();
const ownServer = await startWebServer({ root: cleanOutput, host: '127.0.0.1', port: 0 });
t.teardown(() => ownServer.close());

async function faultsOf(
  address: string,
  selection: ProjectSelection = { kind: 'all' },
): Promise<readonly Fault[]> {
  const faults: Fault[] = [];
  await checkServed(address, {
    selection,
    readContents: true,
    recheckDelaysMs: [],
    settleMs: 0,
    report: (fault) => faults.push(fault),
  });
  return faults;
}

const isIndex = (url = ''): boolean => /^\/simple\/([^/]+\/)?$/.test(url);
const isWheel = (url = ''): boolean => url.endsWith('.whl');
const requestIdentity: ProxyFaults['onRequest'] = (headers) => {
  headers['accept-encoding'] = 'identity';
};
const sendCompressed = (body: Buffer) => (response: ProxiedResponse) => {
  response.headers['content-encoding'] = 'gzip';
  response.body = gzipSync(body);
};

/** Changes the text of a response, and removes its length, which would no longer match that of HEAD. */
const rewrite = (response: ProxiedResponse, change: (text: string) => string): void => {
  delete response.headers['content-length'];
  response.body = Buffer.from(change(response.body.toString()));
};

/** What a server sends wrongly, and the rules that find it. */
const MISBEHAVIOURS: readonly (readonly [
  description: string,
  rules: readonly RuleId[],
  faults: ProxyFaults,
])[] = [
  [
    'JSON as application/json',
    ['http-type', 'http-quality', 'http-latest', 'http-head'],
    {
      onResponse: ({ headers }, { url, method }) => {
        if (isIndex(url) && headers['content-type'] === JSON_TYPE && method === 'GET')
          headers['content-type'] = 'application/json';
      },
    },
  ],
  [
    'HTML for every request',
    ['http-type', 'http-quality', 'http-latest', 'http-406', 'json-parse'],
    {
      onRequest: (headers) => {
        headers.accept = 'text/html';
      },
    },
  ],
  [
    'the first form in Accept, whatever its q',
    ['http-quality'],
    {
      onRequest: (headers) => {
        const first = headers.accept?.split(/[,;]/)[0];
        if (first !== undefined) headers.accept = first;
      },
    },
  ],
  [
    '“latest” as the type of the response',
    ['http-latest'],
    {
      onResponse: ({ headers }, { headers: requestHeaders }) => {
        if (requestHeaders.accept?.includes('latest')) headers['content-type'] = requestHeaders.accept;
      },
    },
  ],
  [
    'no Vary',
    ['http-vary', 'http-gzip-vary'],
    {
      onResponse: ({ headers }) => {
        delete headers.vary;
      },
    },
  ],
  [
    'HTML instead of 406',
    ['http-406'],
    {
      onResponse: (response) => {
        if (response.status === 406) response.status = 200;
      },
    },
  ],
  [
    'a page at its URL without the slash',
    ['http-slash', 'http-normalise'],
    {
      onResponse: (response, { url = '' }) => {
        if (/^\/simple(\/[^/]+)?$/.test(url) && response.status === 301) response.status = 200;
      },
    },
  ],
  [
    '404 for the short addresses',
    ['http-short'],
    {
      onResponse: (response, { url = '' }) => {
        if (url.startsWith('/p/') || url === '/project/') response.status = 404;
      },
    },
  ],
  [
    '404 for a name in upper case',
    ['http-normalise'],
    {
      onResponse: (response, { url = '' }) => {
        if (/[A-Z]/.test(url.replace(/\/[^/]+\.whl.*/, ''))) response.status = 404;
      },
    },
  ],
  [
    'redirects to another host',
    ['http-slash', 'http-normalise', 'http-short'],
    {
      onResponse: ({ headers }) => {
        if (headers.location !== undefined) headers.location = `https://elsewhere.example${headers.location}`;
      },
    },
  ],
  [
    'no ETag',
    ['http-etag'],
    {
      onResponse: ({ headers }) => {
        delete headers.etag;
      },
    },
  ],
  [
    'one ETag for all forms',
    ['http-etag-shared', 'http-304'],
    {
      onResponse: ({ headers }, { url }) => {
        if (isIndex(url) && headers.etag !== undefined) headers.etag = '"same"';
      },
    },
  ],
  [
    'the page again to a client that has it',
    ['http-304'],
    {
      onRequest: (headers) => {
        delete headers['if-none-match'];
        delete headers['if-modified-since'];
      },
    },
  ],
  [
    '304 to a client that has something else',
    ['http-304'],
    {
      onRequest: (headers) => {
        if (headers['if-none-match'] === '"other"') headers['if-none-match'] = '*';
      },
    },
  ],
  [
    'different headers for HEAD',
    ['http-head'],
    {
      onResponse: ({ headers }, { method, url }) => {
        if (method === 'HEAD' && isIndex(url)) headers['content-type'] = 'text/plain';
      },
    },
  ],
  [
    'no ranges',
    ['http-ranges', 'http-416', 'http-if-range'],
    {
      onRequest: (headers) => {
        delete headers.range;
      },
      onResponse: ({ headers }) => {
        delete headers['accept-ranges'];
      },
    },
  ],
  [
    'ranges that are one byte off',
    ['http-ranges'],
    {
      onResponse: (response) => {
        if (response.status === 206)
          response.body = Buffer.concat([response.body.subarray(1), Buffer.from('x')]);
      },
    },
  ],
  [
    '200 for a range beyond the end',
    ['http-416'],
    {
      onResponse: (response) => {
        if (response.status === 416) response.status = 200;
      },
    },
  ],
  [
    'a range whatever If-Range says',
    ['http-if-range'],
    {
      onRequest: (headers) => {
        delete headers['if-range'];
      },
    },
  ],
  [
    'a compressed page of an older state',
    ['http-gzip'],
    {
      onRequest: requestIdentity,
      onResponse: (response, { url, headers, method }) => {
        if (!isIndex(url) || response.status !== 200) return;
        response.headers.vary = 'Accept, Accept-Encoding';
        if (headers['accept-encoding'] !== 'gzip') return;
        response.headers.etag = `W/${String(response.headers.etag)}`;
        if (method === 'GET') sendCompressed(Buffer.from('an older page'))(response);
      },
    },
  ],
  [
    'compressed pages without Vary, with the same ETag',
    ['http-gzip-vary', 'http-etag-shared'],
    {
      onRequest: requestIdentity,
      onResponse: (response, { url, headers, method }) => {
        if (isIndex(url)) response.headers.vary = 'Accept';
        if (
          isIndex(url) &&
          response.status === 200 &&
          headers['accept-encoding'] === 'gzip' &&
          method === 'GET'
        )
          sendCompressed(response.body)(response);
      },
    },
  ],
  [
    'compressed pages to a client that refuses them',
    ['http-gzip-refused'],
    {
      onResponse: (response, { headers }) => {
        if (response.status === 200 && headers['accept-encoding']?.startsWith('gzip;q=0'))
          sendCompressed(response.body)(response);
      },
    },
  ],
  [
    'wheels with a content coding',
    ['http-file-encoded'],
    {
      onResponse: ({ headers }, { url, headers: requestHeaders }) => {
        if (isWheel(url) && requestHeaders['accept-encoding']?.includes('gzip'))
          headers['content-encoding'] = 'gzip';
      },
    },
  ],
  [
    '200 for missing pages',
    ['http-404', 'http-hidden'],
    {
      onResponse: (response) => {
        if (response.status === 404) response.status = 200;
      },
    },
  ],
  [
    'hidden files',
    ['http-hidden'],
    {
      onResponse: (response, { url }) => {
        if (url?.startsWith('/.transfers')) response.status = 200;
      },
    },
  ],
  [
    'a different serial than the page',
    ['http-serial'],
    {
      onResponse: ({ headers }, { url }) => {
        if (isIndex(url)) headers['x-pypi-last-serial'] = '123456';
      },
    },
  ],
  [
    'no nosniff',
    ['http-nosniff'],
    {
      onResponse: ({ headers }) => {
        delete headers['x-content-type-options'];
      },
    },
  ],
  [
    'a truncated body',
    ['http-length'],
    {
      onResponse: (response, { url }) => {
        response.cut = url === '/' && response.status === 200;
      },
    },
  ],
  [
    'cookies',
    ['http-cookie'],
    {
      onResponse: ({ headers }) => {
        headers['set-cookie'] = 'seen=1';
      },
    },
  ],
  [
    '500 for a project',
    ['http-answer'],
    {
      onResponse: (response, { url }) => {
        if (url === '/simple/demo/') response.status = 500;
      },
    },
  ],
  [
    'a wheel with a flipped bit',
    ['file-hash'],
    {
      onResponse: (response, { url, headers }) => {
        if (isWheel(url) && headers.range === undefined)
          response.body = Buffer.from(response.body.map((byte, i) => (i === 40 ? byte ^ 1 : byte)));
      },
    },
  ],
  [
    'a wheel without a type',
    ['http-type'],
    {
      onResponse: ({ headers }, { url }) => {
        if (isWheel(url)) delete headers['content-type'];
      },
    },
  ],
  [
    'metadata without a type',
    ['http-type'],
    {
      onResponse: ({ headers }, { url }) => {
        if (url?.endsWith('.metadata') === true) delete headers['content-type'];
      },
    },
  ],
  [
    'a page without a serial, and a root with serials',
    ['serial-number', 'http-serial'],
    {
      onRequest: requestIdentity,
      onResponse: (response, { url }) => {
        if (url === '/simple/demo/') rewrite(response, (text) => text.replace(/,"_last-serial":\d+/, ''));
      },
    },
  ],
  [
    'a project without files',
    ['project-empty', 'project-json', 'pypi-json'],
    {
      onRequest: requestIdentity,
      onResponse: (response, { url }) => {
        if (url === '/simple/demo/')
          rewrite(response, (text) => text.replace(/"files":\[.*\]/, '"files":[]').replace(/<a .*/g, ''));
      },
    },
  ],
  [
    '404 for a page for people',
    ['site-page', 'link-broken'],
    {
      onResponse: (response, { url }) => {
        if (url === '/farm.html') response.status = 404;
      },
    },
  ],
  [
    'a page for people with an inline script',
    ['inline-code'],
    {
      onResponse: (response, { url }) => {
        if (url === '/faq.html')
          rewrite(response, (text) => text.replace('</body>', '<script>alert(1)</script></body>'));
      },
    },
  ],
  [
    'a robots.txt that keeps crawlers out',
    ['robots'],
    {
      onResponse: (response, { url }) => {
        if (url === '/robots.txt') rewrite(response, (text) => `${text}Disallow: /\n`);
      },
    },
  ],
  [
    'a truncated sitemap with URLs on another host',
    ['sitemap-address', 'sitemap-xml'],
    {
      onResponse: (response, { url }) => {
        if (url === '/sitemaps/0001.xml')
          rewrite(response, (text) => text.replace('farm.', 'elsewhere.').replace('</urlset>', ''));
      },
    },
  ],
  [
    'a sitemap whose parts are missing',
    ['sitemap-link'],
    {
      onResponse: (response, { url }) => {
        if (url?.startsWith('/sitemaps/') === true) response.status = 404;
      },
    },
  ],
  [
    '404 for a wheel',
    ['file-missing'],
    {
      onResponse: (response, { url }) => {
        if (isWheel(url) && url?.includes('1.10') === true) response.status = 404;
      },
    },
  ],
  [
    '404 for metadata',
    ['metadata-missing'],
    {
      onResponse: (response, { url }) => {
        if (url?.endsWith('.metadata')) response.status = 404;
      },
    },
  ],
  [
    'metadata of another file',
    ['metadata-hash', 'metadata-bytes'],
    {
      onResponse: (response, { url }) => {
        if (url?.endsWith('.metadata')) response.body = Buffer.from('another');
      },
    },
  ],
  [
    'a page that loads from another host',
    ['foreign-host'],
    {
      onResponse: (response, { url }) => {
        if (url === '/project/demo/')
          response.body = Buffer.from(
            response.body
              .toString()
              .replace('</body>', '<script src="https://cdn.example/x.js"></script></body>'),
          );
      },
    },
  ],
];

void t.test('piw’s own server has no faults', async (t) => {
  t.same(await faultsOf(`http://127.0.0.1:${ownServer.port}/`), []);
  t.same(await faultsOf(`http://127.0.0.1:${ownServer.port}/simple/`), []);
});

void t.test('a proxy that changes nothing has no faults', async (t) => {
  t.same(await faultsOf(await startFaultyProxy(t, ownServer.port, {})), []);
});

void t.test('a misbehaving server is found by exactly the rules for it', async (t) => {
  for (const [description, rules, misbehaviour] of MISBEHAVIOURS) {
    const faults = await faultsOf(await startFaultyProxy(t, ownServer.port, misbehaviour), {
      kind: 'names',
      names: ['demo'],
    });
    const found = [...new Set(faults.map(({ rule }) => rule))].sort();
    t.same(found, [...rules].sort(), description, { faults });
  }
});

void t.test('each rule that applies to servers has a misbehaviour', (t) => {
  const broken = new Set(MISBEHAVIOURS.flatMap(([, rules]) => rules));
  const unbroken = Object.keys(RULES).filter(
    (rule) => rule.startsWith('http-') && !broken.has(rule as RuleId),
  );
  t.same(unbroken, []);
  t.end();
});

void t.test('piw check can check a server', async (t) => {
  const piw = piwRunner({});
  const result = await piw('check', `http://127.0.0.1:${ownServer.port}/`, '--sample', '2');
  t.match(result, { code: 0, err: '', out: /^Checked 2 packages, \d+ items: 0 faults, 0 warnings\.\n$/ });
});

void t.test(
  'a package that is not in the index has no faults, and an unknown package is an error',
  async (t) => {
    const address = await startFaultyProxy(t, ownServer.port, {
      onRequest: requestIdentity,
      onResponse: (response, { url = '' }) => {
        if (url.startsWith('/simple/demo/')) response.status = 404;
        if (url === '/project/demo/json/')
          rewrite(response, (text) => text.replace(/"versions":\[.*\]/s, '"versions":[]'));
        if (url === '/simple/')
          rewrite(response, (text) => text.replace(/\{"name":"demo"[^}]*\},?|<a href="demo.*/, ''));
      },
    });
    t.same(await faultsOf(address, { kind: 'names', names: ['demo'] }), []);
    await t.rejects(faultsOf(address, { kind: 'names', names: ['old-one', 'nobody-s'] }), {
      code: 'PIW_UNKNOWN_PACKAGE',
      message: /nobody-s/,
    });
  },
);

void t.test('a check fails if there is no server', async (t) => {
  await t.rejects(faultsOf('http://127.0.0.1:1/'), { code: 'PIW_UNREACHABLE' });
});
