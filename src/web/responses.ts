import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { CONTENT_SECURITY_POLICY_HEADER } from '../site/pages/design.js';
import type { OpenedFile } from './open-file.js';

/** Files whose contents never change: wheels, their metadata, and files with a digest in their name. */
const IMMUTABLE_PATH = /\.whl(?:\.metadata)?$|\/static\/[^/]+\.[0-9a-f]{8,}\.\w+$/;
/** Headers of every answer. */
export const SECURITY_HEADERS = {
  'access-control-allow-origin': '*',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'content-security-policy': CONTENT_SECURITY_POLICY_HEADER,
};

/** Sends an open file and closes it. */
export async function sendFile(
  opened: OpenedFile,
  representation: { readonly type: string; readonly form?: string },
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    await sendOpenFile(opened, representation, request, response);
  } finally {
    await opened.file.close();
  }
}

async function sendOpenFile(
  opened: OpenedFile,
  { type, form = '' }: { readonly type: string; readonly form?: string },
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { path, encoding, stats } = opened;
  const { size, mtime, mtimeMs, ino } = stats;
  const variant = `${form}${encoding === 'gzip' ? '-gzip' : ''}`;
  const etag = `"${size.toString(16)}-${Math.floor(mtimeMs * 1000).toString(16)}-${ino.toString(16)}${variant}"`;
  const isUnencoded = encoding === 'identity';
  const headers: Record<string, string> = {
    ...SECURITY_HEADERS,
    etag,
    'last-modified': mtime.toUTCString(),
    'content-type': type,
    ...(isUnencoded ? { 'accept-ranges': 'bytes' } : {}),
    ...(encoding === 'gzip' ? { 'content-encoding': 'gzip' } : {}),
    ...(response.hasHeader('vary') || path.endsWith('.whl') ? {} : { vary: 'Accept-Encoding' }),
    // A published file never changes; a page may at any time.
    'cache-control': IMMUTABLE_PATH.test(path) ? 'public, max-age=31536000, immutable' : 'no-cache',
  };
  if (failsPrecondition(request, etag, mtimeMs)) {
    sendText(response, 412, 'text/plain', 'The file has changed.\n');
    return;
  }
  if (isNotModified(request, etag, mtimeMs)) {
    response.writeHead(304, headers).end();
    return;
  }
  // Ranges are defined for GET only (RFC 9110, 14.2).
  const ranged = isUnencoded && request.method === 'GET' && rangeApplies(request, etag);
  const range = ranged ? parseRange(request.headers.range, size) : 'all';
  if (range === 'unsatisfiable') {
    response.writeHead(416, { ...headers, 'content-range': `bytes */${size}` }).end();
    return;
  }
  const [start, end] = range === 'all' ? [0, size - 1] : range;
  if (encoding !== 'gunzip') headers['content-length'] = String(end - start + 1);
  if (range !== 'all') headers['content-range'] = `bytes ${start}-${end}/${size}`;
  response.writeHead(range === 'all' ? 200 : 206, headers);
  if (request.method === 'HEAD' || size === 0) response.end();
  else await streamFile(opened, start, end, response);
}

/** Ignores that the client closed the connection early: that is not an error of the server. */
function ignorePrematureClose(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error;
}

/** Sends bytes `start` to `end`, both inclusive, of an open file. */
export async function streamFile(
  { file, encoding }: OpenedFile,
  start: number,
  end: number,
  response: ServerResponse,
): Promise<void> {
  const stream = file.createReadStream({ start, end, autoClose: false });
  if (encoding === 'gunzip') await pipeline(stream, createGunzip(), response).catch(ignorePrematureClose);
  else await pipeline(stream, response).catch(ignorePrematureClose);
}

const parseEtags = (header: string): readonly string[] => header.split(',').map((etag) => etag.trim());

/** Returns whether the client requires another state of the file (RFC 9110, 13.1.1 and 13.1.4). */
function failsPrecondition(request: IncomingMessage, etag: string, mtimeMs: number): boolean {
  const match = request.headers['if-match'];
  if (match !== undefined)
    return !parseEtags(match).some((candidate) => candidate === etag || candidate === '*');
  return floorToSecond(mtimeMs) > parseHttpDate(request.headers['if-unmodified-since']);
}

/** Returns whether the client already has this state of the file. */
function isNotModified(request: IncomingMessage, etag: string, mtimeMs: number): boolean {
  const match = request.headers['if-none-match'];
  if (match !== undefined)
    return parseEtags(match).some((candidate) => [etag, '*', `W/${etag}`].includes(candidate));
  return floorToSecond(mtimeMs) <= parseHttpDate(request.headers['if-modified-since']);
}

/** Returns a header's time in milliseconds since 1970; NaN if it isn't valid (RFC 9110, 5.6.7): then it is ignored. */
const parseHttpDate = (text = ''): number => (/^[A-Z][a-z]+, .* GMT$/.test(text) ? Date.parse(text) : NaN);

/** Rounds a time down to whole seconds, the resolution of headers. Milliseconds. */
const floorToSecond = (ms: number): number => Math.floor(ms / 1000) * 1000;

function rangeApplies(request: IncomingMessage, etag: string): boolean {
  const condition = request.headers['if-range'];
  return condition === undefined || condition === etag;
}

/** Returns a single range of bytes, both ends inclusive; for several ranges the answer is the whole file. */
function parseRange(
  header: string | undefined,
  size: number,
): readonly [number, number] | 'all' | 'unsatisfiable' {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header?.trim() ?? '');
  if (!match || (match[1] === '' && match[2] === '')) return 'all';
  const [, from = '', to = ''] = match;
  const start = from === '' ? Math.max(0, size - Number(to)) : Number(from);
  const end = from === '' || to === '' ? size - 1 : Math.min(Number(to), size - 1);
  return start <= end && start < size ? [start, end] : 'unsatisfiable';
}

/** Redirects to a path, which is not yet escaped. */
export function redirectTo(response: ServerResponse, path: string): void {
  const location = encodeURI(path).replace(/[?#]/g, encodeURIComponent);
  response.setHeader('location', location);
  sendText(response, 301, 'text/plain', `${location}\n`);
}

/** Sends a short text as the whole answer. */
export function sendText(response: ServerResponse, status: number, type: string, body: string): void {
  response
    .writeHead(status, {
      ...SECURITY_HEADERS,
      'content-type': type,
      'content-length': Buffer.byteLength(body),
    })
    .end(body);
}
