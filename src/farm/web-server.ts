import type { Stats } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { extname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { createGunzip } from 'node:zlib';
import Negotiator from 'negotiator';
import { PiwError, reason } from '../errors.js';
import { POLICY_HEADER } from '../site/design.js';
import { PACKED, notFoundPath, packagesPath } from '../site/layout.js';
import { HEAD_BYTES } from '../site/serial.js';
import { serialOf } from '../site/simple.js';
import { isPackageName, normalise } from '../wheels/names.js';

export interface WebServer {
  readonly port: number;
  close(): Promise<void>;
}

const JSON_TYPE = 'application/vnd.pypi.simple.v1+json';
const HTML_TYPE = 'application/vnd.pypi.simple.v1+html';
/** What a client may ask for of the simple index, as it names it, with the file and the real type of it. */
const FORMS: readonly (readonly [accept: string, file: string, type: string])[] = [
  ['text/html', 'index.html', 'text/html; charset=utf-8'],
  [HTML_TYPE, 'index.v1_html', HTML_TYPE],
  [JSON_TYPE, 'index.v1_json', JSON_TYPE],
  ['application/vnd.pypi.simple.latest+html', 'index.v1_html', HTML_TYPE],
  ['application/vnd.pypi.simple.latest+json', 'index.v1_json', JSON_TYPE],
];
const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.json': 'application/json',
  '.txt': 'text/plain; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.xml': 'application/xml',
  '.gz': 'application/gzip',
  '.metadata': 'text/plain; charset=utf-8',
  '.v1_html': HTML_TYPE,
  '.v1_json': JSON_TYPE,
};
/** What never changes under its name: wheels with their metadata, and what bears a digest in its name. */
const LASTING = /\.whl(?:\.metadata)?$|\/static\/[^/]+\.[0-9a-f]{8,}\.\w+$/;
/** So many times, and so often, a page is looked for that is there in other forms than the client accepts. */
const LOOKS = 4;
const PAUSE_MS = 25;
const SECURITY = {
  'access-control-allow-origin': '*',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'content-security-policy': POLICY_HEADER,
};

/**
 * The farm's own small web server: it hands out what stands under `root`, and nothing else. Raises
 * PIW_PORT_IN_USE. Port 0: any that is free.
 */
export async function startWebServer(options: {
  readonly root: string;
  readonly host: string;
  readonly port: number;
}): Promise<WebServer> {
  const server = createServer(
    { requestTimeout: 30_000, headersTimeout: 10_000, keepAliveTimeout: 5000 },
    (request, response) => {
      void answer(options.root, request, response).catch((error: unknown) => {
        if (!response.headersSent) send(response, 500, 'text/plain', `${reason(error)}\n`);
        else response.destroy();
      });
    },
  );
  const port = await listen(server, options.host, options.port);
  return {
    port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeIdleConnections();
        setTimeout(() => {
          server.closeAllConnections();
        }, 2000).unref();
      }),
  };
}

function listen(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE')
        reject(new PiwError('PIW_PORT_IN_USE', `port ${String(port)} is taken by another program`));
      else if (error.code === 'EACCES')
        reject(new PiwError('PIW_PORT_IN_USE', `port ${String(port)} is not for this user`));
      else reject(error);
    });
    server.listen(port, host, () => {
      const address = server.address();
      resolve(address !== null && typeof address === 'object' ? address.port : port);
    });
  });
}

async function answer(root: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('allow', 'GET, HEAD');
    send(response, 405, 'text/plain', 'Only GET and HEAD.\n');
    return;
  }
  const path = cleanPath(request.url ?? '/');
  if (path === undefined) {
    await notFound(root, request, response);
    return;
  }
  const elsewhere = redirect(path);
  if (elsewhere !== undefined) {
    moved(response, elsewhere);
    return;
  }
  if (/^\/simple\/(?:[^/]+\/)?$/.test(path)) {
    await simplePage(root, path, request, response);
    return;
  }
  const target = path.endsWith('/')
    ? `${path}${/^\/project\/[^/]+\/json\/$/.test(path) ? 'index.json' : 'index.html'}`
    : path;
  const found = await openPage(join(root, target), request);
  if (found === 'folder') moved(response, `${path}/`);
  else if (!found) await notFound(root, request, response);
  else await give(found, { type: TYPES[extname(target)] ?? 'application/octet-stream' }, request, response);
}

