import { setImmediate as yieldToEventLoop } from 'node:timers/promises';
import { Parser } from 'htmlparser2';
import { PiwError } from '../errors.js';
import type { FetchedPage } from './http.js';
import {
  HTML_TYPE,
  asDate,
  asSha256,
  asText,
  isTooLong,
  reasonOf,
  statusOf,
  type ParsedFile,
  type ParsedProject,
  type ParsedRoot,
} from './index-page.js';

/** How much of a root is parsed before the event loop runs: the reader holds a lease and has to renew it. */
const ROOT_SLICE_CHARS = 256 * 1024;

/** Reads a project's page in HTML. Throws PIW_INDEX if it is not a page of the simple API. */
export function parseHtmlProject(page: FetchedPage): ParsedProject {
  if (page.type !== 'text/html' && page.type !== HTML_TYPE) {
    throw new PiwError(
      'PIW_INDEX',
      `${page.url} answered with content type ${page.type || '(none)'}, which is neither JSON nor HTML`,
    );
  }
  const files: ParsedFile[] = [];
  const pageState = { base: page.url, status: undefined as unknown, anchors: 0, repository: false };
  let anchor: { attributes: Record<string, string>; text: string } | undefined;
  let title = '';
  let inTitle = false;
  const parser = new Parser(
    {
      onopentag(tag, attributes) {
        if (tag === 'base' && URL.canParse(attributes['href'] ?? '', page.url))
          pageState.base = new URL(attributes['href'] ?? '', page.url).href;
        if (tag === 'meta' && attributes['name'] === 'pypi:project-status')
          pageState.status = attributes['content'];
        if (tag === 'meta' && attributes['name'] === 'pypi:repository-version') pageState.repository = true;
        if (tag === 'title') inTitle = true;
        if (tag === 'a') anchor = { attributes, text: '' };
      },
      ontext(text) {
        if (anchor) anchor.text += text;
        if (inTitle) title += text;
      },
      onclosetag(tag) {
        if (tag === 'title') inTitle = false;
        if (tag !== 'a' || !anchor) return;
        pageState.anchors += 1;
        const file = parseAnchor(anchor.attributes, anchor.text.trim(), pageState.base);
        if (file) files.push(file);
        anchor = undefined;
      },
    },
    { decodeEntities: true },
  );
  parser.end(page.body);
  // A page without files must identify itself in another way, since it could be any page.
  if (
    files.length === 0 &&
    !pageState.repository &&
    !(pageState.anchors === 0 && /^links for /i.test(title.trim()))
  ) {
    throw new PiwError('PIW_INDEX', `${page.url} is HTML, but not a page of the simple API`);
  }
  return { files, status: statusOf(pageState.status), serial: 0 };
}

function parseAnchor(
  attributes: Readonly<Record<string, string>>,
  label: string,
  base: string,
): ParsedFile | undefined {
  const href = attributes['href'];
  if (href === undefined || !URL.canParse(href, base)) return undefined;
  const url = new URL(href, base);
  const filename = label || decodePath(url.pathname.split('/').at(-1) ?? '');
  if (!/^https?:$/.test(url.protocol) || !/\.[A-Za-z0-9]+$/.test(filename)) return undefined;
  if (isTooLong(attributes['data-requires-python'])) return undefined;
  const sha256 = asSha256(/^#sha256=(.*)$/.exec(url.hash)?.[1]);
  url.hash = '';
  return {
    filename,
    url: url.href,
    sha256,
    size: /^\d+$/.test(attributes['data-size'] ?? '') ? Number(attributes['data-size']) : null,
    uploadTime: asDate(attributes['data-upload-time']),
    requiresPython: asText(attributes['data-requires-python']),
    yanked: reasonOf(attributes['data-yanked']),
  };
}

/**
 * Reads a root in HTML: the text of every anchor. Throws PIW_INDEX if it is not a whole root; a truncated page is
 * recognised by its missing end.
 */
export async function parseHtmlRoot(page: FetchedPage): Promise<ParsedRoot> {
  if (
    (page.type !== 'text/html' && page.type !== HTML_TYPE) ||
    !/<\/html>\s*(<!--[^>]*-->\s*)?$/i.test(page.body.slice(-1000))
  )
    throw new PiwError('PIW_INDEX', `${page.url} is not a complete root of the simple API`);
  const names: [string, number][] = [];
  let anchor: string | undefined;
  const parser = new Parser({
    onopentag(tag) {
      if (tag === 'a') anchor = '';
    },
    ontext(text) {
      if (anchor !== undefined) anchor += text;
    },
    onclosetag(tag) {
      if (tag !== 'a' || anchor === undefined) return;
      names.push([anchor.trim(), 0]);
      anchor = undefined;
    },
  });
  for (let start = 0; start < page.body.length; start += ROOT_SLICE_CHARS) {
    parser.write(page.body.slice(start, start + ROOT_SLICE_CHARS));
    await yieldToEventLoop();
  }
  parser.end();
  return { names, serial: 0 };
}

/** Decodes a path; returns it unchanged if it contains an invalid escape. */
function decodePath(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}
