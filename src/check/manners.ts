import { gunzipSync } from 'node:zlib';
import { normalise } from '../wheels/names.js';
import {
  mediaType,
  headerValues,
  type HttpResponse,
  type HttpRequestOptions,
  type HttpClient,
} from './client.js';
import type { FaultReporter } from './faults.js';
import { formatQuantity } from '../units.js';

export const JSON_TYPE = 'application/vnd.pypi.simple.v1+json';
const HTML_TYPE = 'application/vnd.pypi.simple.v1+html';
export const PLAIN_TYPE = 'text/html';
export const FORMS = [JSON_TYPE, HTML_TYPE, PLAIN_TYPE] as const;

/** What clients send as Accept, and the type that they have to get. */
const ACCEPT_CASES = [
  [undefined, PLAIN_TYPE],
  ['*/*', PLAIN_TYPE],
  // pip, since 22.2.
  [`${JSON_TYPE}, ${HTML_TYPE}; q=0.1, text/html; q=0.01`, JSON_TYPE],
  // uv.
  [`${JSON_TYPE}, ${HTML_TYPE};q=0.2, text/html;q=0.01`, JSON_TYPE],
  [`${JSON_TYPE};q=0.1, ${HTML_TYPE};q=0.9`, HTML_TYPE],
  [`${JSON_TYPE};q=0.1, text/html;q=0.9`, PLAIN_TYPE],
  // A browser.
  ['text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8', PLAIN_TYPE],
] as const;

/** Checks how the server answers all kinds of clients for one page of the index, `simple/` or `simple/NAME/`. */
export async function checkIndexResponses(
  client: HttpClient,
  path: string,
  report: FaultReporter,
): Promise<void> {
  const responsesByEtag = new Map<string, { readonly type: string; readonly body: Buffer }>();
  for (const type of FORMS) {
    const response = await client.request(path, { accept: type });
    if (!headerValues(response.headers, 'vary').includes('accept'))
      report(
        'http-vary',
        `${path} as ${type}`,
        `Vary: ${response.headers.vary ?? 'missing'}`,
        'Vary: Accept',
      );
    const { etag } = response.headers;
    if (etag?.startsWith('"')) {
      const previous = responsesByEtag.get(etag);
      // The two HTML forms may be the same file.
      if (previous && !previous.body.equals(response.body))
        report('http-etag-shared', path, `${etag} for ${previous.type} and for ${type}`, 'different ETags');
      responsesByEtag.set(etag, { type, body: response.body });
    }
    await checkPageResponses(client, path, { accept: type }, response, report);
  }
  for (const [accept, type] of ACCEPT_CASES) {
    const { status, headers } = await client.request(path, accept === undefined ? {} : { accept });
    if (status !== 200 || mediaType(headers) !== type)
      report('http-quality', `${path} for ${accept ?? 'no Accept'}`, `${status} ${mediaType(headers)}`, type);
  }
  for (const form of ['json', 'html']) {
    const latest = `application/vnd.pypi.simple.latest+${form}`;
    const { status, headers } = await client.request(path, { accept: latest });
    const expectedType = form === 'json' ? JSON_TYPE : HTML_TYPE;
    if (status !== 200 || mediaType(headers) !== expectedType)
      report('http-latest', `${path} for ${latest}`, `${status} ${mediaType(headers)}`, expectedType);
  }
  for (const accept of ['image/png', 'application/vnd.pypi.simple.v2+json']) {
    const { status } = await client.request(path, { accept });
    if (status !== 406) report('http-406', `${path} for ${accept}`, String(status), '406');
  }
  await checkRedirect(client, path.replace(/\/$/, ''), path, 'http-slash', report);
}

/** Checks that other spellings of a name redirect to the normalised one. */
export async function checkNameRedirects(
  client: HttpClient,
  name: string,
  report: FaultReporter,
): Promise<void> {
  const spellings = [name.toUpperCase(), name.replaceAll('-', '_'), name.replaceAll('-', '.-')];
  for (const spelling of new Set(spellings))
    if (spelling !== name && normalise(spelling) === name) {
      await checkRedirect(client, `simple/${spelling}/`, `simple/${name}/`, 'http-normalise', report);
      await checkRedirect(client, `simple/${spelling}`, `simple/${name}/`, 'http-normalise', report);
    }
}

