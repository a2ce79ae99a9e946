import { gzipSync } from 'node:zlib';
import t from 'tap';
import { startWebServer } from '../../src/farm/web-server.js';
import type { Fault } from '../../src/site/check/faults.js';
import { JSON_TYPE } from '../../src/site/check/manners.js';
import { RULES, type RuleId } from '../../src/site/check/rules.js';
import type { ProjectSelection } from '../../src/site/check/sample.js';
import { checkServed } from '../../src/site/check/served.js';
import { piwRunner } from '../helpers/command.js';
import { startFaultyProxy, type ProxyFaults, type ProxiedResponse } from '../helpers/misbehaving-server.js';
import { makeOutputPath } from '../helpers/output-path.js';

t.setTimeout(120_000);

const cleanOutput = await makeOutputPath();
const ownServer = await startWebServer({ root: cleanOutput, host: '127.0.0.1', port: 0 });
t.teardown(() => ownServer.close());

async function faultsOf(
  address: string,
  which: ProjectSelection = { kind: 'all' },
): Promise<readonly Fault[]> {
  const faults: Fault[] = [];
  await checkServed(address, {
    ...{ selection: which, readContents: true, recheckDelaysMs: [], settleMs: 0 },
    report: (fault) => faults.push(fault),
  });
  return faults;
}

const isIndex = (url = ''): boolean => /^\/simple\/([^/]+\/)?$/.test(url);
const isWheel = (url = ''): boolean => url.endsWith('.whl');
const requestIdentity: ProxyFaults['onRequest'] = (headers) => {
  headers['accept-encoding'] = 'identity';
};
const sendCompressed = (body: Buffer) => (answer: ProxiedResponse) => {
  answer.headers['content-encoding'] = 'gzip';
  answer.body = gzipSync(body);
};

/** Changes the text of an answer; that to HEAD has none, and no length to compare. */
const rewrite = (answer: ProxiedResponse, change: (text: string) => string): void => {
  delete answer.headers['content-length'];
  answer.body = Buffer.from(change(answer.body.toString()));
};

