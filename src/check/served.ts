import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PiwError, rethrowUnexpected } from '../errors.js';
import { projectPath, pypiPath, simplePath } from '../site/layout.js';
import { HttpClient, mediaType, headerValues, type HttpResponse } from './client.js';
import { Findings, format, type FaultReporter } from './faults.js';
import { checkMetadata, checkWheel } from './files.js';
import { parseListingHtml } from './listing-html.js';
import { isObject, parseListingJson, parseObject } from './listing-json.js';
import { checkSameListing, checkListing, wheelNameOf, type ListedFile, type Listing } from './listing.js';
import {
  FORMS,
  JSON_TYPE,
  PLAIN_TYPE,
  checkFileResponses,
  checkIndexResponses,
  checkNameRedirects,
} from './manners.js';
import type { CheckOptions, CheckResult } from './output.js';
import { decodeText } from './place.js';
import { checkProjectJson, checkAgainstRoot, checkUrl } from './project.js';
import { checkPypiJson } from './pypi.js';
import { checkSameNames, parseRootHtml, parseRootJson, type ListedRoot } from './root.js';
import { checkInRounds, type CheckUnit } from './rounds.js';
import { selectProjects } from './sample.js';
import { checkServedPage, checkSiteResponses } from './served-pages.js';
import { formatQuantity } from '../units.js';

/** The number of projects for which the server's HTTP behaviour is checked; content is checked for all. */
const HTTP_SAMPLE_SIZE = 3;
const CONCURRENCY = 4;
/** Stands for the page of a project that has none in the index. */
const EMPTY_LISTING: Listing = { status: 'active', reason: null, files: [], versions: [], serial: null };

/**
 * Checks a site, as its server sends it, against every rule. Throws PIW_UNREACHABLE if there is no server, PIW_USAGE if
 * the site has no index, and PIW_UNKNOWN_PACKAGE for a selected name that has neither a page nor a place in the root.
 */
export async function checkServed(address: string, options: CheckOptions): Promise<CheckResult> {
  const client = new HttpClient(address);
  const folder = await mkdtemp(join(tmpdir(), 'piw-check-'));
  try {
    return await checkSite(new ServedSite(client, folder, options.readContents), options);
  } finally {
    client.close();
    await rm(folder, { recursive: true, force: true });
  }
}

async function checkSite(site: ServedSite, options: CheckOptions): Promise<CheckResult> {
  const { selection, progress, signal } = options;
  let root = await site.readRoot(new Findings().report);
  if (!root) throw new PiwError('PIW_USAGE', `${site.client.baseUrl}simple/ is not a package index`);
  const names = selectProjects(selection, [...root.projects.keys()]);
  if (selection.kind === 'names')
    for (const name of names)
      if (!root.projects.has(name) && !(await site.hasProject(name)))
        throw new PiwError('PIW_UNKNOWN_PACKAGE', `there is no package ${name} at ${site.client.baseUrl}`);
  let projects = 0;
  const units = function* (): Generator<CheckUnit> {
    yield {
      check: async (report) => {
        root = (await site.readRoot(report)) ?? root;
        await checkIndexResponses(site.client, 'simple/', report);
      },
    };
    yield { check: (report) => checkSiteResponses(site.client, names[0], report) };
    for (const name of names) {
      const checksHttp = projects < HTTP_SAMPLE_SIZE;
      yield {
        check: async (report, round) => {
          // Projects may have been added or removed since the root was read.
          if (round > 0) root = (await site.readRoot(new Findings().report)) ?? root;
          await site.checkProject(name, root ?? { projects: new Map(), serial: null }, checksHttp, report);
        },
      };
      projects += 1;
      progress?.(projects, names.length);
    }
  };
  const result = await checkInRounds(reportErrors(units()), {
    recheckDelaysMs: options.recheckDelaysMs,
    report: options.report,
    concurrency: CONCURRENCY,
    ...(signal && { signal }),
  });
  return { ...result, projects };
}

/** Turns errors into faults of their unit: a server that doesn't answer is checked again like any other suspect. */
function* reportErrors(units: Iterable<CheckUnit>): Generator<CheckUnit> {
  for (const unit of units)
    yield {
      check: async (report, round) => {
        try {
          await unit.check(report, round);
        } catch (error) {
          rethrowUnexpected(error);
          report('http-answer', '', error.message, 'a response');
        }
      },
    };
}

