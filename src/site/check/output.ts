import type { Dirent } from 'node:fs';
import { PiwError } from '../../errors.js';
import { PACKED, SIBLINGS, projectPath, simplePath } from '../layout.js';
import { Notebook, type Fault, type Tell } from './faults.js';
import { Place } from './place.js';
import { lookAtProject } from './project.js';
import { holdSameNames, rootOfHtml, rootOfJson, type Root } from './root.js';
import { lookForPypiOrphan } from './pypi.js';
import { Moved, judge, type Judged, type Unit } from './rounds.js';
import { chosen, type Which } from './sample.js';
import { logUnits, lookAtPage, siteUnits } from './site.js';
import { objectOf } from './listing-json.js';

export interface CheckOptions {
  /** Which projects; then nothing is looked at that has nothing to do with them. */
  readonly which: Which;
  /** The bytes of wheels and logs are read. */
  readonly whole: boolean;
  /** What looks wrong is looked at again so much later, each time, milliseconds. */
  readonly waits: readonly number[];
  /** What is younger isn't called left behind, milliseconds. */
  readonly settleMs: number;
  readonly report: (fault: Fault) => void;
  /** Hears how many projects have been looked at, and of how many. */
  readonly progress?: (done: number, of: number) => void;
  readonly signal?: AbortSignal;
}

export interface Checked extends Judged {
  readonly projects: number;
}

/** Units at once: so many files are open, and so many pages in memory. */
const AT_ONCE = 4;

/**
 * Holds every rule against an output path, also one that a farm is writing. It takes the memory of the names in the
 * root and of a few pages. Raises PIW_USAGE for a folder that is no output path, PIW_UNKNOWN_PACKAGE for a name that
 * nothing is there of.
 */
export async function checkOutput(path: string, options: CheckOptions): Promise<Checked> {
  const place = new Place(path, options.settleMs);
  if (!place.stat('simple')?.isDirectory())
    throw new PiwError('PIW_USAGE', `${path} is no output path: there is no folder simple in it`);
  const roots = new Roots(place);
  const root = roots.now();
  const names = chosen(options.which, [...root.projects.keys()]);
  let projects = 0;
  const { progress, which, whole } = options;
  const unknown =
    which.kind === 'names' &&
    names.find(
      (name) => !root.projects.has(name) && !place.stat(simplePath(name)) && !place.stat(projectPath(name)),
    );
  if (unknown) throw new PiwError('PIW_UNKNOWN_PACKAGE', `there is no package ${unknown} in ${path}`);
  const units = async function* (): AsyncGenerator<Unit> {
    yield { look: (tell) => lookAtRoot(place, tell) };
    const project = (name: string): Unit => ({
      // A large root is read again only for what looked wrong by it.
      look: (tell, round) =>
        lookAtProject(place, name, { root: round === 0 ? root : roots.now(), whole }, tell),
    });
    for (const name of names) {
      yield project(name);
      projects += 1;
      progress?.(projects, names.length);
      if (which.kind !== 'all') yield { look: (tell) => lookAtPeople(place, name, tell) };
    }
    if (which.kind !== 'all') return;
    for await (const entry of place.walk('simple')) {
      yield {
        look: (tell) => {
          lookAtEntry(place, entry, tell);
        },
      };
      if (entry.isDirectory() && !entry.name.startsWith('.') && !root.projects.has(entry.name))
        yield project(entry.name);
    }
    for await (const entry of place.walk('pypi'))
      yield {
        look: (tell) => {
          lookForPypiOrphan(place, entry, tell);
        },
      };
    for await (const entry of place.walk('project'))
      yield {
        look: async (tell) => {
          if (place.holdEntry('project', entry, tell)) return;
          if (entry.isDirectory()) await lookAtPeople(place, entry.name, tell);
          else tell('stray-file', `project/${entry.name}`, 'a file', 'folders');
        },
      };
    yield* siteUnits(place);
    yield* logUnits(place, whole);
  };
  const judged = await judge(units(), {
    waits: options.waits,
    report: options.report,
    atOnce: AT_ONCE,
    ...(options.signal && { signal: options.signal }),
  });
  return { ...judged, projects };
}

/** The root as it stands: read again when it has been replaced. */
class Roots {
  readonly #place: Place;
  #root: Root = { projects: new Map(), serial: null };
  #mark = '';

  constructor(place: Place) {
    this.#place = place;
  }

  now(): Root {
    const mark = this.#place.mark([`${simplePath()}/index.v1_json`, `${simplePath()}/index.html`]);
    if (mark === this.#mark) return this.#root;
    // What is wrong with it is told by the unit that it is.
    const { tell } = new Notebook();
    const json = this.#place.text(`${simplePath()}/index.v1_json`, tell);
    const root = json === undefined ? undefined : rootOfJson(json, '', tell);
    const html = root ? undefined : this.#place.text(`${simplePath()}/index.html`, tell);
    const names = html === undefined ? [] : rootOfHtml(html, '', tell);
    this.#root = root ?? { projects: new Map([...names].map((name) => [name, null])), serial: null };
    this.#mark = mark;
    return this.#root;
  }
}

/** The root's three forms, and what stands beside them. */
async function lookAtRoot(place: Place, tell: Tell): Promise<void> {
  const pages = SIBLINGS.map((sibling) => `${simplePath()}/${sibling}`);
  const before = place.mark(pages);
  let json: Root | undefined;
  let read = '';
  for (const path of pages.toReversed()) {
    await place.holdPacked(path, tell);
    const text = place.text(path, tell);
    if (text === undefined) {
      if (!place.isFile(path)) tell('sibling-missing', path, 'nothing', 'a page');
    } else if (path.endsWith('json')) json = rootOfJson(text, path, tell);
    else if (text !== read) {
      const names = rootOfHtml(text, path, tell);
      if (json) holdSameNames(json.projects, names, path, tell);
      read = text;
    }
  }
  if (place.mark(pages) !== before) throw new Moved();
}

/** What stands in the folder of the index: the root's pages, and a folder for each project. */
function lookAtEntry(place: Place, entry: Dirent, tell: Tell): void {
  if (place.holdEntry(simplePath(), entry, tell)) return;
  const known = SIBLINGS.some((page) => [page, page + PACKED].includes(entry.name));
  if (!entry.isDirectory() && !known)
    tell('stray-file', `${simplePath()}/${entry.name}`, 'a file', 'folders of projects');
}

/** What people see of a project. */
async function lookAtPeople(place: Place, name: string, tell: Tell): Promise<void> {
  const folder = projectPath(name);
  await lookAtPage(place, `${folder}/index.html`, tell);
  const json = place.text(`${folder}/json/index.json`, tell);
  if (json !== undefined) {
    objectOf(json, `${folder}/json/index.json`, tell);
    await place.holdPacked(`${folder}/json/index.json`, tell);
  }
  for (const inner of [folder, `${folder}/json`])
    for (const entry of place.list(inner)) place.holdEntry(inner, entry, tell);
}