/** Checks that `from` redirects to `to`, in at most two steps. */
export async function checkRedirect(
  client: HttpClient,
  from: string,
  to: string,
  rule: 'http-slash' | 'http-normalise' | 'http-short',
  report: FaultReporter,
): Promise<void> {
  let currentPath = from;
  // A server may normalise the name and add the slash in two separate redirects.
  for (let steps = 0; steps < 3; steps += 1) {
    const { status, headers } = await client.request(currentPath);
    const { location } = headers;
    if (![301, 302, 307, 308].includes(status) || location === undefined) {
      report(rule, from, String(status), `a redirect to ${to}`);
      return;
    }
    const target = new URL(location, client.baseUrl + currentPath).href;
    if (target === client.baseUrl + to) return;
    if (!target.startsWith(client.baseUrl)) {
      report(rule, from, `a redirect to ${location}`, to);
      return;
    }
    currentPath = target.slice(client.baseUrl.length);
  }
  report(rule, from, `redirects to ${currentPath}`, to);
}

/**
 * Checks what applies to any page: its ETag, 304, HEAD, and its compressed response. `plainResponse` is the response to
 * a request for `path` with `options`.
 */
export async function checkPageResponses(
  client: HttpClient,
  path: string,
  options: HttpRequestOptions,
  plainResponse: HttpResponse,
  report: FaultReporter,
): Promise<void> {
  const label = options.accept === undefined ? path : `${path} as ${options.accept}`;
  const request = (headers: Record<string, string>, method: 'GET' | 'HEAD' = 'GET') =>
    client.request(path, { ...options, method, headers: { ...options.headers, ...headers } });
  if (plainResponse.headers['x-content-type-options'] !== 'nosniff')
    report('http-nosniff', label, 'no X-Content-Type-Options', 'nosniff');
  if (plainResponse.headers['set-cookie']) report('http-cookie', label, 'Set-Cookie', 'no cookie');
  if (plainResponse.truncated)
    report(
      'http-length',
      label,
      `the connection ended after ${formatQuantity(plainResponse.body.length, 'byte')}`,
      'the whole body',
    );
  await checkNotModified(label, plainResponse, request, report);
  const head = await request({}, 'HEAD');
  for (const name of ['content-type', 'etag', 'last-modified', 'vary', 'content-length'] as const) {
    const [headValue, getValue] = [head.headers[name], plainResponse.headers[name]];
    const isIgnored = name === 'content-length' && (headValue === undefined || getValue === undefined);
    if (!isIgnored && String(headValue) !== String(getValue))
      report('http-head', label, `${name}: ${String(headValue)}`, `${name}: ${String(getValue)}, as for GET`);
  }
  if (head.status !== plainResponse.status)
    report('http-head', label, String(head.status), String(plainResponse.status));
  await checkCompression(label, plainResponse, request, report);
}

type Requester = (headers: Record<string, string>, method?: 'GET' | 'HEAD') => Promise<HttpResponse>;

/** Checks that what a client already has is answered with 304. */
async function checkNotModified(
  label: string,
  plainResponse: HttpResponse,
  request: Requester,
  report: FaultReporter,
): Promise<void> {
  const { etag, 'last-modified': time } = plainResponse.headers;
  if (etag === undefined || time === undefined)
    report('http-etag', label, `ETag ${etag ?? 'missing'}, Last-Modified ${time ?? 'missing'}`, 'both');
  const conditions: Record<string, string>[] = [];
  if (etag !== undefined) conditions.push({ 'if-none-match': etag }, { 'if-none-match': `"other", ${etag}` });
  if (time !== undefined) conditions.push({ 'if-modified-since': time });
  for (const condition of conditions) {
    const { status } = await request(condition);
    if (status !== 304) report('http-304', label, `${status} for ${JSON.stringify(condition)}`, '304');
  }
  const { status } = await request({ 'if-none-match': '"other"' });
  if (status !== plainResponse.status)
    report('http-304', label, `${status} for a different ETag`, String(plainResponse.status));
}

