import { gunzipSync } from 'node:zlib';
import { normalise } from '../../wheels/names.js';
import { typeOf, words, type Answer, type Question, type Server } from './client.js';
import type { Tell } from './faults.js';

export const JSON_TYPE = 'application/vnd.pypi.simple.v1+json';
export const HTML_TYPE = 'application/vnd.pypi.simple.v1+html';
export const PLAIN_TYPE = 'text/html';
export const FORMS = [JSON_TYPE, HTML_TYPE, PLAIN_TYPE] as const;

/** What clients say that they accept, and which type they are to get. */
const CHOICES = [
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

/** How the server gives one page of the index, `simple/` or `simple/NAME/`, to all kinds of clients. */
export async function holdIndexManners(server: Server, path: string, tell: Tell): Promise<void> {
  const strong = new Map<string, { readonly type: string; readonly body: Buffer }>();
  for (const type of FORMS) {
    const answer = await server.ask(path, { accept: type });
    if (!words(answer.headers, 'vary').includes('accept'))
      tell('http-vary', `${path} as ${type}`, `Vary: ${answer.headers.vary ?? ''}`, 'Vary: Accept');
    const { etag } = answer.headers;
    if (etag?.startsWith('"')) {
      const other = strong.get(etag);
      // The two forms of HTML may be one file.
      if (other && !other.body.equals(answer.body))
        tell('http-etag-shared', path, `${etag} for ${other.type} and for ${type}`, 'an ETag for each');
      strong.set(etag, { type, body: answer.body });
    }
    await holdPageManners(server, path, { accept: type }, answer, tell);
  }
  for (const [accept, type] of CHOICES) {
    const { status, headers } = await server.ask(path, accept === undefined ? {} : { accept });
    if (status !== 200 || typeOf(headers) !== type)
      tell(
        'http-quality',
        `${path} for ${accept ?? 'no Accept'}`,
        `${String(status)} ${typeOf(headers)}`,
        type,
      );
  }
  for (const form of ['json', 'html']) {
    const latest = `application/vnd.pypi.simple.latest+${form}`;
    const { status, headers } = await server.ask(path, { accept: latest });
    const wanted = form === 'json' ? JSON_TYPE : HTML_TYPE;
    if (status !== 200 || typeOf(headers) !== wanted)
      tell('http-latest', `${path} for ${latest}`, `${String(status)} ${typeOf(headers)}`, wanted);
  }
  for (const accept of ['image/png', 'application/vnd.pypi.simple.v2+json']) {
    const { status } = await server.ask(path, { accept });
    if (status !== 406) tell('http-406', `${path} for ${accept}`, String(status), '406');
  }
  await holdRedirect(server, path.replace(/\/$/, ''), path, 'http-slash', tell);
}

/** A name in other spellings leads to the one that it has here. */
export async function holdNames(server: Server, name: string, tell: Tell): Promise<void> {
  const spellings = [name.toUpperCase(), name.replaceAll('-', '_'), name.replaceAll('-', '.-')];
  for (const other of new Set(spellings))
    if (other !== name && normalise(other) === name) {
      await holdRedirect(server, `simple/${other}/`, `simple/${name}/`, 'http-normalise', tell);
      await holdRedirect(server, `simple/${other}`, `simple/${name}/`, 'http-normalise', tell);
    }
}

export async function holdRedirect(
  server: Server,
  from: string,
  to: string,
  rule: 'http-slash' | 'http-normalise' | 'http-short',
  tell: Tell,
): Promise<void> {
  let at = from;
  // A server may take the two steps one after the other.
  for (let steps = 0; steps < 3; steps += 1) {
    const { status, headers } = await server.ask(at);
    const { location } = headers;
    if (![301, 302, 307, 308].includes(status) || location === undefined) {
      tell(rule, from, String(status), `a redirect to ${to}`);
      return;
    }
    const target = new URL(location, server.address + at).href;
    if (target === server.address + to) return;
    if (!target.startsWith(server.address)) {
      tell(rule, from, `a redirect to ${location}`, to);
      return;
    }
    at = target.slice(server.address.length);
  }
  tell(rule, from, `redirects to ${at}`, to);
}

/** What holds for any page: its ETag, 304, HEAD, its compressed answer. `plain` is the answer to `question`. */
export async function holdPageManners(
  server: Server,
  path: string,
  question: Question,
  plain: Answer,
  tell: Tell,
): Promise<void> {
  const at = question.accept === undefined ? path : `${path} as ${question.accept}`;
  const asks = (headers: Record<string, string>, method: 'GET' | 'HEAD' = 'GET') =>
    server.ask(path, { ...question, method, headers: { ...question.headers, ...headers } });
  if (plain.headers['x-content-type-options'] !== 'nosniff')
    tell('http-nosniff', at, 'no X-Content-Type-Options', 'nosniff');
  if (plain.headers['set-cookie']) tell('http-cookie', at, 'Set-Cookie', 'no cookie');
  if (plain.cut) tell('http-length', at, `${String(plain.body.length)} bytes, and then an end`, 'all of it');
  await holdKnown(at, plain, asks, tell);
  const head = await asks({}, 'HEAD');
  for (const name of ['content-type', 'etag', 'last-modified', 'vary', 'content-length'] as const) {
    const [its, other] = [head.headers[name], plain.headers[name]];
    const left = name === 'content-length' && (its === undefined || other === undefined);
    if (!left && String(its) !== String(other))
      tell('http-head', at, `${name}: ${String(its)}`, `${name}: ${String(other)}, as GET has it`);
  }
  if (head.status !== plain.status) tell('http-head', at, String(head.status), String(plain.status));
  await holdCompressed(at, plain, asks, tell);
}

type Ask = (headers: Record<string, string>, method?: 'GET' | 'HEAD') => Promise<Answer>;

/** What a client has already isn't sent again. */
async function holdKnown(at: string, plain: Answer, ask: Ask, tell: Tell): Promise<void> {
  const { etag, 'last-modified': time } = plain.headers;
  if (etag === undefined || time === undefined)
    tell('http-etag', at, `ETag ${etag ?? 'missing'}, Last-Modified ${time ?? 'missing'}`, 'both');
  const conditions: Record<string, string>[] = [];
  if (etag !== undefined) conditions.push({ 'if-none-match': etag }, { 'if-none-match': `"other", ${etag}` });
  if (time !== undefined) conditions.push({ 'if-modified-since': time });
  for (const condition of conditions) {
    const { status } = await ask(condition);
    if (status !== 304) tell('http-304', at, `${String(status)} for ${JSON.stringify(condition)}`, '304');
  }
  const { status } = await ask({ 'if-none-match': '"other"' });
  if (status !== plain.status)
    tell('http-304', at, `${String(status)} for another ETag`, String(plain.status));
}

async function holdCompressed(at: string, plain: Answer, ask: Ask, tell: Tell): Promise<void> {
  const refused = await ask({ 'accept-encoding': 'gzip;q=0, identity' });
  if (encoded(refused)) tell('http-gzip-refused', at, 'a compressed answer for gzip;q=0', 'a plain one');
  const packed = await ask({ 'accept-encoding': 'gzip' });
  if (!encoded(packed)) return;
  for (const answer of [plain, packed])
    if (!words(answer.headers, 'vary').includes('accept-encoding'))
      tell('http-gzip-vary', at, `Vary: ${answer.headers.vary ?? ''}`, 'Vary: Accept-Encoding');
  if (!unpacked(packed)?.equals(plain.body))
    tell('http-gzip', at, 'a compressed answer of something else', 'the plain one, compressed');
  const { etag } = packed.headers;
  if (etag?.startsWith('"') && etag === plain.headers.etag)
    tell('http-etag-shared', at, `${etag} for the plain and the compressed answer`, 'an ETag for each');
  if (etag === undefined) return;
  const again = await ask({ 'accept-encoding': 'gzip', 'if-none-match': etag });
  if (again.status !== 304)
    tell('http-304', at, `${String(again.status)} for the compressed answer’s ETag`, '304');
}

const encoded = ({ headers }: Answer): boolean => words(headers, 'content-encoding').includes('gzip');

function unpacked({ body }: Answer): Buffer | undefined {
  try {
    return gunzipSync(body);
  } catch {
    return undefined;
  }
}

/** How a wheel of `size` bytes is given: by ranges, which uv reads, and never encoded. */
export async function holdFileManners(server: Server, path: string, size: number, tell: Tell): Promise<void> {
  const ask = (headers: Record<string, string>, method: 'GET' | 'HEAD' = 'GET') =>
    server.ask(path, { method, headers });
  const head = await ask({}, 'HEAD');
  // That it isn't there is told elsewhere.
  if (head.status !== 200) return;
  if (!words(head.headers, 'accept-ranges').includes('bytes'))
    tell('http-ranges', path, 'HEAD without Accept-Ranges', 'Accept-Ranges: bytes');
  const packed = await ask({ 'accept-encoding': 'gzip, deflate, br, zstd' }, 'HEAD');
  if (words(packed.headers, 'content-encoding').some((coding) => coding !== 'identity'))
    tell('http-file-encoded', path, String(packed.headers['content-encoding']), 'no Content-Encoding');
  const end = Math.min(size, 64);
  if (size < 2) return;
  const first = await ask({ range: `bytes=0-${String(end - 1)}` });
  const last = await ask({ range: `bytes=-${String(end)}` });
  const middle = await ask({ range: `bytes=1-${String(end - 1)}` });
  const right =
    isPart(first, 0, end, size) &&
    isPart(last, size - end, end, size) &&
    isPart(middle, 1, end - 1, size) &&
    first.body.subarray(1).equals(middle.body) &&
    // A wheel is a zip archive.
    first.body.toString('latin1', 0, 2) === 'PK';
  if (!right)
    tell(
      'http-ranges',
      path,
      [first, middle, last].map((a) => `${String(a.status)} ${a.headers['content-range'] ?? ''}`).join(', '),
      '206 with these ranges of it',
    );
  const beyond = await ask({ range: `bytes=${String(size)}-` });
  if (beyond.status !== 416) tell('http-416', path, `${String(beyond.status)} behind its end`, '416');
  const other = await server.ask(path, {
    headers: { range: 'bytes=0-0', 'if-range': '"other"' },
    unread: true,
  });
  if (other.status !== 200) tell('http-if-range', path, `${String(other.status)} for another ETag`, '200');
  const { etag } = head.headers;
  if (etag?.startsWith('"')) {
    const same = await ask({ range: 'bytes=0-0', 'if-range': etag });
    if (same.status !== 206) tell('http-if-range', path, `${String(same.status)} for its own ETag`, '206');
    const known = await ask({ 'if-none-match': etag });
    if (known.status !== 304) tell('http-304', path, `${String(known.status)} for its own ETag`, '304');
  }
}

function isPart({ status, headers, body }: Answer, start: number, length: number, size: number): boolean {
  const range = `bytes ${String(start)}-${String(start + length - 1)}/${String(size)}`;
  return status === 206 && headers['content-range'] === range && body.length === length;
}
