import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { CONTENT_SECURITY_POLICY_HEADER } from '../site/pages/design.js';
import type { OpenedFile } from './open-file.js';

/** What never changes under its name: wheels with their metadata, and what bears a digest in its name. */
const IMMUTABLE_PATH = /\.whl(?:\.metadata)?$|\/static\/[^/]+\.[0-9a-f]{8,}\.\w+$/;
/** What goes with every answer. */
export const SECURITY_HEADERS = {
  'access-control-allow-origin': '*',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'content-security-policy': CONTENT_SECURITY_POLICY_HEADER,
};

/** Sends an open file, which it closes. */
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
  const variant = `${form}${encoding === 'packed' ? '-gzip' : ''}`;
  const etag = `"${size.toString(16)}-${Math.floor(mtimeMs * 1000).toString(16)}-${ino.toString(16)}${variant}"`;
  const isUnencoded = encoding === 'it is';
  const headers: Record<string, string> = {
    ...SECURITY_HEADERS,
    etag,
    'last-modified': mtime.toUTCString(),
    'content-type': type,
    ...(isUnencoded ? { 'accept-ranges': 'bytes' } : {}),
    ...(encoding === 'packed' ? { 'content-encoding': 'gzip' } : {}),
    ...(response.hasHeader('vary') || path.endsWith('.whl') ? {} : { vary: 'Accept-Encoding' }),
    // A published file never changes; a page may at any time.
    'cache-control': IMMUTABLE_PATH.test(path) ? 'public, max-age=31536000, immutable' : 'no-cache',
  };
  if (failsPrecondition(request, etag, mtimeMs)) {
    sendText(response, 412, 'text/plain', 'It is another by now.\n');
    return;
  }
  if (isNotModified(request, etag, mtimeMs)) {
    response.writeHead(304, headers).end();
    return;
  }
  // A range means something with GET only (RFC 9110, 14.2).
  const ranged = isUnencoded && request.method === 'GET' && rangeApplies(request, etag);
  const range = ranged ? parseRange(request.headers.range, size) : 'all';
  if (range === 'none') {
    response.writeHead(416, { ...headers, 'content-range': `bytes */${String(size)}` }).end();
    return;
  }
  const [start, end] = range === 'all' ? [0, size - 1] : range;
  if (encoding !== 'to be unpacked') headers['content-length'] = String(end - start + 1);
  if (range !== 'all') headers['content-range'] = `bytes ${String(start)}-${String(end)}/${String(size)}`;
  response.writeHead(range === 'all' ? 200 : 206, headers);
  if (request.method === 'HEAD' || size === 0) response.end();
  else await streamFile(opened, start, end, response);
}

/** A reader that went away is no fault. */
function ignorePrematureClose(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error;
}

export async function streamFile(
  { file, encoding }: OpenedFile,
  start: number,
  end: number,
  response: ServerResponse,
): Promise<void> {
  const reading = file.createReadStream({ start, end, autoClose: false });
  if (encoding === 'to be unpacked')
    await pipeline(reading, createGunzip(), response).catch(ignorePrematureClose);
  else await pipeline(reading, response).catch(ignorePrematureClose);
}

const parseEtags = (header: string): readonly string[] => header.split(',').map((one) => one.trim());

/** The client wants what it knows, and nothing else (RFC 9110, 13.1.1 and 13.1.4). */
function failsPrecondition(request: IncomingMessage, etag: string, mtimeMs: number): boolean {
  const match = request.headers['if-match'];
  if (match !== undefined) return !parseEtags(match).some((one) => one === etag || one === '*');
  return floorToSecond(mtimeMs) > parseHttpDate(request.headers['if-unmodified-since']);
}

/** The client knows it already. */
function isNotModified(request: IncomingMessage, etag: string, mtimeMs: number): boolean {
  const match = request.headers['if-none-match'];
  if (match !== undefined) return parseEtags(match).some((one) => [etag, '*', `W/${etag}`].includes(one));
  return floorToSecond(mtimeMs) <= parseHttpDate(request.headers['if-modified-since']);
}

/** Milliseconds since 1970 of a time in a header; NaN for what is none (RFC 9110, 5.6.7): such a header counts for nothing. */
const parseHttpDate = (text = ''): number => (/^[A-Z][a-z]+, .* GMT$/.test(text) ? Date.parse(text) : NaN);

/** A time as headers have it: in whole seconds. */
const floorToSecond = (ms: number): number => Math.floor(ms / 1000) * 1000;

function rangeApplies(request: IncomingMessage, etag: string): boolean {
  const condition = request.headers['if-range'];
  return condition === undefined || condition === etag;
}

/** One range of bytes, both ends included; several at once are answered with the whole file. */
function parseRange(header: string | undefined, size: number): readonly [number, number] | 'all' | 'none' {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header?.trim() ?? '');
  if (!match || (match[1] === '' && match[2] === '')) return 'all';
  const [, from = '', to = ''] = match;
  const start = from === '' ? Math.max(0, size - Number(to)) : Number(from);
  const end = from === '' || to === '' ? size - 1 : Math.min(Number(to), size - 1);
  return start <= end && start < size ? [start, end] : 'none';
}

/** `path` is decoded. */
export function redirectTo(response: ServerResponse, path: string): void {
  const location = encodeURI(path).replace(/[?#]/g, encodeURIComponent);
  response.setHeader('location', location);
  sendText(response, 301, 'text/plain', `${location}\n`);
}

/** A short answer in words. */
export function sendText(response: ServerResponse, status: number, type: string, body: string): void {
  response
    .writeHead(status, {
      ...SECURITY_HEADERS,
      'content-type': type,
      'content-length': Buffer.byteLength(body),
    })
    .end(body);
}
