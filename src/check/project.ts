import type { Dirent, Stats } from 'node:fs';
import { isPackageName, normalise } from '../wheels/names.js';
import { GZIP_SUFFIX } from '../files/atomic.js';
import { SIBLINGS, projectPath, simplePath } from '../site/layout.js';
import { format, type FaultReporter } from './faults.js';
import { checkFile } from './files.js';
import { parseListingHtml } from './listing-html.js';
import { isObject, parseListingJson, parseObject, type JsonObject } from './listing-json.js';
import { checkSameListing, checkListing, type Listing } from './listing.js';
import { PLACEHOLDER_ORIGIN, decodeLeniently } from './people.js';
import type { OutputTree } from './place.js';
import { checkPypiPage } from './pypi.js';
import type { ListedRoot } from './root.js';
import { Changed } from './rounds.js';
import { formatQuantity } from '../units.js';

interface ProjectCheckOptions {
  /** The current root. */
  readonly root: ListedRoot;
  /** Also reads the wheels. */
  readonly readContents: boolean;
}

/** Checks a project of the index on the disk: the three forms of its page, its files, and its pages for people. */
export async function checkProject(
  tree: OutputTree,
  name: string,
  { root, readContents }: ProjectCheckOptions,
  report: FaultReporter,
): Promise<void> {
  const folder = simplePath(name);
  const pages = SIBLINGS.map((sibling) => `${folder}/${sibling}`);
  const initialFingerprint = tree.fingerprint(pages);
  const first = await checkSiblings(tree, name, pages, report);
  const listing = first?.listing;
  // Listed after the pages were read: the files that a page lists are written before the page.
  const entries = readEntries(tree, folder);
  const presentPages = pages.filter((page) => entries.has(page.slice(folder.length + 1)));
  const listed = root.projects.has(name);
  const isNormalised = isPackageName(name) && normalise(name) === name;
  if (!isNormalised && entries.size > 0)
    report('folder-normalised', folder, name, isPackageName(name) ? normalise(name) : 'a valid package name');
  else if (presentPages.length === 0 && listed)
    report('root-dangling', folder, 'no page', 'a page, because it is in the root');
  else if (presentPages.length > 0 && !listed)
    report('root-unlisted', folder, 'not in the root', 'in the root');
  for (const page of pages)
    if (presentPages.length > 0 && !presentPages.includes(page))
      report('sibling-missing', page, 'missing', 'a page');
  if (first && listing) {
    const { path } = first;
    checkListing(listing, name, path, report);
    checkAgainstRoot(listing, name, root, path, report);
    for (const file of listing.files) {
      checkUrl(file.url, file.filename, folder, path, report);
      await checkFile(
        tree,
        `${folder}/${file.filename}`,
        file,
        entries.get(file.filename)?.stats,
        readContents,
        report,
      );
    }
  }
  if (listing) checkPypiPage(tree, name, listing, report);
  checkStrayFiles(tree, folder, listing, entries, report);
  if (listing && listing.files.length > 0) checkProjectPages(tree, name, listing, report);
  // If a page was replaced in the meantime, the findings may be a mix of two states.
  if (tree.fingerprint(pages) !== initialFingerprint) throw new Changed();
}

interface ParsedForm {
  readonly path: string;
  readonly listing: Listing;
}

/** Compares the three forms of a page, and returns the one that the others are compared with: JSON if readable. */
async function checkSiblings(
  tree: OutputTree,
  name: string,
  pages: readonly string[],
  report: FaultReporter,
): Promise<ParsedForm | undefined> {
  let first: ParsedForm | undefined;
  const seen = new Set<string>();
  for (const path of pages.toReversed()) {
    await tree.checkCompressed(path, report);
    const text = tree.readText(path, report);
    // The two HTML forms are usually identical.
    if (text === undefined || seen.has(text)) continue;
    seen.add(text);
    const listing = path.endsWith('json')
      ? parseListingJson(text, name, path, report)
      : parseListingHtml(text, path, report);
    if (first && listing) checkSameListing(first.listing, listing, path, first.path, report);
    if (!first && listing) first = { path, listing };
  }
  return first;
}

/** Compares a project's page with the project's entry in the root. */
export function checkAgainstRoot(
  listing: Listing,
  name: string,
  root: ListedRoot,
  path: string,
  report: FaultReporter,
): void {
  const { files, status, versions, serial } = listing;
  const rootSerial = root.projects.get(name);
  if (rootSerial !== undefined && files.length === 0 && status !== 'quarantined')
    report('project-empty', simplePath(name), 'a page without files', 'no page, or a page with files');
  if (versions && (serial === null) !== (root.serial === null))
    report('serial-number', path, serial === null ? 'no serial' : 'a serial', 'the same as in the root');
  if (serial !== null && typeof rootSerial === 'number' && serial < rootSerial)
    report('serial-behind', path, String(serial), `at least ${rootSerial}, as in the root`);
}

