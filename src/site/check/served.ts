import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PiwError } from '../../errors.js';
import { projectPath, pypiPath, simplePath } from '../layout.js';
import { Server, typeOf, words, type Answer } from './client.js';
import { Notebook, quote, type Tell } from './faults.js';
import { holdMetadata, holdWheel } from './files.js';
import { listingOfHtml } from './listing-html.js';
import { isObject, listingOfJson, objectOf } from './listing-json.js';
import { holdAlike, holdListing, wheelOf, type ListedFile, type Listing } from './listing.js';
import { FORMS, JSON_TYPE, PLAIN_TYPE, holdFileManners, holdIndexManners, holdNames } from './manners.js';
import type { CheckOptions, Checked } from './output.js';
import { textOf } from './place.js';
import { holdProjectJson, holdToRoot, holdUrl } from './project.js';
import { holdPypiJson } from './pypi.js';
import { holdSameNames, rootOfHtml, rootOfJson, type Root } from './root.js';
import { judge, type Unit } from './rounds.js';
import { chosen } from './sample.js';
import { lookAtServedPage, siteManners } from './served-pages.js';

/** Of so many projects it is asked how the server behaves; what they say is asked of all. */
const MANNERS = 3;
const AT_ONCE = 4;
/** What the index has of a project that it has no page of. */
const EMPTY: Listing = { status: 'active', reason: null, files: [], versions: [], serial: null };

/**
 * Holds every rule against a site as its server gives it. Raises PIW_UNREACHABLE where there is no server, PIW_USAGE
 * where it has no index, PIW_UNKNOWN_PACKAGE for a name that nothing is there of.
 */
export async function checkServed(address: string, options: CheckOptions): Promise<Checked> {
  const server = new Server(address);
  const folder = await mkdtemp(join(tmpdir(), 'piw-check-'));
  try {
    return await walk(new Served(server, folder, options.whole), options);
  } finally {
    server.close();
    await rm(folder, { recursive: true, force: true });
  }
}

async function walk(served: Served, options: CheckOptions): Promise<Checked> {
  const { which, progress, signal } = options;
  let root = await served.root(new Notebook().tell);
  if (!root) throw new PiwError('PIW_USAGE', `${served.server.address}simple/ is no index`);
  const names = chosen(which, [...root.projects.keys()]);
  if (which.kind === 'names')
    for (const name of names)
      if (!root.projects.has(name) && !(await served.knows(name)))
        throw new PiwError('PIW_UNKNOWN_PACKAGE', `there is no package ${name} at ${served.server.address}`);
  let projects = 0;
  const units = function* (): Generator<Unit> {
    yield {
      look: async (tell) => {
        root = (await served.root(tell)) ?? root;
        await holdIndexManners(served.server, 'simple/', tell);
      },
    };
    yield { look: (tell) => siteManners(served.server, names[0], tell) };
    for (const name of names) {
      const manners = projects < MANNERS;
      yield {
        look: async (tell, round) => {
          // A project may have come or gone since the root was read.
          if (round > 0) root = (await served.root(new Notebook().tell)) ?? root;
          await served.project(name, root ?? { projects: new Map(), serial: null }, manners, tell);
        },
      };
      projects += 1;
      progress?.(projects, names.length);
    }
  };
  const judged = await judge(guarded(units()), {
    waits: options.waits,
    report: options.report,
    atOnce: AT_ONCE,
    ...(signal && { signal }),
  });
  return { ...judged, projects };
}

/** A server that doesn't answer is a fault of what was asked for, and looked at again like any other. */
function* guarded(units: Iterable<Unit>): Generator<Unit> {
  for (const unit of units)
    yield {
      look: async (tell, round) => {
        try {
          await unit.look(tell, round);
        } catch (error) {
          if (!(error instanceof PiwError)) throw error;
          tell('http-answer', '', error.message, 'an answer');
        }
      },
    };
}

class Served {
  readonly server: Server;
  readonly #folder: string;
  readonly #whole: boolean;
  #files = 0;

  constructor(server: Server, folder: string, whole: boolean) {
    this.server = server;
    this.#folder = folder;
    this.#whole = whole;
  }

  /** The root in its three forms; undefined where it can't be read. */
  async root(tell: Tell): Promise<Root | undefined> {
    let root: Root | undefined;
    for (const type of FORMS) {
      const text = await this.#form('simple/', type, tell);
      if (text === undefined) continue;
      const path = `simple/ as ${type}`;
      if (type === JSON_TYPE) root = rootOfJson(text, path, tell);
      else {
        const names = rootOfHtml(text, path, tell);
        if (root) holdSameNames(root.projects, names, path, tell);
        root ??= { projects: new Map([...names].map((name) => [name, null])), serial: null };
      }
    }
    return root;
  }

  /** There is a page of that package, in the index or for people. */
  async knows(name: string): Promise<boolean> {
    for (const folder of [simplePath(name), projectPath(name)])
      if ((await this.server.ask(`${folder}/`, { method: 'HEAD' })).status === 200) return true;
    return false;
  }

