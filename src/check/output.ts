import type { Dirent } from 'node:fs';
import { PiwError } from '../errors.js';
import { GZIP_SUFFIX } from '../files/atomic.js';
import { SIBLINGS, projectPath, simplePath } from '../site/layout.js';
import { Findings, type Fault, type FaultReporter } from './faults.js';
import { OutputTree } from './place.js';
import { checkProject } from './project.js';
import { checkSameNames, parseRootHtml, parseRootJson, type ListedRoot } from './root.js';
import { checkPypiOrphan } from './pypi.js';
import { Changed, checkInRounds, type RoundsResult, type CheckUnit } from './rounds.js';
import { selectProjects, type ProjectSelection } from './sample.js';
import { logUnits, checkSitePage, siteUnits } from './site.js';
import { parseObject } from './listing-json.js';

export interface CheckOptions {
  /** Which projects are checked. Unless it is all of them, only what belongs to these projects is checked. */
  readonly selection: ProjectSelection;
  /** Also reads the bytes of wheels and logs. */
  readonly readContents: boolean;
  /** The delay before each recheck of what looked wrong, milliseconds. */
  readonly recheckDelaysMs: readonly number[];
  /** Files that are younger than this are not reported as left behind, milliseconds. */
  readonly settleMs: number;
  readonly report: (fault: Fault) => void;
  /** Called with the number of projects checked so far and their total. */
  readonly progress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

export interface CheckResult extends RoundsResult {
  readonly projects: number;
}

/** Units checked at the same time, which limits open files and pages in memory. */
const CONCURRENCY = 4;

/**
 * Checks an output path against every rule, even while a farm is writing it. Holds the names in the root and a few
 * pages in memory. Throws PIW_USAGE if the folder is not an output path, and PIW_UNKNOWN_PACKAGE for a selected name
 * that has neither a page nor a place in the root.
 */
export async function checkOutput(path: string, options: CheckOptions): Promise<CheckResult> {
  const tree = new OutputTree(path, options.settleMs);
  if (!tree.stat('simple')?.isDirectory())
    throw new PiwError('PIW_USAGE', `${path} is not an output path: it has no folder named simple`);
  const cachedRoot = new CachedRoot(tree);
  const root = cachedRoot.current();
  const names = selectProjects(options.selection, [...root.projects.keys()]);
  let projects = 0;
  const { progress, selection, readContents } = options;
  const unknownName =
    selection.kind === 'names' &&
    names.find(
      (name) => !root.projects.has(name) && !tree.stat(simplePath(name)) && !tree.stat(projectPath(name)),
    );
  if (unknownName) throw new PiwError('PIW_UNKNOWN_PACKAGE', `there is no package ${unknownName} in ${path}`);
  const units = async function* (): AsyncGenerator<CheckUnit> {
    yield { check: (report) => checkRoot(tree, report) };
    const project = (name: string): CheckUnit => ({
      // A large root is read again only for projects that looked wrong.
      check: (report, round) =>
        checkProject(tree, name, { root: round === 0 ? root : cachedRoot.current(), readContents }, report),
    });
    for (const name of names) {
      yield project(name);
      projects += 1;
      progress?.(projects, names.length);
      if (selection.kind !== 'all') yield { check: (report) => checkProjectFolder(tree, name, report) };
    }
    if (selection.kind !== 'all') return;
    for await (const entry of tree.walk('simple')) {
      yield {
        check: (report) => {
          checkIndexEntry(tree, entry, report);
        },
      };
      if (entry.isDirectory() && !entry.name.startsWith('.') && !root.projects.has(entry.name))
        yield project(entry.name);
    }
    for await (const entry of tree.walk('pypi'))
      yield {
        check: (report) => {
          checkPypiOrphan(tree, entry, report);
        },
      };
    for await (const entry of tree.walk('project'))
      yield {
        check: async (report) => {
          if (tree.checkEntry('project', entry, report)) return;
          if (entry.isDirectory()) await checkProjectFolder(tree, entry.name, report);
          else report('stray-file', `project/${entry.name}`, 'a file', 'only folders');
        },
      };
    yield* siteUnits(tree);
    yield* logUnits(tree, readContents);
  };
  const result = await checkInRounds(units(), {
    recheckDelaysMs: options.recheckDelaysMs,
    report: options.report,
    concurrency: CONCURRENCY,
    ...(options.signal && { signal: options.signal }),
  });
  return { ...result, projects };
}

/** Caches the root, and reads it again after it has been replaced. */
class CachedRoot {
  readonly #tree: OutputTree;
  #root: ListedRoot = { projects: new Map(), serial: null };
  #fingerprint = '';

  constructor(tree: OutputTree) {
    this.#tree = tree;
  }

  current(): ListedRoot {
    const fingerprint = this.#tree.fingerprint([
      `${simplePath()}/index.v1_json`,
      `${simplePath()}/index.html`,
    ]);
    if (fingerprint === this.#fingerprint) return this.#root;
    // Faults of the root are discarded here, because checkRoot() reports them.
    const { report } = new Findings();
    const json = this.#tree.readText(`${simplePath()}/index.v1_json`, report);
    const root = json === undefined ? undefined : parseRootJson(json, '', report);
    const html = root ? undefined : this.#tree.readText(`${simplePath()}/index.html`, report);
    const names = html === undefined ? [] : parseRootHtml(html, '', report);
    this.#root = root ?? { projects: new Map([...names].map((name) => [name, null])), serial: null };
    this.#fingerprint = fingerprint;
    return this.#root;
  }
}

/** Checks the three forms of the root and their compressed forms. */
async function checkRoot(tree: OutputTree, report: FaultReporter): Promise<void> {
  const pages = SIBLINGS.map((sibling) => `${simplePath()}/${sibling}`);
  const initialFingerprint = tree.fingerprint(pages);
  let json: ListedRoot | undefined;
  let previousText = '';
  for (const path of pages.toReversed()) {
    await tree.checkCompressed(path, report);
    const text = tree.readText(path, report);
    if (text === undefined) {
      if (!tree.isFile(path)) report('sibling-missing', path, 'missing', 'a page');
    } else if (path.endsWith('json')) json = parseRootJson(text, path, report);
    else if (text !== previousText) {
      const names = parseRootHtml(text, path, report);
      if (json) checkSameNames(json.projects, names, path, report);
      previousText = text;
    }
  }
  if (tree.fingerprint(pages) !== initialFingerprint) throw new Changed();
}

/** Checks an entry of the index's folder, which contains the root's pages and a folder for each project. */
function checkIndexEntry(tree: OutputTree, entry: Dirent, report: FaultReporter): void {
  if (tree.checkEntry(simplePath(), entry, report)) return;
  const isIndexPage = SIBLINGS.some((page) => [page, page + GZIP_SUFFIX].includes(entry.name));
  if (!entry.isDirectory() && !isIndexPage)
    report('stray-file', `${simplePath()}/${entry.name}`, 'a file', 'only project folders');
}

/** Checks a project's page for people and its JSON. */
async function checkProjectFolder(tree: OutputTree, name: string, report: FaultReporter): Promise<void> {
  const folder = projectPath(name);
  await checkSitePage(tree, `${folder}/index.html`, report);
  const json = tree.readText(`${folder}/json/index.json`, report);
  if (json !== undefined) {
    parseObject(json, `${folder}/json/index.json`, report);
    await tree.checkCompressed(`${folder}/json/index.json`, report);
  }
  for (const inner of [folder, `${folder}/json`])
    for (const entry of tree.list(inner)) tree.checkEntry(inner, entry, report);
}