/** Checks that a file's URL leads to the folder of the page that lists it. */
export function checkUrl(
  url: string,
  filename: string,
  folder: string,
  path: string,
  report: FaultReporter,
): void {
  const base = `${PLACEHOLDER_ORIGIN}${folder}/`;
  const target = URL.canParse(url, base) ? new URL(url, base) : undefined;
  const isBesidePage =
    target?.host === new URL(PLACEHOLDER_ORIGIN).host &&
    decodeLeniently(target.pathname) === `/${folder}/${filename}`;
  if (!isBesidePage) report('file-url', `${path} ${format(filename)}`, url, filename);
}

type FolderEntries = ReadonlyMap<string, { readonly entry: Dirent; readonly stats: Stats }>;

function readEntries(tree: OutputTree, folder: string): FolderEntries {
  const withStats = tree
    .list(folder)
    .map((entry) => ({ entry, stats: tree.stat(`${folder}/${entry.name}`) }));
  return new Map(withStats.flatMap(({ entry, stats }) => (stats ? [[entry.name, { entry, stats }]] : [])));
}

/** Checks the files in a project's folder other than its pages and the files that they list. */
function checkStrayFiles(
  tree: OutputTree,
  folder: string,
  listing: Listing | undefined,
  entries: FolderEntries,
  report: FaultReporter,
): void {
  const listedNames = new Set(listing?.files.flatMap(({ filename }) => [filename, `${filename}.metadata`]));
  for (const [name, { entry, stats }] of entries) {
    const path = `${folder}/${name}`;
    if (tree.checkEntry(folder, entry, report, stats)) continue;
    if (SIBLINGS.some((page) => page === name) || listedNames.has(name)) continue;
    if (name.endsWith(GZIP_SUFFIX)) {
      const page = name.slice(0, -GZIP_SUFFIX.length);
      if (!SIBLINGS.some((sibling) => sibling === page))
        report('stray-file', path, 'an unknown file', 'no such file');
      else if (!entries.has(page)) report('gzip-orphan', path, 'its page is missing', page);
      continue;
    }
    if (tree.isRecent(stats)) continue;
    const isWheelFile = /\.whl(\.metadata)?$/.test(name) && stats.isFile();
    report(
      isWheelFile ? 'file-unlisted' : 'stray-file',
      path,
      isWheelFile ? 'no page lists it' : 'an unknown file',
      isWheelFile ? 'a page that lists it, or no such file' : 'no such file',
    );
  }
}

/** Checks that a project's page for people and its JSON exist, and that the JSON has the same files as the index. */
function checkProjectPages(tree: OutputTree, name: string, listing: Listing, report: FaultReporter): void {
  const folder = projectPath(name);
  const page = `${folder}/index.html`;
  if (!tree.isFile(page)) report('project-page', page, 'missing', 'a page');
  const path = `${folder}/json/index.json`;
  const text = tree.readText(path, report);
  if (text === undefined) {
    report('project-json', path, 'missing', 'the project as JSON');
    return;
  }
  // Invalid JSON is reported by checkProjectFolder() in output.ts.
  const json = parseObject(text, path, () => undefined);
  if (json) checkProjectJson(json, name, listing, path, report);
}

/** Checks that a project's JSON has the files of the simple index, with the same hashes. */
export function checkProjectJson(
  json: JsonObject,
  name: string,
  listing: Listing,
  path: string,
  report: FaultReporter,
): void {
  if (json['package'] !== name) report('project-json', `${path} package`, format(json['package']), name);
  const sha256ByFilename = new Map(
    objectsIn(json['versions'])
      .flatMap((version) => objectsIn(version['files']))
      .map((file) => [file['filename'], file['sha256']] as const),
  );
  for (const { filename, sha256 } of listing.files)
    if (sha256 !== null && sha256ByFilename.get(filename) !== sha256)
      report(
        'project-json',
        `${path} ${format(filename)}`,
        format(sha256ByFilename.get(filename)),
        format(sha256),
      );
  if (sha256ByFilename.size > listing.files.length)
    report(
      'project-json',
      `${path} files`,
      formatQuantity(sha256ByFilename.size, 'file'),
      formatQuantity(listing.files.length, 'file'),
    );
}

const objectsIn = (value: unknown): readonly JsonObject[] =>
  Array.isArray(value) ? value.filter(isObject) : [];