/** Checks the compressed response, if there is one, and that a client can refuse it. */
async function checkCompression(
  label: string,
  plainResponse: HttpResponse,
  request: Requester,
  report: FaultReporter,
): Promise<void> {
  const refused = await request({ 'accept-encoding': 'gzip;q=0, identity' });
  if (isGzipped(refused))
    report('http-gzip-refused', label, 'a compressed response for gzip;q=0', 'an uncompressed response');
  const compressed = await request({ 'accept-encoding': 'gzip' });
  if (!isGzipped(compressed)) return;
  for (const response of [plainResponse, compressed])
    if (!headerValues(response.headers, 'vary').includes('accept-encoding'))
      report('http-gzip-vary', label, `Vary: ${response.headers.vary ?? 'missing'}`, 'Vary: Accept-Encoding');
  if (!gunzipBody(compressed)?.equals(plainResponse.body))
    report(
      'http-gzip',
      label,
      'a compressed response with different content',
      'the content of the uncompressed one',
    );
  const { etag } = compressed.headers;
  if (etag?.startsWith('"') && etag === plainResponse.headers.etag)
    report(
      'http-etag-shared',
      label,
      `${etag} for the compressed and the uncompressed response`,
      'different ETags',
    );
  if (etag === undefined) return;
  const notModified = await request({ 'accept-encoding': 'gzip', 'if-none-match': etag });
  if (notModified.status !== 304)
    report('http-304', label, `${notModified.status} for the compressed response’s ETag`, '304');
}

const isGzipped = ({ headers }: HttpResponse): boolean =>
  headerValues(headers, 'content-encoding').includes('gzip');

function gunzipBody({ body }: HttpResponse): Buffer | undefined {
  try {
    return gunzipSync(body);
  } catch {
    return undefined;
  }
}

/** Checks how a wheel of `size` bytes is served: with ranges, which uv requests, and never with a content coding. */
export async function checkFileResponses(
  client: HttpClient,
  path: string,
  size: number,
  report: FaultReporter,
): Promise<void> {
  const request = (headers: Record<string, string>, method: 'GET' | 'HEAD' = 'GET') =>
    client.request(path, { method, headers });
  const head = await request({}, 'HEAD');
  // A missing file is reported elsewhere.
  if (head.status !== 200) return;
  if (!headerValues(head.headers, 'accept-ranges').includes('bytes'))
    report('http-ranges', path, 'HEAD without Accept-Ranges', 'Accept-Ranges: bytes');
  const compressed = await request({ 'accept-encoding': 'gzip, deflate, br, zstd' }, 'HEAD');
  if (headerValues(compressed.headers, 'content-encoding').some((coding) => coding !== 'identity'))
    report('http-file-encoded', path, String(compressed.headers['content-encoding']), 'no Content-Encoding');
  const end = Math.min(size, 64);
  if (size < 2) return;
  const first = await request({ range: `bytes=0-${end - 1}` });
  const last = await request({ range: `bytes=-${end}` });
  const middle = await request({ range: `bytes=1-${end - 1}` });
  const rangesCorrect =
    isByteRange(first, 0, end, size) &&
    isByteRange(last, size - end, end, size) &&
    isByteRange(middle, 1, end - 1, size) &&
    first.body.subarray(1).equals(middle.body) &&
    // A wheel is a zip archive.
    first.body.toString('latin1', 0, 2) === 'PK';
  if (!rangesCorrect)
    report(
      'http-ranges',
      path,
      [first, middle, last]
        .map((response) => `${response.status} ${response.headers['content-range'] ?? ''}`)
        .join(', '),
      '206 with the requested ranges',
    );
  const beyond = await request({ range: `bytes=${size}-` });
  if (beyond.status !== 416) report('http-416', path, `${beyond.status} for a range beyond its end`, '416');
  const mismatched = await client.request(path, {
    headers: { range: 'bytes=0-0', 'if-range': '"other"' },
    discardBody: true,
  });
  if (mismatched.status !== 200)
    report('http-if-range', path, `${mismatched.status} for a different ETag`, '200');
  const { etag } = head.headers;
  if (etag?.startsWith('"')) {
    const same = await request({ range: 'bytes=0-0', 'if-range': etag });
    if (same.status !== 206) report('http-if-range', path, `${same.status} for its own ETag`, '206');
    const notModified = await request({ 'if-none-match': etag });
    if (notModified.status !== 304) report('http-304', path, `${notModified.status} for its own ETag`, '304');
  }
}

function isByteRange(
  { status, headers, body }: HttpResponse,
  start: number,
  length: number,
  size: number,
): boolean {
  const range = `bytes ${start}-${start + length - 1}/${size}`;
  return status === 206 && headers['content-range'] === range && body.length === length;
}