/** A page of the simple index in the form that the client likes best of those that there are. */
async function simplePage(
  root: string,
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  // The JSON is replaced last: so the page that is opened after it is no older than this says.
  const head = await headOf(join(root, path, 'index.v1_json'));
  response.setHeader('vary', 'Accept, Accept-Encoding');
  // One that is empty is none.
  if (request.headers.accept?.trim() === '') delete request.headers.accept;
  const accepted = new Negotiator(request).mediaTypes(FORMS.map(([accept]) => accept));
  for (let looks = LOOKS; ; looks -= 1) {
    for (const one of accepted) {
      const [, file = '', type = ''] = FORMS.find(([accept]) => accept === one) ?? [];
      const found = await openPage(join(root, path, file), request);
      // Of an index that another program has written there may be one form only.
      if (!found || found === 'folder') continue;
      const serial = serialOf(head);
      if (serial !== undefined) response.setHeader('x-pypi-last-serial', String(serial));
      await give(found, { type, form: extname(file).slice(1) }, request, response);
      return;
    }
    const forms: string[] = [];
    for (const [accept, file] of FORMS) if (await isFile(join(root, path, file))) forms.push(accept);
    if (forms.length === 0) {
      await notFound(root, request, response);
      return;
    }
    if (accepted.length === 0 || looks === 1) {
      send(response, 406, 'text/plain', `One of: ${forms.join(', ')}\n`);
      return;
    }
    // A page that comes or goes has only some of its forms for a moment.
    await sleep(PAUSE_MS);
  }
}

const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isFile(),
    () => false,
  );

function moved(response: ServerResponse, location: string): void {
  response.setHeader('location', location);
  send(response, 301, 'text/plain', `${location}\n`);
}