  async project(name: string, root: Root, manners: boolean, tell: Tell): Promise<void> {
    const page = `simple/${name}/`;
    if (!root.projects.has(name) && (await this.server.ask(page, { method: 'HEAD' })).status === 404) {
      await this.#people(name, EMPTY, tell);
      return;
    }
    let first: { readonly listing: Listing; readonly path: string } | undefined;
    for (const type of FORMS) {
      const text = await this.#form(page, type, tell);
      if (text === undefined) continue;
      const path = `${page} as ${type}`;
      const listing =
        type === JSON_TYPE ? listingOfJson(text, name, path, tell) : listingOfHtml(text, path, tell);
      if (first && listing) holdAlike(first.listing, listing, path, first.path, tell);
      if (!first && listing) first = { listing, path };
    }
    if (!first) return;
    const { listing, path } = first;
    holdListing(listing, name, path, tell);
    if (!root.projects.has(name)) tell('root-unlisted', page, 'the root does not name it', 'it does');
    holdToRoot(listing, name, root, path, tell);
    for (const file of listing.files) {
      holdUrl(file.url.replace(this.server.address, '/'), file.filename, `simple/${name}`, path, tell);
      await this.#file(`${page}${encodeURIComponent(file.filename)}`, file, tell);
    }
    if (manners) {
      await holdIndexManners(this.server, page, tell);
      await holdNames(this.server, name, tell);
      const file = listing.files[0];
      if (file?.size)
        await holdFileManners(this.server, page + encodeURIComponent(file.filename), file.size, tell);
    }
    await this.#pypi(name, listing, tell);
    await this.#people(name, listing, tell);
  }

  /** PyPI's JSON: bandersnatch takes no page without its type and, in a header, its serial. */
  async #pypi(name: string, listing: Listing, tell: Tell): Promise<void> {
    if (listing.serial === null) return;
    const path = `${pypiPath(name)}/json`;
    const { status, headers, body } = await this.server.ask(path);
    if (status !== 200) {
      tell('pypi-json', path, String(status), '200');
      return;
    }
    if (typeOf(headers) !== 'application/json') tell('http-type', path, typeOf(headers), 'application/json');
    const serial = words(headers, 'x-pypi-last-serial')[0];
    if (serial !== String(listing.serial))
      tell('http-serial', path, serial ?? 'no X-PyPI-Last-Serial', String(listing.serial));
    const text = textOf(body, path, tell);
    if (text !== undefined) holdPypiJson(text, name, listing, path, tell);
  }

  /** One form of a page of the index; undefined where it isn't given. */
  async #form(page: string, type: string, tell: Tell): Promise<string | undefined> {
    const at = `${page} as ${type}`;
    const answer = await this.server.ask(page, { accept: type });
    if (answer.status !== 200) {
      tell('http-answer', at, String(answer.status), '200');
      return undefined;
    }
    if (typeOf(answer.headers) !== type)
      tell('http-type', at, quote(answer.headers['content-type'] ?? ''), type);
    if (type === PLAIN_TYPE && !/charset="?utf-8/i.test(answer.headers['content-type'] ?? 'charset=utf-8'))
      if (/charset=/i.test(answer.headers['content-type'] ?? ''))
        tell('http-type', at, quote(answer.headers['content-type']), `${type}; charset=utf-8`);
    const text = textOf(answer.body, at, tell);
    if (type === JSON_TYPE && text !== undefined) holdSerial(answer, text, at, tell);
    return text;
  }

  async #file(path: string, file: ListedFile, tell: Tell): Promise<void> {
    if (!wheelOf(file.filename)) return;
    const { status, headers } = await this.server.ask(path, { method: 'HEAD' });
    if (status !== 200) {
      tell('file-missing', path, String(status), 'the file that the index lists');
      return;
    }
    holdTyped(headers, path, tell);
    const length = headers['content-length'];
    if (length !== undefined && file.size !== null && Number(length) !== file.size) {
      tell('file-size', path, `${length} bytes`, `${String(file.size)} bytes`);
      return;
    }
    const metadata = await this.server.ask(`${path}.metadata`);
    const there = metadata.status === 200;
    if (!there)
      tell('metadata-missing', `${path}.metadata`, String(metadata.status), 'the METADATA of the wheel');
    else {
      holdTyped(metadata.headers, `${path}.metadata`, tell);
      if (file.metadata !== null) holdMetadata(metadata.body, file.metadata, `${path}.metadata`, tell);
    }
    if (!this.#whole) return;
    this.#files += 1;
    const to = join(this.#folder, String(this.#files));
    try {
      const { sha256 } = await this.server.download(path, to);
      if (file.sha256 !== null && sha256 !== file.sha256)
        tell('file-hash', path, `SHA-256 ${sha256}`, file.sha256);
      else await holdWheel(to, path, file, there ? metadata.body : undefined, tell);
    } finally {
      await rm(to, { force: true });
    }
  }

  /** The project's page for people, and its JSON. */
  async #people(name: string, listing: Listing, tell: Tell): Promise<void> {
    const page = `project/${name}/`;
    const answer = await this.server.ask(page);
    if (answer.status !== 200) {
      if (listing.files.length > 0) tell('project-page', page, String(answer.status), '200');
    } else await lookAtServedPage(this.server, page, answer, `/simple/${name}/`, tell);
    const at = `${page}json/`;
    const { status, headers, body } = await this.server.ask(at);
    if (status !== 200) {
      if (listing.files.length > 0) tell('project-json', at, String(status), '200');
      return;
    }
    if (typeOf(headers) !== 'application/json') tell('http-type', at, typeOf(headers), 'application/json');
    const json = objectOf(body.toString('utf8'), at, tell);
    if (json) holdProjectJson(json, name, listing, at, tell);
  }
}

/** A file may have any type, but has one. */
function holdTyped(headers: Answer['headers'], path: string, tell: Tell): void {
  if (typeOf(headers) === '') tell('http-type', path, 'no Content-Type', 'one');
}

/** The header that mirrors read says what the page says. */
function holdSerial({ headers }: Answer, text: string, at: string, tell: Tell): void {
  const header = words(headers, 'x-pypi-last-serial')[0];
  if (header === undefined) return;
  const page = objectOf(text, at, () => undefined);
  if (!page) return;
  const meta = page['meta'];
  const serial = isObject(meta) ? meta['_last-serial'] : undefined;
  if (String(serial) !== header)
    tell('http-serial', at, header, `${quote(serial ?? 'none')}, as the page says`);
}
