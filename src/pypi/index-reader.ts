import { setImmediate as yieldToEventLoop } from 'node:timers/promises';
import { Parser } from 'htmlparser2';
import { PiwError, errorMessage } from '../errors.js';
import { isPackageName, normalise, type PackageName } from '../wheels/names.js';
import { classifyFile } from './files.js';
import { fetchPage, redactUrl, type HttpOptions, type FetchedPage } from './http.js';

export interface IndexFile {
  readonly filename: string;
  /** An absolute URL. */
  readonly url: string;
  readonly sha256: string | null;
  readonly size: number | null;
  readonly uploadTime: Date | null;
  readonly requiresPython: string | null;
  /** The reason, which may be empty; null if the file isn't yanked. */
  readonly yanked: string | null;
  readonly kind: 'sdist' | 'wheel' | 'other';
  readonly version: string | null;
}

export interface IndexProject {
  readonly name: PackageName;
  readonly files: readonly IndexFile[];
  readonly status: 'active' | 'archived' | 'quarantined' | 'deprecated';
  readonly etag: string | undefined;
  /** The serial of the last event that the page shows; 0 if the index has no serials. */
  readonly serial: number;
}

/** The root page of an index: its projects. */
export interface IndexRoot {
  /** The serial of each project; 0 if the index has no serials. */
  readonly projects: ReadonlyMap<PackageName, number>;
  readonly serial: number;
  readonly etag: string | undefined;
}

/** PyPI's root is 40 MB. */
const MAX_ROOT_BYTES = 512 * 1024 * 1024;

/** How much of a root is parsed before the event loop runs: the reader holds a lease and has to renew it. */
const ROOT_SLICE = { characters: 256 * 1024, names: 20_000 };

const JSON_TYPE = 'application/vnd.pypi.simple.v1+json';
const HTML_TYPE = 'application/vnd.pypi.simple.v1+html';
const ACCEPT = `${JSON_TYPE}, ${HTML_TYPE};q=0.2, text/html;q=0.1`;
/** The longest text that messages can carry (ShortText in src/model/fields.ts), characters. */
const MAX_TEXT_CHARS = 1024;
const STATUSES = ['active', 'archived', 'quarantined', 'deprecated'] as const;

type ParsedFile = Omit<IndexFile, 'kind' | 'version'>;

/**
 * Reads a simple index (PEP 503, 691 and their successors). The index may answer with JSON or HTML, whatever the
 * request accepts: the answer's content type decides. Throws PIW_INDEX for an answer that is neither, or that is not a
 * page of the simple API; such an answer never means "no files".
 */
export class SimpleIndexClient {
  readonly #url: string;
  readonly #options: HttpOptions;

  constructor(url: string, options: HttpOptions = {}) {
    this.#url = url.endsWith('/') ? url : `${url}/`;
    this.#options = options;
  }

