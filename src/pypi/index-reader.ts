import { setImmediate as yieldToEventLoop } from 'node:timers/promises';
import { PiwError } from '../errors.js';
import { isPackageName, normalise, type PackageName } from '../wheels/names.js';
import { classifyFile } from './files.js';
import { parseHtmlProject, parseHtmlRoot } from './html-page.js';
import { fetchPage, redactUrl, type FetchedPage, type HttpOptions } from './http.js';
import { HTML_TYPE, JSON_TYPE, type IndexProject, type IndexRoot } from './index-page.js';
import { parseJsonProject, parseJsonRoot } from './json-page.js';

/** PyPI's root is 40 MB. */
const MAX_ROOT_BYTES = 512 * 1024 * 1024;

/** How many names of a root are read before the event loop runs: the reader holds a lease and has to renew it. */
const ROOT_SLICE_NAMES = 20_000;

const ACCEPT = `${JSON_TYPE}, ${HTML_TYPE};q=0.2, text/html;q=0.1`;

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
      throw new PiwError('PIW_INDEX', `${page.url} answered with status ${page.status}`);
    const { files, status, serial } = isJson(page)
      ? parseJsonProject(page, normalisedName)
      : parseHtmlProject(page);
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
      throw new PiwError('PIW_INDEX', `${page.url} answered with status ${page.status}`);
    const { names, serial } = isJson(page) ? parseJsonRoot(page) : await parseHtmlRoot(page);
    const projects = new Map<PackageName, number>();
    for (const [i, [name, projectSerial]] of names.entries()) {
      if (isPackageName(name)) projects.set(normalise(name), projectSerial);
      if (i % ROOT_SLICE_NAMES === 0) await yieldToEventLoop();
    }
    if (projects.size === 0) throw new PiwError('PIW_INDEX', `${page.url} lists no project`);
    return { projects, serial: Math.max(serial, page.serial), etag: page.etag };
  }
}

const isJson = ({ type }: FetchedPage): boolean => type === JSON_TYPE || type === 'application/json';
