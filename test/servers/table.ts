import { logPath } from '../../src/site/layout.js';
import type { WebServerKind } from '../helpers/web-servers.js';
import { CONTENTS, LOG, LOG_BUILD, WHEEL } from './output.js';

export const JSON_TYPE = 'application/vnd.pypi.simple.v1+json';
const HTML_TYPE = 'application/vnd.pypi.simple.v1+html';
const PIP = `${JSON_TYPE}, ${HTML_TYPE}; q=0.1, text/html; q=0.01`;
const BROWSER = 'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8';

/** A request and its expected response. Properties of the response that are omitted may have any value. */
export interface Expectation {
  readonly title: string;
  readonly path: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly status: number;
  readonly type?: string | RegExp;
  /** The decompressed body. */
  readonly body?: string;
  /** The path in the Location header, whose scheme and host may be any. */
  readonly location?: string;
  /** Headers of the response; null: the header must be missing. */
  readonly with?: Readonly<Record<string, string | RegExp | null>>;
  /** The servers that respond with another status, and why that can't be avoided. */
  readonly unless?: Partial<Readonly<Record<WebServerKind, readonly [status: number, reason: string]>>>;
}

const accepting = (accept: string) => ({ headers: { accept } });
const project = '/simple/demo-pkg/';
const formContents = (form: string): string => CONTENTS[`simple/demo-pkg/index.${form}`] ?? '';
const wheel = `${project}${WHEEL}`;
const HTML = 'text/html; charset=utf-8';
const logText = `/${logPath(LOG_BUILD, 'txt')}`;

/** [Accept header, the form of the page that must be sent]. */
const NEGOTIATED: readonly (readonly [accept: string, form: 'html' | 'v1_html' | 'v1_json'])[] = [
  [PIP, 'v1_json'],
  [`${JSON_TYPE}, ${HTML_TYPE};q=0.2, text/html;q=0.01`, 'v1_json'],
  [BROWSER, 'html'],
  ['*/*', 'html'],
  ['', 'html'],
  ['text/html', 'html'],
  ['TEXT/HTML', 'html'],
  ['text/*', 'html'],
  [HTML_TYPE, 'v1_html'],
  [JSON_TYPE, 'v1_json'],
  [JSON_TYPE.toUpperCase(), 'v1_json'],
  ['application/vnd.pypi.simple.latest+json', 'v1_json'],
  ['application/vnd.pypi.simple.latest+html', 'v1_html'],
  [`application/vnd.pypi.simple.latest+json;q=0.2, application/vnd.pypi.simple.latest+html;q=0.3`, 'v1_html'],
  [`${JSON_TYPE};q=0.5, text/html;q=0.6`, 'html'],
  [`${JSON_TYPE};q=0.5, text/html;q=0.49`, 'v1_json'],
  [`${JSON_TYPE};q=0.51, text/html;q=0.5`, 'v1_json'],
  [`${JSON_TYPE};q=0.099, text/html;q=0.1`, 'html'],
  [`${JSON_TYPE};q=0.1234567, text/html;q=0.1234568`, 'html'],
  [`${JSON_TYPE} ; q=0.900 , text/html ; q=0.91`, 'html'],
  [`${JSON_TYPE};q=1.0, text/html;q=0.999`, 'v1_json'],
  [`text/html;q=0.999, ${JSON_TYPE};q=1.000`, 'v1_json'],
  [`text/html;q=0, */*;q=0.1, ${HTML_TYPE};q=0.2`, 'v1_html'],
  [`${JSON_TYPE};q=0, ${HTML_TYPE};q=0.001`, 'v1_html'],
  [`${JSON_TYPE}, */*`, 'v1_json'],
  [`*/*, ${HTML_TYPE}`, 'v1_html'],
  ['image/png, */*;q=0.1', 'html'],
  [`application/json, ${HTML_TYPE}`, 'v1_html'],
  ['text/html; charset=utf-8', 'html'],
  [`${JSON_TYPE}; charset="utf-8"; q=0.5, text/html; charset=utf-8; q=0.4`, 'v1_json'],
];
const TYPE = { html: HTML, v1_html: HTML_TYPE, v1_json: JSON_TYPE };
const NOT_ACCEPTABLE = [
  'image/png',
  'application/json',
  'text/plain, application/xhtml+xml',
  `${JSON_TYPE};q=0`,
  `text/html;q=0.0, ${JSON_TYPE};q=0.000`,
  'application/vnd.pypi.simple.v2+json',
  `x${JSON_TYPE}`,
  `${JSON_TYPE}x`,
];

