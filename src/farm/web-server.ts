import { createReadStream, existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { extname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import Negotiator from 'negotiator';
import { PiwError, reason } from '../errors.js';
import { PACKED } from '../site/layout.js';
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
  '.svg': 'image/svg+xml',
  '.metadata': 'text/plain; charset=utf-8',
  '.v1_html': HTML_TYPE,
  '.v1_json': JSON_TYPE,
};
const SECURITY = {
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'content-security-policy':
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
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
    await notFound(root, response);
    return;
  }
  const elsewhere = redirect(path);
  if (elsewhere !== undefined) {
    response.setHeader('location', elsewhere);
    send(response, 301, 'text/plain', `${elsewhere}\n`);
    return;
  }
  const simple = /^\/simple\/(?:[^/]+\/)?$/.test(path);
  if (simple) {
    const there = FORMS.filter(([, name]) => existsSync(join(root, path, name)));
    if (there.length === 0) {
      await notFound(root, response);
      return;
    }
    const forms = there.map(([accept]) => accept);
    const chosen = new Negotiator(request).mediaType(forms);
    const form = there.find(([accept]) => accept === chosen);
    response.setHeader('vary', 'Accept');
    if (!form) {
      send(response, 406, 'text/plain', `One of: ${forms.join(', ')}\n`);
      return;
    }
    await file(root, join(root, path, form[1]), form[2], request, response);
    return;
  }
  const target = path.endsWith('/')
    ? path.endsWith('/json/')
      ? `${path}index.json`
      : `${path}index.html`
    : path;
  const folder = await stat(join(root, target)).then(
    (s) => s.isDirectory(),
    () => false,
  );
  if (folder) {
    response.setHeader('location', `${path}/`);
    send(response, 301, 'text/plain', `${path}/\n`);
    return;
  }
  await file(
    root,
    join(root, target),
    TYPES[extname(target)] ?? 'application/octet-stream',
    request,
    response,
  );
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
  return path;
}

/** PEP 503: one spelling of a name, with a slash behind it; and the short form of a project's page. */
function redirect(path: string): string | undefined {
  if (path === '/simple' || path === '/project') return path === '/simple' ? '/simple/' : '/';
  const short = /^\/p\/([^/]+)\/?$/.exec(path)?.[1];
  if (short !== undefined && isPackageName(short)) return `/project/${normalise(short)}/`;
  const match = /^\/(simple|project)\/([^/]+)(\/.*)?$/.exec(path);
  const [, kind = '', name = '', rest] = match ?? [];
  if (!match || !isPackageName(name) || name.endsWith('.html') || name.startsWith('index.v1_'))
    return undefined;
  const wanted = `/${kind}/${normalise(name)}${rest ?? '/'}`;
  return wanted === path ? undefined : encodeURI(wanted);
}

async function file(
  root: string,
  path: string,
  type: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const plain = await stat(path).catch(() => undefined);
  // A build's log is stored compressed only.
  const packed = plain === undefined && path.startsWith(join(root, 'logs/'));
  const found = packed ? await stat(path + PACKED).catch(() => undefined) : plain;
  if (!found?.isFile()) {
    await notFound(root, response);
    return;
  }
  const etag = `"${found.size.toString(16)}-${Math.floor(found.mtimeMs * 1000).toString(16)}-${found.ino.toString(16)}"`;
  const headers: Record<string, string> = {
    ...SECURITY,
    etag,
    'last-modified': found.mtime.toUTCString(),
    'accept-ranges': 'bytes',
    'content-type': type,
    // A published file never changes; a page may at any time.
    'cache-control': path.endsWith('.whl') ? 'public, max-age=31536000, immutable' : 'no-cache',
  };
  if (unchanged(request, etag, found.mtimeMs)) {
    response.writeHead(304, headers).end();
    return;
  }
  if (packed) {
    await unpacked(path + PACKED, headers, request, response);
    return;
  }
  const range = ifRange(request, etag) ? parseRange(request.headers.range, found.size) : 'all';
  if (range === 'none') {
    response.writeHead(416, { ...headers, 'content-range': `bytes */${String(found.size)}` }).end();
    return;
  }
  const [start, end] = range === 'all' ? [0, found.size - 1] : range;
  headers['content-length'] = String(end - start + 1);
  if (range !== 'all')
    headers['content-range'] = `bytes ${String(start)}-${String(end)}/${String(found.size)}`;
  response.writeHead(range === 'all' ? 200 : 206, headers);
  if (request.method === 'HEAD' || found.size === 0) response.end();
  else await pipeline(createReadStream(path, { start, end }), response).catch(left);
}

/** A reader that went away is no fault. */
function left(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error;
}

/** Of what is stored compressed only: unpacked for a client that can't do that itself. */
async function unpacked(
  path: string,
  headers: Record<string, string>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const packed = new Negotiator(request).encodings(['gzip', 'identity'])[0] === 'gzip';
  const all: Record<string, string> = { ...headers, vary: 'Accept-Encoding' };
  delete all['accept-ranges'];
  response.writeHead(200, packed ? { ...all, 'content-encoding': 'gzip' } : all);
  if (request.method === 'HEAD') response.end();
  else if (packed) await pipeline(createReadStream(path), response).catch(left);
  else await pipeline(createReadStream(path), createGunzip(), response).catch(left);
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

async function notFound(root: string, response: ServerResponse): Promise<void> {
  const page = join(root, '404.html');
  if (
    await stat(page).then(
      (s) => s.isFile(),
      () => false,
    )
  ) {
    response.writeHead(404, { ...SECURITY, 'content-type': 'text/html; charset=utf-8' });
    await pipeline(createReadStream(page), response).catch(left);
  } else send(response, 404, 'text/plain', 'Not here.\n');
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response
    .writeHead(status, { ...SECURITY, 'content-type': type, 'content-length': Buffer.byteLength(body) })
    .end(body);
}