/** The decoded path; undefined for one that no page or file can have. */
function cleanPath(url: string): string | undefined {
  let path: string;
  try {
    path = decodeURIComponent(url.split(/[?#]/)[0] ?? '/');
  } catch {
    return undefined;
  }
  // eslint-disable-next-line no-control-regex
  if (!path.startsWith('/') || path.includes('\\') || /[\u0000-\u001f]/.test(path)) return undefined;
  // No `..`, and nothing that begins with a dot: neither a way out nor a file on its way in.
  if (path.split('/').some((part) => part.startsWith('.'))) return undefined;
  return path.replace(/\/{2,}/g, '/');
}

/** PEP 503: one spelling of a name, with a slash behind it; and the short form of a project's page. */
function redirect(path: string): string | undefined {
  if (path === '/simple') return '/simple/';
  if (/^\/project\/?$/.test(path)) return `/${packagesPath}`;
  const short = /^\/p\/([^/]+)\/?$/.exec(path)?.[1];
  if (short !== undefined && isPackageName(short)) return `/project/${normalise(short)}/`;
  const match = /^\/(simple|project)\/([^/]+)(\/.*)?$/.exec(path);
  const [, kind = '', name = '', rest] = match ?? [];
  if (!match || !isPackageName(name) || name.endsWith('.html') || name.startsWith('index.v1_'))
    return undefined;
  const wanted = `/${kind}/${normalise(name)}${rest ?? '/'}`;
  return wanted === path ? undefined : encodeURI(wanted);
}

/** An open file: what is said of it and what is sent of it is of one state, whatever takes its place meanwhile. */
interface Opened {
  readonly path: string;
  readonly file: FileHandle;
  readonly stats: Stats;
  /** As it is; compressed, as the client takes it; or compressed only, and to be unpacked for the client. */
  readonly as: 'it is' | 'packed' | 'to be unpacked';
}

/** Opens a page, or its compressed form for a client that takes it so; undefined: there is none. */
async function openPage(path: string, request: IncomingMessage): Promise<Opened | 'folder' | undefined> {
  const takesGzip = new Negotiator(request).encodings(['gzip', 'identity'])[0] === 'gzip';
  if (takesGzip && request.headers.range === undefined) {
    const packed = await openFile(path + PACKED);
    if (packed && packed !== 'folder') return { path, ...packed, as: 'packed' };
  }
  const plain = await openFile(path);
  if (plain) return plain === 'folder' ? plain : { path, ...plain, as: 'it is' };
  // Of build logs there is nothing else.
  const packed = await openFile(path + PACKED);
  return packed && packed !== 'folder'
    ? { path, ...packed, as: takesGzip ? 'packed' : 'to be unpacked' }
    : undefined;
}

async function openFile(path: string): Promise<{ file: FileHandle; stats: Stats } | 'folder' | undefined> {
  let file: FileHandle;
  try {
    file = await open(path);
  } catch (error) {
    if (ABSENT.has((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
  const stats = await file.stat();
  if (stats.isFile()) return { file, stats };
  await file.close();
  return stats.isDirectory() ? 'folder' : undefined;
}

/** What a file that isn't there, or can't be, is told by. */
const ABSENT = new Set(['ENOENT', 'ENOTDIR', 'ENAMETOOLONG', 'EACCES', 'ELOOP']);

async function headOf(path: string): Promise<string | undefined> {
  const found = await openFile(path);
  if (!found || found === 'folder') return undefined;
  try {
    const { buffer, bytesRead } = await found.file.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
    return buffer.toString('latin1', 0, bytesRead);
  } finally {
    await found.file.close();
  }
}

/** Sends an open file, which it closes. */
async function give(
  opened: Opened,
  as: { readonly type: string; readonly form?: string },
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    await giveOpen(opened, as, request, response);
  } finally {
    await opened.file.close();
  }
}

async function giveOpen(
  opened: Opened,
  { type, form = '' }: { readonly type: string; readonly form?: string },
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { path, as, stats } = opened;
  const { size, mtime, mtimeMs, ino } = stats;
  const variant = `${form}${as === 'packed' ? '-gzip' : ''}`;
  const etag = `"${size.toString(16)}-${Math.floor(mtimeMs * 1000).toString(16)}-${ino.toString(16)}${variant}"`;
  const whole = as === 'it is';
  const headers: Record<string, string> = {
    ...SECURITY,
    etag,
    'last-modified': mtime.toUTCString(),
    'content-type': type,
    ...(whole ? { 'accept-ranges': 'bytes' } : {}),
    ...(as === 'packed' ? { 'content-encoding': 'gzip' } : {}),
    ...(response.hasHeader('vary') || path.endsWith('.whl') ? {} : { vary: 'Accept-Encoding' }),
    // A published file never changes; a page may at any time.
    'cache-control': LASTING.test(path) ? 'public, max-age=31536000, immutable' : 'no-cache',
  };
  if (unchanged(request, etag, mtimeMs)) {
    response.writeHead(304, headers).end();
    return;
  }
  const range = whole && ifRange(request, etag) ? parseRange(request.headers.range, size) : 'all';
  if (range === 'none') {
    response.writeHead(416, { ...headers, 'content-range': `bytes */${String(size)}` }).end();
    return;
  }
  const [start, end] = range === 'all' ? [0, size - 1] : range;
  if (as !== 'to be unpacked') headers['content-length'] = String(end - start + 1);
  if (range !== 'all') headers['content-range'] = `bytes ${String(start)}-${String(end)}/${String(size)}`;
  response.writeHead(range === 'all' ? 200 : 206, headers);
  if (request.method === 'HEAD' || size === 0) response.end();
  else await stream(opened, start, end, response);
}

/** A reader that went away is no fault. */
function left(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error;
}

async function stream(
  { file, as }: Opened,
  start: number,
  end: number,
  response: ServerResponse,
): Promise<void> {
  const reading = file.createReadStream({ start, end, autoClose: false });
  if (as === 'to be unpacked') await pipeline(reading, createGunzip(), response).catch(left);
  else await pipeline(reading, response).catch(left);
}

function unchanged(request: IncomingMessage, etag: string, mtimeMs: number): boolean {
  const match = request.headers['if-none-match'];
  if (match !== undefined)
    return match
      .split(',')
      .some((one) => one.trim() === etag || one.trim() === '*' || one.trim() === `W/${etag}`);
  const since = Date.parse(request.headers['if-modified-since'] ?? '');
  return !Number.isNaN(since) && Math.floor(mtimeMs / 1000) * 1000 <= since;
}

function ifRange(request: IncomingMessage, etag: string): boolean {
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

async function notFound(root: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const page = await openFile(join(root, notFoundPath));
  if (!page || page === 'folder') {
    send(response, 404, 'text/plain', 'Not here.\n');
    return;
  }
  const { file, stats } = page;
  const length = String(stats.size);
  response.writeHead(404, {
    ...SECURITY,
    'content-type': 'text/html; charset=utf-8',
    'content-length': length,
  });
  try {
    if (request.method === 'HEAD') response.end();
    else await stream({ path: '', file, stats, as: 'it is' }, 0, stats.size - 1, response);
  } finally {
    await file.close();
  }
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response
    .writeHead(status, { ...SECURITY, 'content-type': type, 'content-length': Buffer.byteLength(body) })
    .end(body);
}
