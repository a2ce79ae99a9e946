/**
 * Reads pages and files while they are being rewritten, from the file system or over HTTP, and reports what
 * is wrong. Run by ../rewrites.ts:
 *
 *     node reader.js OUTPUT-PATH            node reader.js http://ADDRESS/
 *
 * The rules for one reader: a page is complete, and exactly one of the states that were written; the state of
 * a page never goes back, and its serial is never lower than the root said; a file that a page lists exists,
 * with the bytes that were published, unless the page no longer lists it when it is read again; the same
 * holds for the page of a project that the root lists. The forms of a page are replaced one after the other,
 * and may be in different states.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as breathe } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { HttpClient } from '../../../src/check/client.js';
import { Findings } from '../../../src/check/faults.js';
import { parseListingHtml } from '../../../src/check/listing-html.js';
import { parseListingJson } from '../../../src/check/listing-json.js';
import { checkListing, type Listing } from '../../../src/check/listing.js';
import { FORMS, JSON_TYPE } from '../../../src/check/manners.js';
import { parseRootHtml, parseRootJson } from '../../../src/check/root.js';
import { SIBLINGS } from '../../../src/site/layout.js';
import { stateNumberOf, projectOf } from './states.js';

type PageForm = 0 | 1 | 2;
const JSON_FORM: PageForm = 2;
const ALL_FORMS: readonly PageForm[] = [0, 1, 2];

/** A source of pages and files, which returns undefined for a missing one. */
interface PageSource {
  page(path: string, form: PageForm): Promise<Buffer | undefined> | Buffer | undefined;
  file(path: string): Promise<Buffer | undefined> | Buffer | undefined;
}