/** [requested path, path of the redirect]. */
const REDIRECTS: readonly (readonly [from: string, to: string])[] = [
  ['/simple', '/simple/'],
  ['/simple/demo-pkg', '/simple/demo-pkg/'],
  ['/simple/Demo-Pkg/', '/simple/demo-pkg/'],
  ['/simple/demo_pkg', '/simple/demo-pkg/'],
  ['/simple/demo.pkg/', '/simple/demo-pkg/'],
  ['/simple/DEMO._-PKG', '/simple/demo-pkg/'],
  ['/simple/demo--pkg/', '/simple/demo-pkg/'],
  ['/simple/De%6Do_Pkg/', '/simple/demo-pkg/'],
  ['/simple/A.B_C-D.E_F.G--H/', '/simple/a-b-c-d-e-f-g-h/'],
  ['/simple/ABCDEFGHIJKLMNOPQRSTUVWXYZ/', '/simple/abcdefghijklmnopqrstuvwxyz/'],
  ['/simple/X', '/simple/x/'],
  [`/simple/Demo_Pkg/${WHEEL}`, `/simple/demo-pkg/${WHEEL}`],
  [`/simple/Demo_Pkg/${WHEEL.replace('+', '%2B')}`, `/simple/demo-pkg/${WHEEL}`],
  ['/project/demo-pkg', '/project/demo-pkg/'],
  ['/project/Demo_Pkg/', '/project/demo-pkg/'],
  ['/project/Demo_Pkg/json/', '/project/demo-pkg/json/'],
  ['/project/demo-pkg/json', '/project/demo-pkg/json/'],
  ['/pypi/Demo_Pkg/json', '/pypi/demo-pkg/json'],
  ['/pypi/demo-pkg/json/', '/pypi/demo-pkg/json'],
  ['/project', '/packages.html'],
  ['/project/', '/packages.html'],
  ['/p/demo-pkg', '/project/demo-pkg/'],
  ['/p/demo-pkg/', '/project/demo-pkg/'],
  ['/p/Demo.Pkg', '/project/demo-pkg/'],
  ['/static', '/static/'],
];

/** Paths that get status 404 and the farm's own error page. */
const NOT_FOUND_PATHS = [
  '/nothing',
  '/nothing/',
  '/simple/nothing/',
  '/project/nothing/',
  '/pypi/nothing/json',
  '/pypi/demo-pkg/',
  '/simple/demo-pkg/nothing-1.0-py3-none-any.whl',
  `${wheel}/`,
  '/simple/demo-pkg/index',
  '/logs/0000/999999.txt',
  '/logs/',
  '/static/',
  '/.secret',
  '/.transfers/1',
  '/simple/demo-pkg/.tmp-0123',
  '/%2esecret',
  '/simple/demo-pkg/%2etmp-0123',
  '/simple/./demo-pkg/',
  '/simple/demo-pkg/../demo-pkg/',
  '/simple/demo-pkg/%2e%2e/demo-pkg/',
  '/simple/nothing%00',
  '/a\\b',
  '/%ff',
  `/${'x'.repeat(300)}`,
  `/simple/${'x'.repeat(300)}/`,
  `/${'x/'.repeat(2000)}`,
];
/** Paths that must not lead out of the site, whatever the status. */
export const TRAVERSAL_PATHS = [
  '/../etc/passwd',
  '/%2e%2e/etc/passwd',
  '/simple/../../etc/passwd',
  '/..%2f..%2fetc/passwd',
  '/%2e%2e%2f%2e%2e%2fetc%2fpasswd',
  '/simple/..\\..\\etc/passwd',
  '//etc/passwd',
  '/simple/%00',
];