class ServedSite {
  readonly client: HttpClient;
  readonly #folder: string;
  readonly #readContents: boolean;
  #downloadCount = 0;

  constructor(client: HttpClient, folder: string, readContents: boolean) {
    this.client = client;
    this.#folder = folder;
    this.#readContents = readContents;
  }

  /** Reads and checks the three forms of the root; returns undefined if none can be read. */
  async readRoot(report: FaultReporter): Promise<ListedRoot | undefined> {
    let root: ListedRoot | undefined;
    for (const type of FORMS) {
      const text = await this.#readForm('simple/', type, report);
      if (text === undefined) continue;
      const path = `simple/ as ${type}`;
      if (type === JSON_TYPE) root = parseRootJson(text, path, report);
      else {
        const names = parseRootHtml(text, path, report);
        if (root) checkSameNames(root.projects, names, path, report);
        root ??= { projects: new Map([...names].map((name) => [name, null])), serial: null };
      }
    }
    return root;
  }

  /** Returns true if the package has a page in the index or a page for people. */
  async hasProject(name: string): Promise<boolean> {
    for (const folder of [simplePath(name), projectPath(name)])
      if ((await this.client.request(`${folder}/`, { method: 'HEAD' })).status === 200) return true;
    return false;
  }

  async checkProject(
    name: string,
    root: ListedRoot,
    checksHttp: boolean,
    report: FaultReporter,
  ): Promise<void> {
    const page = `simple/${name}/`;
    if (!root.projects.has(name) && (await this.client.request(page, { method: 'HEAD' })).status === 404) {
      await this.#checkProjectPages(name, EMPTY_LISTING, report);
      return;
    }
    let first: { readonly listing: Listing; readonly path: string } | undefined;
    for (const type of FORMS) {
      const text = await this.#readForm(page, type, report);
      if (text === undefined) continue;
      const path = `${page} as ${type}`;
      const listing =
        type === JSON_TYPE
          ? parseListingJson(text, name, path, report)
          : parseListingHtml(text, path, report);
      if (first && listing) checkSameListing(first.listing, listing, path, first.path, report);
      if (!first && listing) first = { listing, path };
    }
    if (!first) return;
    const { listing, path } = first;
    checkListing(listing, name, path, report);
    if (!root.projects.has(name)) report('root-unlisted', page, 'not in the root', 'in the root');
    checkAgainstRoot(listing, name, root, path, report);
    for (const file of listing.files) {
      checkUrl(file.url.replace(this.client.baseUrl, '/'), file.filename, `simple/${name}`, path, report);
      await this.#checkFile(`${page}${encodeURIComponent(file.filename)}`, file, report);
    }
    if (checksHttp) {
      await checkIndexResponses(this.client, page, report);
      await checkNameRedirects(this.client, name, report);
      const file = listing.files[0];
      if (file?.size)
        await checkFileResponses(this.client, page + encodeURIComponent(file.filename), file.size, report);
    }
    await this.#checkPypi(name, listing, report);
    await this.#checkProjectPages(name, listing, report);
  }