/** What a server does wrong, and which rules find it. */
const MISBEHAVIOURS: readonly (readonly [what: string, rules: readonly RuleId[], how: ProxyFaults])[] = [
  [
    'the JSON as application/json',
    ['http-type', 'http-quality', 'http-latest', 'http-head'],
    {
      onResponse: ({ headers }, { url, method }) => {
        if (isIndex(url) && headers['content-type'] === JSON_TYPE && method === 'GET')
          headers['content-type'] = 'application/json';
      },
    },
  ],
  [
    'HTML whatever is asked for',
    ['http-type', 'http-quality', 'http-latest', 'http-406', 'json-parse'],
    {
      onRequest: (headers) => {
        headers.accept = 'text/html';
      },
    },
  ],
  [
    'the first form that the client names, whatever its q',
    ['http-quality'],
    {
      onRequest: (headers) => {
        const first = headers.accept?.split(/[,;]/)[0];
        if (first !== undefined) headers.accept = first;
      },
    },
  ],
  [
    '“latest” as the type of the answer',
    ['http-latest'],
    {
      onResponse: ({ headers }, { headers: asked }) => {
        if (asked.accept?.includes('latest')) headers['content-type'] = asked.accept;
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
      onResponse: (answer) => {
        if (answer.status === 406) answer.status = 200;
      },
    },
  ],
  [
    'a page without its slash',
    ['http-slash', 'http-normalise'],
    {
      onResponse: (answer, { url = '' }) => {
        if (/^\/simple(\/[^/]+)?$/.test(url) && answer.status === 301) answer.status = 200;
      },
    },
  ],
  [
    'nothing under the short addresses',
    ['http-short'],
    {
      onResponse: (answer, { url = '' }) => {
        if (url.startsWith('/p/') || url === '/project/') answer.status = 404;
      },
    },
  ],
  [
    'nothing under a name in capitals',
    ['http-normalise'],
    {
      onResponse: (answer, { url = '' }) => {
        if (/[A-Z]/.test(url.replace(/\/[^/]+\.whl.*/, ''))) answer.status = 404;
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
    'the page again to who has it',
    ['http-304'],
    {
      onRequest: (headers) => {
        delete headers['if-none-match'];
        delete headers['if-modified-since'];
      },
    },
  ],
  [
    '304 to who has something else',
    ['http-304'],
    {
      onRequest: (headers) => {
        if (headers['if-none-match'] === '"other"') headers['if-none-match'] = '*';
      },
    },
  ],
  [
    'other headers for HEAD',
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
      onResponse: (answer) => {
        if (answer.status === 206) answer.body = Buffer.concat([answer.body.subarray(1), Buffer.from('x')]);
      },
    },
  ],
  [
    'the whole file behind its end',
    ['http-416'],
    {
      onResponse: (answer) => {
        if (answer.status === 416) answer.status = 200;
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
      onResponse: (answer, { url, headers, method }) => {
        if (!isIndex(url) || answer.status !== 200) return;
        answer.headers.vary = 'Accept, Accept-Encoding';
        if (headers['accept-encoding'] !== 'gzip') return;
        answer.headers.etag = `W/${String(answer.headers.etag)}`;
        if (method === 'GET') sendCompressed(Buffer.from('an older page'))(answer);
      },
    },
  ],
  [
    'compressed pages without a Vary for it, with one ETag',
    ['http-gzip-vary', 'http-etag-shared'],
    {
      onRequest: requestIdentity,
      onResponse: (answer, { url, headers, method }) => {
        if (isIndex(url)) answer.headers.vary = 'Accept';
        if (
          isIndex(url) &&
          answer.status === 200 &&
          headers['accept-encoding'] === 'gzip' &&
          method === 'GET'
        )
          sendCompressed(answer.body)(answer);
      },
    },
  ],
  [
    'compressed pages to who refuses them',
    ['http-gzip-refused'],
    {
      onResponse: (answer, { headers }) => {
        if (answer.status === 200 && headers['accept-encoding']?.startsWith('gzip;q=0'))
          sendCompressed(answer.body)(answer);
      },
    },
  ],
  [
    'wheels that are compressed on the way',
    ['http-file-encoded'],
    {
      onResponse: ({ headers }, { url, headers: asked }) => {
        if (isWheel(url) && asked['accept-encoding']?.includes('gzip')) headers['content-encoding'] = 'gzip';
      },
    },
  ],
  [
    'a friendly page with 200 for what is not there',
    ['http-404', 'http-hidden'],
    {
      onResponse: (answer) => {
        if (answer.status === 404) answer.status = 200;
      },
    },
  ],
  [
    'what is hidden',
    ['http-hidden'],
    {
      onResponse: (answer, { url }) => {
        if (url?.startsWith('/.transfers')) answer.status = 200;
      },
    },
  ],
  [
    'another serial than the page has',
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
    'less than it has announced',
    ['http-length'],
    {
      onResponse: (answer, { url }) => {
        answer.cut = url === '/' && answer.status === 200;
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
    'a project that is broken',
    ['http-answer'],
    {
      onResponse: (answer, { url }) => {
        if (url === '/simple/demo/') answer.status = 500;
      },
    },
  ],
  [
    'a wheel with another bit',
    ['file-hash'],
    {
      onResponse: (answer, { url, headers }) => {
        if (isWheel(url) && headers.range === undefined)
          answer.body = Buffer.from(answer.body.map((byte, i) => (i === 40 ? byte ^ 1 : byte)));
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
    'pages without serials, and a root with them',
    ['serial-number', 'http-serial'],
    {
      onRequest: requestIdentity,
      onResponse: (answer, { url }) => {
        if (url === '/simple/demo/') rewrite(answer, (text) => text.replace(/,"_last-serial":\d+/, ''));
      },
    },
  ],
  [
    'a project that offers nothing any more',
    ['project-empty', 'project-json', 'pypi-json'],
    {
      onRequest: requestIdentity,
      onResponse: (answer, { url }) => {
        if (url === '/simple/demo/')
          rewrite(answer, (text) => text.replace(/"files":\[.*\]/, '"files":[]').replace(/<a .*/g, ''));
      },
    },
  ],
  [
    'a page for people that is gone',
    ['site-page', 'link-broken'],
    {
      onResponse: (answer, { url }) => {
        if (url === '/farm.html') answer.status = 404;
      },
    },
  ],
  [
    'a page for people with a script of its own',
    ['inline-code'],
    {
      onResponse: (answer, { url }) => {
        if (url === '/faq.html')
          rewrite(answer, (text) => text.replace('</body>', '<script>alert(1)</script></body>'));
      },
    },
  ],
  [
    'robots that are sent away',
    ['robots'],
    {
      onResponse: (answer, { url }) => {
        if (url === '/robots.txt') rewrite(answer, (text) => `${text}Disallow: /\n`);
      },
    },
  ],
  [
    'a sitemap of pages that are elsewhere, cut off',
    ['sitemap-address', 'sitemap-xml'],
    {
      onResponse: (answer, { url }) => {
        if (url === '/sitemaps/0001.xml')
          rewrite(answer, (text) => text.replace('farm.', 'elsewhere.').replace('</urlset>', ''));
      },
    },
  ],
  [
    'a sitemap whose parts are gone',
    ['sitemap-link'],
    {
      onResponse: (answer, { url }) => {
        if (url?.startsWith('/sitemaps/') === true) answer.status = 404;
      },
    },
  ],
  [
    'a wheel that is not there',
    ['file-missing'],
    {
      onResponse: (answer, { url }) => {
        if (isWheel(url) && url?.includes('1.10') === true) answer.status = 404;
      },
    },
  ],
  [
    'metadata that is not there',
    ['metadata-missing'],
    {
      onResponse: (answer, { url }) => {
        if (url?.endsWith('.metadata')) answer.status = 404;
      },
    },
  ],
  [
    'metadata of something else',
    ['metadata-hash', 'metadata-bytes'],
    {
      onResponse: (answer, { url }) => {
        if (url?.endsWith('.metadata')) answer.body = Buffer.from('another');
      },
    },
  ],
  [
    'a page that loads from another host',
    ['foreign-host'],
    {
      onResponse: (answer, { url }) => {
        if (url === '/project/demo/')
          answer.body = Buffer.from(
            answer.body
              .toString()
              .replace('</body>', '<script src="https://cdn.example/x.js"></script></body>'),
          );
      },
    },
  ],
];

void t.test('our own server has no fault', async (t) => {
  t.same(await faultsOf(`http://127.0.0.1:${String(ownServer.port)}/`), []);
  t.same(await faultsOf(`http://127.0.0.1:${String(ownServer.port)}/simple/`), []);
});

void t.test('what passes unchanged has no fault', async (t) => {
  t.same(await faultsOf(await startFaultyProxy(t, ownServer.port, {})), []);
});

void t.test('a server that gives anything else is found out, by the rules for it and no other', async (t) => {
  for (const [what, rules, misbehaviour] of MISBEHAVIOURS) {
    const faults = await faultsOf(await startFaultyProxy(t, ownServer.port, misbehaviour), {
      kind: 'names',
      names: ['demo'],
    });
    const found = [...new Set(faults.map(({ rule }) => rule))].sort();
    t.same(found, [...rules].sort(), what, { faults });
  }
});

void t.test('each rule of a server is broken by some server', (t) => {
  const broken = new Set(MISBEHAVIOURS.flatMap(([, rules]) => rules));
  const unbroken = Object.keys(RULES).filter(
    (rule) => rule.startsWith('http-') && !broken.has(rule as RuleId),
  );
  t.same(unbroken, []);
  t.end();
});

void t.test('piw check reads a server, too', async (t) => {
  const piw = piwRunner({});
  const result = await piw('check', `http://127.0.0.1:${String(ownServer.port)}/`, '--sample', '2');
  t.match(result, { code: 0, err: '', out: /^2 packages and \d+ things in all: 0 faults, 0 warnings\.\n$/ });
});

void t.test(
  'a package that is not in the index has no fault, and one that nobody knows is said to be so',
  async (t) => {
    const address = await startFaultyProxy(t, ownServer.port, {
      onRequest: requestIdentity,
      onResponse: (answer, { url = '' }) => {
        if (url.startsWith('/simple/demo/')) answer.status = 404;
        if (url === '/project/demo/json/')
          rewrite(answer, (text) => text.replace(/"versions":\[.*\]/s, '"versions":[]'));
        if (url === '/simple/')
          rewrite(answer, (text) => text.replace(/\{"name":"demo"[^}]*\},?|<a href="demo.*/, ''));
      },
    });
    t.same(await faultsOf(address, { kind: 'names', names: ['demo'] }), []);
    await t.rejects(faultsOf(address, { kind: 'names', names: ['old-one', 'nobody-s'] }), {
      code: 'PIW_UNKNOWN_PACKAGE',
      message: /nobody-s/,
    });
  },
);

void t.test('where no server is, it says so', async (t) => {
  await t.rejects(faultsOf('http://127.0.0.1:1/'), { code: 'PIW_UNREACHABLE' });
});