const SECURITY = {
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'content-security-policy': /default-src 'none'/,
  'access-control-allow-origin': '*',
};
const FOREVER = 'public, max-age=31536000, immutable';

const BAD_REQUEST = [400, 'it rejects such a path before it applies any configuration'] as const;

/**
 * The tests for all three servers: nginx, Apache, and our own. They respond alike, except where `unless` says
 * otherwise, and except for these differences, which the table does not cover:
 *
 * - For pages of the simple index, only our own server sends X-PyPI-Last-Serial: the others can't read a header's value
 *   from a page. With all three, the serial is where PEP 691 clients look for it, in the JSON's meta._last-serial.
 * - If two forms have the same q, nginx and Apache send JSON, and our own server sends the one that Accept names first.
 * - nginx and Apache ignore the q of `…latest+json` if Accept also names the same form as `v1`.
 * - Apache omits Access-Control-Allow-Origin from a 304 (browsers keep the one they have), and sends an empty Allow
 *   header beside the correct one.
 */
export const EXPECTATIONS: readonly Expectation[] = [
  {
    title: 'the home page',
    path: '/',
    status: 200,
    type: HTML,
    body: CONTENTS['index.html'] ?? '',
    with: { ...SECURITY, 'cache-control': 'no-cache' },
  },
  { title: 'a page by its filename', path: '/packages.html', status: 200, type: HTML, with: SECURITY },
  { title: 'a query is ignored', path: '/packages.html?q=.x/../y', status: 200, type: HTML },
  {
    title: 'a stylesheet',
    path: '/static/site.css',
    status: 200,
    type: 'text/css; charset=utf-8',
    with: { ...SECURITY, 'cache-control': 'no-cache' },
  },
  {
    title: 'a file with a hash in its name is immutable',
    path: '/static/site.0123abcd.js',
    status: 200,
    type: /^text\/javascript/,
    with: { 'cache-control': FOREVER },
  },
  { title: 'statistics', path: '/statistics.json', status: 200, type: 'application/json', with: SECURITY },
  { title: 'plain text', path: '/robots.txt', status: 200, type: 'text/plain; charset=utf-8' },
  {
    title: "a project's page",
    path: '/project/demo-pkg/',
    status: 200,
    type: HTML,
    body: CONTENTS['project/demo-pkg/index.html'] ?? '',
  },
  {
    title: "a project's page as JSON",
    path: '/project/demo-pkg/json/',
    status: 200,
    type: 'application/json',
    body: '{"package":"demo-pkg"}',
    with: SECURITY,
  },
  {
    title: 'the page of a project called json',
    path: '/project/json/',
    status: 200,
    type: HTML,
    body: CONTENTS['project/json/index.html'] ?? '',
  },

  ...NEGOTIATED.map(([accept, form]): Expectation => ({
    title: `${form} for Accept: ${accept}`,
    path: project,
    ...accepting(accept),
    status: 200,
    type: TYPE[form],
    body: formContents(form),
    with: { ...SECURITY, vary: /\baccept\b(?!-)/i, 'cache-control': 'no-cache' },
  })),
  {
    title: 'text/html without any Accept',
    path: project,
    status: 200,
    type: HTML,
    body: formContents('html'),
    with: { vary: /\baccept\b(?!-)/i },
  },
  {
    title: 'the root as JSON',
    path: '/simple/',
    ...accepting(PIP),
    status: 200,
    type: JSON_TYPE,
    body: CONTENTS['simple/index.v1_json'] ?? '',
  },
  { title: 'the root for a browser', path: '/simple/', ...accepting(BROWSER), status: 200, type: HTML },
  ...NOT_ACCEPTABLE.map((accept): Expectation => ({
    title: `406 for Accept: ${accept}`,
    path: project,
    ...accepting(accept),
    status: 406,
    type: /^text\/(plain|html)/,
    with: { vary: /\baccept\b(?!-)/i },
  })),
  {
    title: 'a form of a page by its filename',
    path: `${project}index.v1_json`,
    status: 200,
    type: JSON_TYPE,
    body: formContents('v1_json'),
  },
  {
    title: 'a form of the root by its filename',
    path: '/simple/index.v1_html',
    status: 200,
    type: HTML_TYPE,
  },
  {
    title: 'a missing project gets 404, not 406, whatever Accept says',
    path: '/simple/nothing/',
    ...accepting('image/png'),
    status: 404,
  },

  ...REDIRECTS.flatMap(([from, to]): Expectation[] => [
    { title: `${from} redirects to ${to}`, path: from, status: 301, location: to },
    {
      title: `HEAD of ${from} redirects to ${to}`,
      path: from,
      method: 'HEAD',
      status: 301,
      location: to,
      body: '',
    },
  ]),
  {
    title: 'escapes in a path are kept in a redirect',
    path: '/simple/Demo_Pkg/a%3Fb%23c%20d',
    status: 301,
    location: '/simple/demo-pkg/a%3Fb%23c%20d',
    unless: { Apache: [403, 'it rewrites no path with an escaped question mark'] },
  },
  {
    title: 'a line break in the path adds no header to a redirect',
    path: '/simple/Demo/%0d%0aSet-Cookie:%20a=b',
    status: 301,
    with: { 'set-cookie': null },
    unless: { 'piw web': [404, 'no file has such a name'] },
  },

  {
    title: 'a wheel',
    path: wheel,
    status: 200,
    type: 'application/octet-stream',
    body: '0123456789',
    with: {
      ...SECURITY,
      'cache-control': FOREVER,
      'accept-ranges': 'bytes',
      'content-length': '10',
      'content-encoding': null,
      etag: /^"/,
      'last-modified': /GMT$/,
    },
  },
  { title: 'a wheel with its + escaped', path: wheel.replace('+', '%2B'), status: 200, body: '0123456789' },
  {
    title: 'a wheel is never compressed',
    path: wheel,
    headers: { 'accept-encoding': 'gzip' },
    status: 200,
    body: '0123456789',
    with: { 'content-encoding': null, 'content-length': '10' },
  },
  {
    title: "a wheel's metadata",
    path: `${wheel}.metadata`,
    status: 200,
    type: 'text/plain; charset=utf-8',
    body: 'Metadata-Version: 2.1\n',
    with: { 'cache-control': FOREVER },
  },
  {
    title: 'HEAD of a wheel',
    path: wheel,
    method: 'HEAD',
    status: 200,
    body: '',
    with: { 'content-length': '10', 'accept-ranges': 'bytes' },
  },
  {
    title: "a project in PyPI's JSON, with its serial",
    path: '/pypi/demo-pkg/json',
    status: 200,
    type: 'application/json',
    body: CONTENTS['pypi/demo-pkg/7.json'] ?? '',
    with: { ...SECURITY, 'x-pypi-last-serial': '7', 'cache-control': 'no-cache', etag: /^"/ },
  },
  {
    title: 'pages that are not a project have no serial header',
    path: '/',
    status: 200,
    with: { 'x-pypi-last-serial': null },
  },
  {
    title: "a wheel at the address in PyPI's JSON",
    path: wheel.replace('/simple/', '/packages/'),
    status: 200,
    type: 'application/octet-stream',
    body: '0123456789',
    with: { 'cache-control': FOREVER },
  },
  ...['bytes=2-4', 'bytes=20-'].map((range): Expectation => ({
    title: `HEAD ignores a range (${range})`,
    path: wheel,
    method: 'HEAD',
    headers: { range },
    status: 200,
    body: '',
    with: { 'content-range': null, 'content-length': '10' },
    unless: { nginx: [range === 'bytes=2-4' ? 206 : 416, 'it applies ranges to every method'] },
  })),
  { title: 'HEAD of a page', path: project, method: 'HEAD', status: 200, body: '', type: HTML },
  { title: 'HEAD of a missing page', path: '/nothing', method: 'HEAD', status: 404, body: '' },
  {
    title: 'a range in the middle',
    path: wheel,
    headers: { range: 'bytes=2-4' },
    status: 206,
    body: '234',
    with: { 'content-range': 'bytes 2-4/10', 'content-length': '3' },
  },
  {
    title: 'a range to the end',
    path: wheel,
    headers: { range: 'bytes=7-' },
    status: 206,
    body: '789',
    with: { 'content-range': 'bytes 7-9/10' },
  },
  {
    title: 'the last bytes',
    path: wheel,
    headers: { range: 'bytes=-3' },
    status: 206,
    body: '789',
    with: { 'content-range': 'bytes 7-9/10' },
  },
  {
    title: 'more last bytes than the file has',
    path: wheel,
    headers: { range: 'bytes=-30' },
    status: 206,
    body: '0123456789',
  },
  {
    title: 'a range that extends beyond the end is cut',
    path: wheel,
    headers: { range: 'bytes=8-100' },
    status: 206,
    body: '89',
  },
  {
    title: 'a range after the end',
    path: wheel,
    headers: { range: 'bytes=20-' },
    status: 416,
    with: { 'content-range': 'bytes */10' },
    unless: { Apache: [416, 'it does not send the length of the file'] },
  },
  {
    title: 'a request for several ranges gets the whole file',
    path: wheel,
    headers: { range: 'bytes=0-1,4-5' },
    status: 200,
    body: '0123456789',
  },
  {
    title: 'a range in another unit is ignored',
    path: wheel,
    headers: { range: 'lines=0-1' },
    status: 200,
    body: '0123456789',
  },
  {
    title: 'a range with an If-Range that does not match gets the whole file',
    path: wheel,
    headers: { range: 'bytes=2-4', 'if-range': '"another"' },
    status: 200,
    body: '0123456789',
  },

  {
    title: 'If-Match with other ETags',
    path: wheel,
    headers: { 'if-match': '"another", W/"and-one"', range: 'bytes=2-4' },
    status: 412,
  },
  { title: 'If-Match: *', path: wheel, headers: { 'if-match': '*' }, status: 200 },
  {
    title: 'If-Unmodified-Since before the last change',
    path: wheel,
    headers: { 'if-unmodified-since': 'Sat, 01 Jan 2000 00:00:00 GMT' },
    status: 412,
  },
  {
    title: 'If-Unmodified-Since after the last change',
    path: wheel,
    headers: { 'if-unmodified-since': 'Fri, 01 Jan 2100 00:00:00 GMT' },
    status: 200,
  },
  {
    title: 'an invalid If-Modified-Since is ignored',
    path: wheel,
    headers: { 'if-modified-since': '9999' },
    status: 200,
  },

  {
    title: 'a client that accepts gzip gets a compressed page',
    path: project,
    headers: { accept: JSON_TYPE, 'accept-encoding': 'gzip, deflate, br' },
    status: 200,
    type: JSON_TYPE,
    body: formContents('v1_json'),
    with: { 'content-encoding': 'gzip', vary: /accept-encoding/i },
  },
  {
    title: 'a client that does not accept gzip gets it uncompressed',
    path: project,
    headers: { accept: JSON_TYPE, 'accept-encoding': 'identity' },
    status: 200,
    type: JSON_TYPE,
    body: formContents('v1_json'),
    with: { 'content-encoding': null, vary: /accept-encoding/i },
  },
  {
    title: 'a client that sends gzip;q=0 gets it uncompressed',
    path: project,
    headers: { accept: JSON_TYPE, 'accept-encoding': 'gzip;q=0, br' },
    status: 200,
    body: formContents('v1_json'),
    with: { 'content-encoding': null },
  },
  {
    title: 'a page without a compressed file is sent as it is',
    path: project,
    headers: { accept: HTML_TYPE, 'accept-encoding': 'gzip' },
    status: 200,
    type: HTML_TYPE,
    body: formContents('v1_html'),
    with: { 'content-encoding': null },
  },
  {
    title: 'the compressed home page',
    path: '/',
    headers: { 'accept-encoding': 'gzip' },
    status: 200,
    type: HTML,
    body: CONTENTS['index.html'] ?? '',
    with: { 'content-encoding': 'gzip' },
  },
  {
    title: 'a compressed project page',
    path: '/project/demo-pkg/',
    headers: { 'accept-encoding': 'gzip' },
    status: 200,
    type: HTML,
    body: CONTENTS['project/demo-pkg/index.html'] ?? '',
    with: { 'content-encoding': 'gzip' },
  },

  {
    title: 'a compressed log, as it is stored',
    path: logText,
    headers: { 'accept-encoding': 'gzip' },
    status: 200,
    type: 'text/plain; charset=utf-8',
    body: LOG,
    with: { ...SECURITY, 'content-encoding': 'gzip', vary: /accept-encoding/i },
  },
  {
    title: 'a decompressed log',
    path: logText,
    status: 200,
    type: 'text/plain; charset=utf-8',
    body: LOG,
    with: { 'content-encoding': null, vary: /accept-encoding/i },
  },
  {
    title: 'a log is decompressed for gzip;q=0',
    path: logText,
    headers: { 'accept-encoding': 'gzip;q=0.0' },
    status: 200,
    body: LOG,
    with: { 'content-encoding': null },
  },
  {
    title: "a log's page",
    path: `/${logPath(LOG_BUILD)}`,
    headers: { 'accept-encoding': 'gzip' },
    status: 200,
    type: HTML,
    body: LOG,
    with: { 'content-encoding': 'gzip' },
  },
  { title: 'HEAD of a log', path: logText, method: 'HEAD', status: 200, body: '' },

  ...['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'].map((method): Expectation => ({
    title: `${method} is not allowed`,
    path: project,
    method,
    status: 405,
    with: { allow: /^GET, HEAD(, )?$/ },
  })),
  { title: 'POST of a missing page', path: '/nothing', method: 'POST', status: 405 },

  ...NOT_FOUND_PATHS.map((path): Expectation => ({
    title: `${path.slice(0, 60)} is not found`,
    path,
    status: 404,
    type: HTML,
    body: CONTENTS['404.html'] ?? '',
    with: { ...SECURITY, 'cache-control': null },
    ...(path.includes('%00') ? { unless: { nginx: BAD_REQUEST } } : {}),
  })),
  {
    title: 'two slashes count as one',
    path: '//simple//demo-pkg//',
    ...accepting(JSON_TYPE),
    status: 200,
    type: JSON_TYPE,
    body: formContents('v1_json'),
  },
  {
    title: 'two slashes become one in a redirect',
    path: '//simple//Demo_Pkg',
    status: 301,
    location: '/simple/demo-pkg/',
  },
  {
    title: 'a request with an absolute URL',
    path: 'http://localhost/simple/demo-pkg/',
    ...accepting(JSON_TYPE),
    status: 200,
    type: JSON_TYPE,
    body: formContents('v1_json'),
  },
  {
    title: 'a path that is too long',
    path: `/${'x'.repeat(20_000)}`,
    status: 414,
    unless: { 'piw web': [431, 'Node has one limit for all headers'] },
  },
];
