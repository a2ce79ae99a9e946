import type { IncomingMessage, ServerResponse } from 'node:http';
import { extname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Negotiator from 'negotiator';
import { notFoundPath } from '../site/layout.js';
import { pypiSerialOf } from '../site/simple/pypi-json.js';
import { HEAD_BYTES } from '../site/simple/serial.js';
import { simpleSerialOf } from '../site/simple/render.js';
import { cleanPath, redirectTarget } from './paths.js';
import { SECURITY_HEADERS, sendFile, redirectTo, sendText, streamFile } from './responses.js';
import { readHead, isFile, openFile, openPage } from './open-file.js';

const JSON_TYPE = 'application/vnd.pypi.simple.v1+json';
const HTML_TYPE = 'application/vnd.pypi.simple.v1+html';
/** The forms of a page of the simple index: the media type in Accept, the file, and the Content-Type. */
const FORMS: readonly (readonly [accept: string, file: string, type: string])[] = [
  ['text/html', 'index.html', 'text/html; charset=utf-8'],
  [HTML_TYPE, 'index.v1_html', HTML_TYPE],
  [JSON_TYPE, 'index.v1_json', JSON_TYPE],
  ['application/vnd.pypi.simple.latest+html', 'index.v1_html', HTML_TYPE],
  ['application/vnd.pypi.simple.latest+json', 'index.v1_json', JSON_TYPE],
];
const CONTENT_TYPES: Readonly<Record<string, string>> = {
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
/** The lookups, and the delay between them, for a page that exists only in forms that the client doesn't accept. */
const MAX_ATTEMPTS = 4;
const RETRY_DELAY_MS = 25;

/** Answers a request with a file under `root`. */
export async function answerRequest(
  root: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('allow', 'GET, HEAD');
    sendText(response, 405, 'text/plain', 'Only GET and HEAD.\n');
    return;
  }
  const path = cleanPath(request.url ?? '/');
  if (path === undefined) {
    await notFound(root, request, response);
    return;
  }
  const redirectPath = redirectTarget(path);
  if (redirectPath !== undefined) {
    redirectTo(response, redirectPath);
    return;
  }
  if (/^\/simple\/(?:[^/]+\/)?$/.test(path)) {
    await simplePage(root, path, request, response);
    return;
  }
  const target = path.endsWith('/')
    ? `${path}${/^\/project\/[^/]+\/json\/$/.test(path) ? 'index.json' : 'index.html'}`
    : path;
  const isPypiJson = /^\/pypi\/[^/]+\/json$/.test(path);
  // Read before the page is opened, so that the page is not older than the serial in its header.
  const serial = isPypiJson ? pypiSerialOf(await readHead(join(root, target), HEAD_BYTES)) : undefined;
  const page = await openPage(join(root, target), request);
  if (serial !== undefined && page) response.setHeader('x-pypi-last-serial', String(serial));
  const type = CONTENT_TYPES[isPypiJson ? '.json' : extname(target)] ?? 'application/octet-stream';
  if (page === 'folder') redirectTo(response, `${path}/`);
  else if (!page) await notFound(root, request, response);
  else await sendFile(page, { type }, request, response);
}

/** Sends a page of the simple index in the form that the client prefers among the existing ones. */
async function simplePage(
  root: string,
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  // The JSON is replaced last, so that a page that is opened later is not older than this serial.
  const head = await readHead(join(root, path, 'index.v1_json'), HEAD_BYTES);
  response.setHeader('vary', 'Accept, Accept-Encoding');
  const accepted = negotiatorFor(request).mediaTypes(FORMS.map(([accept]) => accept));
  for (let attemptsLeft = MAX_ATTEMPTS; ; attemptsLeft -= 1) {
    for (const mediaType of accepted) {
      const [, file = '', type = ''] = FORMS.find(([accept]) => accept === mediaType) ?? [];
      const page = await openPage(join(root, path, file), request);
      // An index that another program wrote may have only one form.
      if (!page || page === 'folder') continue;
      const serial = simpleSerialOf(head);
      if (serial !== undefined) response.setHeader('x-pypi-last-serial', String(serial));
      await sendFile(page, { type, form: extname(file).slice(1) }, request, response);
      return;
    }
    const forms: string[] = [];
    for (const [accept, file] of FORMS) if (await isFile(join(root, path, file))) forms.push(accept);
    if (forms.length === 0) {
      await notFound(root, request, response);
      return;
    }
    if (accepted.length === 0 || attemptsLeft === 1) {
      sendText(response, 406, 'text/plain', `One of: ${forms.join(', ')}\n`);
      return;
    }
    // While a page is being written or removed, only some of its forms exist.
    await sleep(RETRY_DELAY_MS);
  }
}

/** Returns the negotiator for Accept. Treats an empty Accept as missing, and ignores all parameters but q. */
function negotiatorFor({ headers: { accept = '' } }: IncomingMessage): Negotiator {
  const plain = accept.replace(/;(?!\s*q\s*=)[^;,]*/gi, '').trim();
  return new Negotiator({ headers: plain === '' ? {} : { accept: plain } });
}

async function notFound(root: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const page = await openFile(join(root, notFoundPath));
  if (!page || page === 'folder') {
    sendText(response, 404, 'text/plain', 'Not found.\n');
    return;
  }
  const { file, stats } = page;
  const length = String(stats.size);
  response.writeHead(404, {
    ...SECURITY_HEADERS,
    'content-type': 'text/html; charset=utf-8',
    'content-length': length,
  });
  try {
    if (request.method === 'HEAD') response.end();
    else await streamFile({ path: '', file, stats, encoding: 'identity' }, 0, stats.size - 1, response);
  } finally {
    await file.close();
  }
}