  /** Checks PyPI's JSON. bandersnatch accepts a page only with its Content-Type and with its serial in a header. */
  async #checkPypi(name: string, listing: Listing, report: FaultReporter): Promise<void> {
    if (listing.serial === null) return;
    const path = `${pypiPath(name)}/json`;
    const { status, headers, body } = await this.client.request(path);
    if (status !== 200) {
      report('pypi-json', path, String(status), '200');
      return;
    }
    if (mediaType(headers) !== 'application/json')
      report('http-type', path, mediaType(headers), 'application/json');
    const serial = headerValues(headers, 'x-pypi-last-serial')[0];
    if (serial !== String(listing.serial))
      report('http-serial', path, serial ?? 'no X-PyPI-Last-Serial', String(listing.serial));
    const text = decodeText(body, path, report);
    if (text !== undefined) checkPypiJson(text, name, listing, path, report);
  }

  /** Reads one form of an index page; returns undefined if the server doesn't send it. */
  async #readForm(page: string, type: string, report: FaultReporter): Promise<string | undefined> {
    const label = `${page} as ${type}`;
    const response = await this.client.request(page, { accept: type });
    if (response.status !== 200) {
      report('http-answer', label, String(response.status), '200');
      return undefined;
    }
    if (mediaType(response.headers) !== type)
      report('http-type', label, format(response.headers['content-type'] ?? ''), type);
    if (type === PLAIN_TYPE && !/charset="?utf-8/i.test(response.headers['content-type'] ?? 'charset=utf-8'))
      if (/charset=/i.test(response.headers['content-type'] ?? ''))
        report('http-type', label, format(response.headers['content-type']), `${type}; charset=utf-8`);
    const text = decodeText(response.body, label, report);
    if (type === JSON_TYPE && text !== undefined) checkSerialHeader(response, text, label, report);
    return text;
  }

  async #checkFile(path: string, file: ListedFile, report: FaultReporter): Promise<void> {
    if (!wheelNameOf(file.filename)) return;
    const { status, headers } = await this.client.request(path, { method: 'HEAD' });
    if (status !== 200) {
      report('file-missing', path, String(status), 'the file that the index lists');
      return;
    }
    checkHasType(headers, path, report);
    const length = headers['content-length'];
    if (length !== undefined && file.size !== null && Number(length) !== file.size) {
      report('file-size', path, formatQuantity(Number(length), 'byte'), formatQuantity(file.size, 'byte'));
      return;
    }
    const metadata = await this.client.request(`${path}.metadata`);
    const hasMetadata = metadata.status === 200;
    if (!hasMetadata)
      report('metadata-missing', `${path}.metadata`, String(metadata.status), 'the METADATA of the wheel');
    else {
      checkHasType(metadata.headers, `${path}.metadata`, report);
      if (file.metadata !== null) checkMetadata(metadata.body, file.metadata, `${path}.metadata`, report);
    }
    if (!this.#readContents) return;
    this.#downloadCount += 1;
    const downloadPath = join(this.#folder, String(this.#downloadCount));
    try {
      const { sha256 } = await this.client.download(path, downloadPath);
      if (file.sha256 !== null && sha256 !== file.sha256)
        report('file-hash', path, `SHA-256 ${sha256}`, file.sha256);
      else await checkWheel(downloadPath, path, file, hasMetadata ? metadata.body : undefined, report);
    } finally {
      await rm(downloadPath, { force: true });
    }
  }

  /** Checks a project's page for people and its JSON. */
  async #checkProjectPages(name: string, listing: Listing, report: FaultReporter): Promise<void> {
    const page = `project/${name}/`;
    const response = await this.client.request(page);
    if (response.status !== 200) {
      if (listing.files.length > 0) report('project-page', page, String(response.status), '200');
    } else await checkServedPage(this.client, page, response, `/simple/${name}/`, report);
    const jsonPath = `${page}json/`;
    const { status, headers, body } = await this.client.request(jsonPath);
    if (status !== 200) {
      if (listing.files.length > 0) report('project-json', jsonPath, String(status), '200');
      return;
    }
    if (mediaType(headers) !== 'application/json')
      report('http-type', jsonPath, mediaType(headers), 'application/json');
    const json = parseObject(body.toString('utf8'), jsonPath, report);
    if (json) checkProjectJson(json, name, listing, jsonPath, report);
  }
}

/** Checks that a file has a Content-Type, whichever it is. */
function checkHasType(headers: HttpResponse['headers'], path: string, report: FaultReporter): void {
  if (mediaType(headers) === '') report('http-type', path, 'no Content-Type', 'a Content-Type');
}

/** Checks that the serial in the header, which mirrors read, is the one in the page. */
function checkSerialHeader(
  { headers }: HttpResponse,
  text: string,
  label: string,
  report: FaultReporter,
): void {
  const header = headerValues(headers, 'x-pypi-last-serial')[0];
  if (header === undefined) return;
  const page = parseObject(text, label, () => undefined);
  if (!page) return;
  const meta = page['meta'];
  const serial = isObject(meta) ? meta['_last-serial'] : undefined;
  if (String(serial) !== header)
    report('http-serial', label, header, `${format(serial ?? 'none')}, as in the page`);
}