/** Reads from the file system. */
function diskSource(output: string): PageSource {
  // A few times as fast as a read in another thread.
  const read = (path: string): Buffer | undefined => {
    try {
      return readFileSync(join(output, path));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  };
  return { page: (path, form) => read(`${path}${SIBLINGS[form]}`), file: read };
}

/** Reads from a web server, which may return any page compressed. */
function httpSource(address: string): PageSource {
  const client = new HttpClient(address);
  // In the order of SIBLINGS.
  const types = [FORMS[2], FORMS[1], JSON_TYPE];
  const get = async (path: string, accept?: string): Promise<Buffer | undefined> => {
    const compressed = accept !== undefined && Math.random() < 0.5;
    const answer = await client.request(path, {
      ...(accept === undefined ? {} : { accept }),
      ...(compressed ? { headers: { 'accept-encoding': 'gzip' } } : {}),
    });
    if (answer.status === 404) return undefined;
    if (answer.status !== 200 || answer.truncated)
      throw new Error(`${path}: ${answer.status}${answer.truncated ? ', truncated' : ''}`);
    if (accept !== undefined && answer.headers['content-type']?.startsWith(accept) !== true)
      throw new Error(`${path}: ${String(answer.headers['content-type'])} for ${accept}`);
    return answer.headers['content-encoding'] === 'gzip' ? gunzipSync(answer.body) : answer.body;
  };
  return { page: (path, form) => get(path, types[form]), file: (path) => get(path) };
}

const pick = <T>(items: readonly T[]): T | undefined => items[Math.floor(Math.random() * items.length)];
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

class PageReader {
  readonly #source: PageSource;
  readonly #report: (fault: string) => void;
  #names: readonly string[] = [];
  /** The root's serial, and those of the pages that it lists, as its JSON last had them. */
  #rootSerial = 0;
  #pageSerials: ReadonlyMap<string, number | null> = new Map();
  /** The last state of each page, by form. */
  readonly #lastStates = new Map<string, number>();
  reads = 0;

  constructor(source: PageSource, report: (fault: string) => void) {
    this.#source = source;
    this.#report = report;
  }

  /** Reads a page and its files, and sometimes the root. */
  async step(): Promise<void> {
    if (this.#names.length === 0 || Math.random() < 0.05) await this.#root(pick(ALL_FORMS) ?? 0);
    const name = pick(this.#names);
    if (name === undefined) return;
    const form = pick(ALL_FORMS) ?? 0;
    const listing = await this.#page(name, form);
    if (listing === 'wrong') return;
    if (!listing) {
      // The page is removed after the name has vanished from all forms of the root, and neither comes back.
      const root = await this.#root(form);
      if (root?.includes(name)) this.#report(`${name}: the root lists it, but its page is missing`);
      return;
    }
    for (const { filename, sha256: expected, metadata } of listing.files) {
      for (const [path, digest] of [
        [`simple/${name}/${filename}`, expected],
        [`simple/${name}/${filename}.metadata`, metadata],
      ] as const) {
        const bytes = await this.#source.file(path);
        this.reads += 1;
        if (bytes && sha256(bytes) === digest) continue;
        if (bytes) {
          this.#report(`${path}: ${bytes.length} bytes with a hash that differs from ${SIBLINGS[form]}`);
          continue;
        }
        const rereadListing = await this.#page(name, form);
        if (rereadListing !== 'wrong' && rereadListing?.files.some((file) => file.filename === filename))
          this.#report(`${path}: ${SIBLINGS[form]} lists it after it was found missing`);
        return;
      }
    }
  }

  async #root(form: PageForm): Promise<readonly string[] | undefined> {
    const before = this.#rootSerial;
    const bytes = await this.#source.page('simple/', form);
    this.reads += 1;
    if (!bytes) {
      this.#report(`simple/${SIBLINGS[form]}: missing`);
      return undefined;
    }
    const findings = new Findings();
    const text = bytes.toString('utf8');
    const root = form === JSON_FORM ? parseRootJson(text, 'simple', findings.report) : undefined;
    const names =
      form === JSON_FORM
        ? [...(root?.projects.keys() ?? [])]
        : [...parseRootHtml(text, 'simple', findings.report)];
    if (root) {
      const { serial, projects } = root;
      if (serial === null || serial < before)
        this.#report(`simple: serial ${String(serial)} after ${before}`);
      this.#rootSerial = Math.max(serial ?? 0, this.#rootSerial);
      this.#pageSerials = projects;
    }
    this.#reportAll(`simple/${SIBLINGS[form]}`, findings);
    this.#names = names;
    return names;
  }

  /** Reads a page, and reports what is wrong with it; returns undefined if there is none. */
  async #page(name: string, form: PageForm): Promise<Listing | 'wrong' | undefined> {
    const path = `simple/${name}/${SIBLINGS[form]}`;
    // Several reads run at once: this one must not return an older state than the last one known at its
    // start.
    const before = this.#lastStates.get(path) ?? 0;
    const serial = this.#pageSerials.get(name) ?? 0;
    const bytes = await this.#source.page(`simple/${name}/`, form);
    this.reads += 1;
    if (!bytes) return undefined;
    const findings = new Findings();
    const text = bytes.toString('utf8');
    const listing =
      form === JSON_FORM
        ? parseListingJson(text, name, path, findings.report)
        : parseListingHtml(text, path, findings.report);
    if (listing) checkListing(listing, name, path, findings.report);
    this.#reportAll(path, findings);
    if (!listing || findings.faults.size > 0) return 'wrong';
    const n = stateNumberOf(listing.files[0]?.requiresPython ?? null);
    if (n === undefined || !matchesState(listing, name, n)) {
      this.#report(`${path}: it is not a state that was written`);
      return 'wrong';
    }
    if (form === JSON_FORM && (listing.serial ?? -1) < serial)
      this.#report(`${path}: serial ${String(listing.serial)}, but the root said ${serial}`);
    if (n < before) this.#report(`${path}: state ${n} after ${before}`);
    this.#lastStates.set(path, Math.max(n, this.#lastStates.get(path) ?? 0));
    return listing;
  }

  #reportAll(path: string, findings: Findings): void {
    for (const { rule, found } of findings.faults.values()) this.#report(`${path}: ${rule}: ${found}`);
  }
}

/** Returns whether a page equals what was written as state `n`. */
function matchesState(listing: Listing, name: string, n: number): boolean {
  const state = projectOf(name, n);
  const expected = state.files.map((file) => [
    ...[file.filename, file.sha256, file.requires_python, file.yanked, file.metadata_sha256],
  ]);
  const actual = listing.files.map((file) => [
    ...[file.filename, file.sha256, file.requiresPython, file.yanked, file.metadata],
  ]);
  return (
    JSON.stringify(actual) === JSON.stringify(expected) &&
    listing.status === state.status &&
    (listing.versions === null || JSON.stringify(listing.versions) === JSON.stringify(state.versions))
  );
}

const target = process.argv[2] ?? '';
const sendFault = (fault: string): void => {
  process.send?.({ fault });
};
const reader = new PageReader(
  target.startsWith('http:') ? httpSource(target) : diskSource(target),
  sendFault,
);
let reportedReads = 0;
/** Concurrent steps: over HTTP each mostly waits for answers. */
const CONCURRENCY = target.startsWith('http:') ? 4 : 2;
const readLoop = async (): Promise<void> => {
  while (process.connected) {
    try {
      await reader.step();
    } catch (error) {
      sendFault(error instanceof Error ? error.message : String(error));
    }
    if (reader.reads - reportedReads < 200) continue;
    process.send?.({ reads: reader.reads - reportedReads });
    reportedReads = reader.reads;
    await breathe();
  }
};
await Promise.all(Array.from({ length: CONCURRENCY }, readLoop));
