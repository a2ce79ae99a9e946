import { Parser } from 'htmlparser2';
import { PiwError, errorMessage } from '../errors.js';
import { isPackageName, normalise, type PackageName } from '../wheels/names.js';
import { classifyFile } from './files.js';
import { fetchPage, redactUrl, type HttpOptions, type FetchedPage } from './http.js';

export interface IndexFile {
  readonly filename: string;
  /** Absolute. */
  readonly url: string;
  readonly sha256: string | null;
  readonly size: number | null;
  readonly uploadTime: Date | null;
  readonly requiresPython: string | null;
  /** The reason, which may be empty; null: it isn't yanked. */
  readonly yanked: string | null;
  readonly kind: 'sdist' | 'wheel' | 'other';
  readonly version: string | null;
}

export interface IndexProject {
  readonly name: PackageName;
  readonly files: readonly IndexFile[];
  readonly status: 'active' | 'archived' | 'quarantined' | 'deprecated';
  readonly etag: string | undefined;
  /** The serial of its last event that the page shows; 0 where the index has none. */
  readonly serial: number;
}

/** The names of an index. */
export interface IndexRoot {
  /** Each with its serial; 0 where the index has none. */
  readonly projects: ReadonlyMap<PackageName, number>;
  readonly serial: number;
  readonly etag: string | undefined;
}

/** PyPI's root is 40 MB. */
const MAX_ROOT_BYTES = 512 * 1024 * 1024;

/** So much of a root is read between two breaths: whoever reads it holds a lease, and has to say so. */
const ROOT_SLICE = { characters: 256 * 1024, names: 20_000 };
const yieldToEventLoop = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const JSON_TYPE = 'application/vnd.pypi.simple.v1+json';
const HTML_TYPE = 'application/vnd.pypi.simple.v1+html';
const ACCEPT = `${JSON_TYPE}, ${HTML_TYPE};q=0.2, text/html;q=0.1`;
/** Longer texts than this are not carried on (ShortText in src/model/fields.ts), characters. */
const MAX_TEXT_CHARS = 1024;
const STATUSES = ['active', 'archived', 'quarantined', 'deprecated'] as const;

type ParsedFile = Omit<IndexFile, 'kind' | 'version'>;

/**
 * A simple index (PEP 503, 691 and their successors), which may speak JSON or only HTML whatever it
 * is asked for: what counts is the type of its answer. An answer that is neither, or that holds
 * something else, is PIW_INDEX; it never means "no files".
 */
export class SimpleIndexClient {
  readonly #url: string;
  readonly #options: HttpOptions;

  constructor(url: string, options: HttpOptions = {}) {
    this.#url = url.endsWith('/') ? url : `${url}/`;
    this.#options = options;
  }

  /** For people. */
  get url(): string {
    return redactUrl(this.#url);
  }

  /** A project; undefined where the index has none of that name. With the etag of an answer: only what is new. */
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

  /** All names. Raises PIW_INDEX for a page that isn't a whole root with at least one name. */
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
    if (projects.size === 0) throw new PiwError('PIW_INDEX', `${page.url} names no project`);
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

/** A root of HTML: every anchor whose address is that of a project. One that is cut off has no end. */
async function rootOfHtml(page: FetchedPage): Promise<readonly (readonly [string, number])[]> {
  if (
    (page.type !== 'text/html' && page.type !== HTML_TYPE) ||
    !/<\/html>\s*(<!--[^>]*-->\s*)?$/i.test(page.body.slice(-1000))
  )
    throw new PiwError('PIW_INDEX', `${page.url} is not a whole root of the simple API`);
  const names: [string, number][] = [];
  let anchor: string | undefined;
  const parser = new Parser({
    onopentag(tag) {
      if (tag === 'a') anchor = '';
    },
    ontext(piece) {
      if (anchor !== undefined) anchor += piece;
    },
    onclosetag(tag) {
      if (tag !== 'a' || anchor === undefined) return;
      names.push([anchor.trim(), 0]);
      anchor = undefined;
    },
  });
  for (let at = 0; at < page.body.length; at += ROOT_SLICE.characters) {
    parser.write(page.body.slice(at, at + ROOT_SLICE.characters));
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
      `${page.url} answered with ${page.type || 'no type'}, which is neither JSON nor HTML`,
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
      ontext(piece) {
        if (anchor) anchor.text += piece;
        if (inTitle) title += piece;
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
  // A page without a single file must say in some other way that it is one: else it may be anything.
  if (
    files.length === 0 &&
    !pageState.repository &&
    !(pageState.anchors === 0 && /^links for /i.test(title.trim()))
  ) {
    throw new PiwError('PIW_INDEX', `${page.url} is a page of HTML, but not of the simple API`);
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
/** Of a reason that is too long, its beginning: what is yanked is yanked. */
const reasonOf = (value: unknown): string | null =>
  typeof value === 'string' ? value.slice(0, MAX_TEXT_CHARS) : null;
/** A file for which Pythons nobody can say is left out, and not offered to all of them. */
const isTooLong = (specifier: unknown): boolean =>
  typeof specifier === 'string' && specifier.length > MAX_TEXT_CHARS;
const asText = (value: unknown): string | null =>
  typeof value === 'string' && value.length <= 4096 ? value : null;
/** An escape that is none is left as it is. */
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
