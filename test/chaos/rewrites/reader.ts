/**
 * Reads pages and files while they are being rewritten, over the file system or over HTTP, and says what it finds
 * wrong. Run by ../rewrites.ts:
 *
 *     node reader.js OUTPUT-PATH            node reader.js http://ADDRESS/
 *
 * What holds for one reader: a page is whole, and of one state, which is exactly what was written as that; the state
 * of a page never goes back, nor does its serial fall behind what the root said of it; a file that a page names is
 * there, with the bytes that were published, unless the page doesn't name it any more when it is read again; so is
 * the page of a project that the root names. The forms of a page are replaced one after the other, and may be of
 * different states.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as breathe } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { Server } from '../../../src/site/check/client.js';
import { Notebook } from '../../../src/site/check/faults.js';
import { listingOfHtml } from '../../../src/site/check/listing-html.js';
import { listingOfJson } from '../../../src/site/check/listing-json.js';
import { holdListing, type Listing } from '../../../src/site/check/listing.js';
import { FORMS, JSON_TYPE } from '../../../src/site/check/manners.js';
import { rootOfHtml, rootOfJson } from '../../../src/site/check/root.js';
import { SIBLINGS } from '../../../src/site/layout.js';
import { numberOf, projectOf } from './states.js';

type Form = 0 | 1 | 2;
const JSON_FORM: Form = 2;
const ANY: readonly Form[] = [0, 1, 2];

/** Where pages and files come from; undefined: not there. */
interface Source {
  page(path: string, form: Form): Promise<Buffer | undefined> | Buffer | undefined;
  file(path: string): Promise<Buffer | undefined> | Buffer | undefined;
}