  /** The address without credentials, for people. */
  get url(): string {
    return redactUrl(this.#url);
  }

  /**
   * Returns a project; undefined if the index doesn't have it; notModified if its page still has the `etag`. Throws
   * PIW_INDEX.
   */
  async project(
    name: string,
    options: { readonly etag?: string; readonly signal?: AbortSignal } = {},
  ): Promise<IndexProject | { readonly notModified: true } | undefined> {
    const normalisedName = normalise(name);
    const page = await fetchPage(
      `${this.#url}${normalisedName}/`,
      { accept: ACCEPT, ...(options.etag === undefined ? {} : { 'if-none-match': options.etag }) },
      { ...this.#options, ...(options.signal === undefined ? {} : { signal: options.signal }) },
    );
    if (page.status === 304) return { notModified: true };
    if (page.status === 404 || page.status === 410) return undefined;
    if (page.status !== 200)
      throw new PiwError('PIW_INDEX', `${page.url} answered with status ${String(page.status)}`);
    const { files, status, serial } =
      page.type === JSON_TYPE || page.type === 'application/json'
        ? fromJson(page, normalisedName)
        : fromHtml(page);
    return {
      name: normalisedName,
      files: files.map((file) => ({ ...file, ...classifyFile(file.filename, normalisedName) })),
      status,
      etag: page.etag,
      serial: Math.max(serial, page.serial),
    };
  }

  /** Returns all projects. Throws PIW_INDEX for a page that isn't a complete root with at least one project. */
  async root(
    options: { readonly etag?: string | undefined; readonly signal?: AbortSignal } = {},
  ): Promise<IndexRoot | { readonly notModified: true }> {
    const page = await fetchPage(
      this.#url,
      { accept: ACCEPT, ...(options.etag === undefined ? {} : { 'if-none-match': options.etag }) },
      {
        maxBytes: MAX_ROOT_BYTES,
        ...this.#options,
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      },
    );
    if (page.status === 304) return { notModified: true };
    if (page.status !== 200)
      throw new PiwError('PIW_INDEX', `${page.url} answered with status ${String(page.status)}`);
    const json = page.type === JSON_TYPE || page.type === 'application/json';
    const { names, serial } = json ? rootOfJson(page) : { names: await rootOfHtml(page), serial: 0 };
    const projects = new Map<PackageName, number>();
    for (const [i, [name, projectSerial]] of names.entries()) {
      if (isPackageName(name)) projects.set(normalise(name), projectSerial);
      if (i % ROOT_SLICE.names === 0) await yieldToEventLoop();
    }
    if (projects.size === 0) throw new PiwError('PIW_INDEX', `${page.url} lists no project`);
    return { projects, serial: Math.max(serial, page.serial), etag: page.etag };
  }
}

function rootOfJson(page: FetchedPage): { names: readonly (readonly [string, number])[]; serial: number } {
  const root = asObject(parseJson(page));
  const meta = asObject(root?.['meta']);
  const projects = root?.['projects'];
  if (!asText(meta?.['api-version'])?.startsWith('1.') || !Array.isArray(projects))
    throw new PiwError('PIW_INDEX', `${page.url} is not the root of the simple API, version 1`);
  const names = projects.flatMap((item): [string, number][] => {
    const project = asObject(item);
    const name = asText(project?.['name']);
    return name === null ? [] : [[name, toSerial(project?.['_last-serial'])]];
  });
  return { names, serial: toSerial(meta?.['_last-serial']) };
}

/** Returns the text of every anchor of an HTML root. A truncated page is recognised by its missing end. */
async function rootOfHtml(page: FetchedPage): Promise<readonly (readonly [string, number])[]> {
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
  for (let start = 0; start < page.body.length; start += ROOT_SLICE.characters) {
    parser.write(page.body.slice(start, start + ROOT_SLICE.characters));
    await yieldToEventLoop();
  }
  parser.end();
  return names;
}

function parseJson(page: FetchedPage): unknown {
  try {
    return JSON.parse(page.body);
  } catch (error) {
    throw new PiwError('PIW_INDEX', `${page.url}: ${errorMessage(error)}`, { cause: error });
  }
}

const toSerial = (value: unknown): number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : 0;

interface ParsedProject {
  readonly files: readonly ParsedFile[];
  readonly status: IndexProject['status'];
  readonly serial: number;
}

function fromJson(page: FetchedPage, name: PackageName): ParsedProject {
  const project = asObject(parseJson(page));
  const version = asText(asObject(project?.['meta'])?.['api-version']);
  const files = project?.['files'];
  const ownName = asText(project?.['name']);
  if (
    !version?.startsWith('1.') ||
    !Array.isArray(files) ||
    (ownName !== null && normalise(ownName) !== name)
  ) {
    throw new PiwError('PIW_INDEX', `${page.url} is not a project's page of the simple API, version 1`);
  }
  return {
    files: files.flatMap((item): ParsedFile[] => {
      const file = asObject(item);
      const filename = asText(file?.['filename']);
      const url = asText(file?.['url']);
      if (!file || filename === null || url === null || !URL.canParse(url, page.url)) return [];
      if (isTooLong(file['requires-python'])) return [];
      return [
        {
          filename,
          url: new URL(url, page.url).href,
          sha256: asSha256(asObject(file['hashes'])?.['sha256']),
          size: typeof file['size'] === 'number' ? file['size'] : null,
          uploadTime: asDate(file['upload-time']),
          requiresPython: asText(file['requires-python']),
          yanked: file['yanked'] === true ? '' : reasonOf(file['yanked']),
        },
      ];
    }),
    status: statusOf(asObject(project?.['project-status'])?.['status']),
    serial: toSerial(asObject(project?.['meta'])?.['_last-serial']),
  };
}

function fromHtml(page: FetchedPage): ParsedProject {
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

const asObject = (value: unknown): Readonly<Record<string, unknown>> | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
/** Returns the reason, cut to MAX_TEXT_CHARS: the file is yanked anyway. */
const reasonOf = (value: unknown): string | null =>
  typeof value === 'string' ? value.slice(0, MAX_TEXT_CHARS) : null;
/** A file with too long a specifier is left out: without it, the file would be offered to every Python. */
const isTooLong = (specifier: unknown): boolean =>
  typeof specifier === 'string' && specifier.length > MAX_TEXT_CHARS;
const asText = (value: unknown): string | null =>
  typeof value === 'string' && value.length <= 4096 ? value : null;
/** Decodes a path; returns it unchanged if it contains an invalid escape. */
function decodePath(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}
const asSha256 = (value: unknown): string | null =>
  typeof value === 'string' && /^[0-9a-f]{64}$/.test(value) ? value : null;
const statusOf = (value: unknown): IndexProject['status'] =>
  STATUSES.find((status) => status === value) ?? 'active';

function asDate(value: unknown): Date | null {
  const date = new Date(typeof value === 'string' ? value : NaN);
  return Number.isNaN(date.getTime()) ? null : date;
}