/** The file system. */
function folder(output: string): Source {
  // A few times as fast as a read that another thread does.
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

/** A web server, which may give any page compressed. */
function server(address: string): Source {
  const its = new Server(address);
  // In the order of SIBLINGS.
  const types = [FORMS[2], FORMS[1], JSON_TYPE];
  const get = async (path: string, accept?: string): Promise<Buffer | undefined> => {
    const packed = accept !== undefined && Math.random() < 0.5;
    const answer = await its.ask(path, {
      ...(accept === undefined ? {} : { accept }),
      ...(packed ? { headers: { 'accept-encoding': 'gzip' } } : {}),
    });
    if (answer.status === 404) return undefined;
    if (answer.status !== 200 || answer.cut)
      throw new Error(`${path}: ${String(answer.status)}${answer.cut ? ', and cut off' : ''}`);
    if (accept !== undefined && answer.headers['content-type']?.startsWith(accept) !== true)
      throw new Error(`${path}: ${String(answer.headers['content-type'])} for ${accept}`);
    return answer.headers['content-encoding'] === 'gzip' ? gunzipSync(answer.body) : answer.body;
  };
  return { page: (path, form) => get(path, types[form]), file: (path) => get(path) };
}

const pick = <T>(of: readonly T[]): T | undefined => of[Math.floor(Math.random() * of.length)];
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

class Reader {
  readonly #source: Source;
  readonly #tell: (fault: string) => void;
  #names: readonly string[] = [];
  /** The root's serial, and those of the pages that it names, as its JSON had them last. */
  #serial = 0;
  #serials: ReadonlyMap<string, number | null> = new Map();
  /** The last state of each page, by form. */
  readonly #seen = new Map<string, number>();
  reads = 0;

  constructor(source: Source, tell: (fault: string) => void) {
    this.#source = source;
    this.#tell = tell;
  }

  /** Some reads: the root at times, a page, and its files. */
  async step(): Promise<void> {
    if (this.#names.length === 0 || Math.random() < 0.05) await this.#root(pick(ANY) ?? 0);
    const name = pick(this.#names);
    if (name === undefined) return;
    const form = pick(ANY) ?? 0;
    const listing = await this.#page(name, form);
    if (listing === 'wrong') return;
    if (!listing) {
      // The page goes after the name has gone from all forms of the root, and neither comes back.
      const root = await this.#root(form);
      if (root?.includes(name)) this.#tell(`${name}: the root names it, and there was no page`);
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
          this.#tell(`${path}: ${String(bytes.length)} bytes with another hash than ${SIBLINGS[form]} gives`);
          continue;
        }
        const again = await this.#page(name, form);
        if (again !== 'wrong' && again?.files.some((file) => file.filename === filename))
          this.#tell(`${path}: ${SIBLINGS[form]} names it after it was found missing`);
        return;
      }
    }
  }

  async #root(form: Form): Promise<readonly string[] | undefined> {
    const before = this.#serial;
    const bytes = await this.#source.page('simple/', form);
    this.reads += 1;
    if (!bytes) {
      this.#tell(`simple/${SIBLINGS[form]}: not there`);
      return undefined;
    }
    const notes = new Notebook();
    const text = bytes.toString('utf8');
    const root = form === JSON_FORM ? rootOfJson(text, 'simple', notes.tell) : undefined;
    const names =
      form === JSON_FORM ? [...(root?.projects.keys() ?? [])] : [...rootOfHtml(text, 'simple', notes.tell)];
    if (root) {
      const { serial, projects } = root;
      if (serial === null || serial < before)
        this.#tell(`simple: serial ${String(serial)} after ${String(before)}`);
      this.#serial = Math.max(serial ?? 0, this.#serial);
      this.#serials = projects;
    }
    this.#tellAll(`simple/${SIBLINGS[form]}`, notes);
    this.#names = names;
    return names;
  }

  /** A page; undefined: there is none. What is wrong with it is told. */
  async #page(name: string, form: Form): Promise<Listing | 'wrong' | undefined> {
    const path = `simple/${name}/${SIBLINGS[form]}`;
    // Several are read at once: what this one begins after is what it must not be older than.
    const before = this.#seen.get(path) ?? 0;
    const serial = this.#serials.get(name) ?? 0;
    const bytes = await this.#source.page(`simple/${name}/`, form);
    this.reads += 1;
    if (!bytes) return undefined;
    const notes = new Notebook();
    const text = bytes.toString('utf8');
    const listing =
      form === JSON_FORM
        ? listingOfJson(text, name, path, notes.tell)
        : listingOfHtml(text, path, notes.tell);
    if (listing) holdListing(listing, name, path, notes.tell);
    this.#tellAll(path, notes);
    if (!listing || notes.faults.size > 0) return 'wrong';
    const n = numberOf(listing.files[0]?.requiresPython ?? null);
    if (n === undefined || !isState(listing, name, n)) {
      this.#tell(`${path}: it is of no state that was written`);
      return 'wrong';
    }
    if (form === JSON_FORM && (listing.serial ?? -1) < serial)
      this.#tell(`${path}: serial ${String(listing.serial)}, and the root said ${String(serial)}`);
    if (n < before) this.#tell(`${path}: state ${String(n)} after ${String(before)}`);
    this.#seen.set(path, Math.max(n, this.#seen.get(path) ?? 0));
    return listing;
  }

  #tellAll(path: string, notes: Notebook): void {
    for (const { rule, found } of notes.faults.values()) this.#tell(`${path}: ${rule}: ${found}`);
  }
}

/** Whether a page says exactly what was written as state `n`. */
function isState(listing: Listing, name: string, n: number): boolean {
  const state = projectOf(name, n);
  const expected = state.files.map((file) => [
    ...[file.filename, file.sha256, file.requires_python, file.yanked, file.metadata_sha256],
  ]);
  const found = listing.files.map((file) => [
    ...[file.filename, file.sha256, file.requiresPython, file.yanked, file.metadata],
  ]);
  return (
    JSON.stringify(found) === JSON.stringify(expected) &&
    listing.status === state.status &&
    (listing.versions === null || JSON.stringify(listing.versions) === JSON.stringify(state.versions))
  );
}

const where = process.argv[2] ?? '';
const tell = (fault: string): void => {
  process.send?.({ fault });
};
const reader = new Reader(where.startsWith('http:') ? server(where) : folder(where), tell);
let told = 0;
/** Steps that are under way at once: over HTTP each waits for answers, mostly. */
const AT_ONCE = where.startsWith('http:') ? 4 : 2;
const work = async (): Promise<void> => {
  while (process.connected) {
    try {
      await reader.step();
    } catch (error) {
      tell(error instanceof Error ? error.message : String(error));
    }
    if (reader.reads - told < 200) continue;
    process.send?.({ reads: reader.reads - told });
    told = reader.reads;
    await breathe();
  }
};
await Promise.all(Array.from({ length: AT_ONCE }, work));
