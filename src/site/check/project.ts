import type { Dirent, Stats } from 'node:fs';
import { isPackageName, normalise } from '../../wheels/names.js';
import { GZIP_SUFFIX, SIBLINGS, projectPath, simplePath } from '../layout.js';
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

export interface ProjectCheckOptions {
  /** The root as it stands now. */
  readonly root: ListedRoot;
  /** The wheels are read. */
  readonly readContents: boolean;
}

/** One project of the index on the disk: its page in three forms, its files, and that people find it. */
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
  // Looked at after the pages: what they name was there before they were.
  const entries = readEntries(tree, folder);
  const presentPages = pages.filter((page) => entries.has(page.slice(folder.length + 1)));
  const listed = root.projects.has(name);
  const isNormalised = isPackageName(name) && normalise(name) === name;
  if (!isNormalised && entries.size > 0)
    report('folder-normalised', folder, name, isPackageName(name) ? normalise(name) : 'a name of a package');
  else if (presentPages.length === 0 && listed)
    report('root-dangling', folder, 'no page', 'a page, as the root says');
  else if (presentPages.length > 0 && !listed)
    report('root-unlisted', folder, 'the root does not name it', 'it does');
  for (const page of pages)
    if (presentPages.length > 0 && !presentPages.includes(page))
      report('sibling-missing', page, 'nothing', 'a page');
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
  // What was read before may be of another state than what was read after.
  if (tree.fingerprint(pages) !== initialFingerprint) throw new Changed();
}

interface ParsedForm {
  readonly path: string;
  readonly listing: Listing;
}

/** Holds the three forms against each other, and gives the one that the others were held against: JSON, if it can. */
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
    // The two forms of HTML are the same bytes, mostly.
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

/** Holds a page to what the root says of its project. */
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
    report('project-empty', simplePath(name), 'a page without files', 'no page, or one with files');
  if (versions && (serial === null) !== (root.serial === null))
    report('serial-number', path, serial === null ? 'none' : 'one', 'as the root has it');
  if (serial !== null && typeof rootSerial === 'number' && serial < rootSerial)
    report('serial-behind', path, String(serial), `${String(rootSerial)}, as the root says, or more`);
}

/** A file stands beside the page that lists it. */
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

/** What stands in the folder beside the pages and the files that they list. */
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
      if (!SIBLINGS.some((one) => one === page)) report('stray-file', path, 'a file', 'nothing');
      else if (!entries.has(page)) report('gzip-orphan', path, 'no page', page);
      continue;
    }
    if (tree.isRecent(stats)) continue;
    const isWheelFile = /\.whl(\.metadata)?$/.test(name) && stats.isFile();
    report(
      isWheelFile ? 'file-unlisted' : 'stray-file',
      path,
      isWheelFile ? 'no page lists it' : 'a file',
      'nothing',
    );
  }
}

/** The page for people and its JSON are there, and the JSON has the same files. */
function checkProjectPages(tree: OutputTree, name: string, listing: Listing, report: FaultReporter): void {
  const folder = projectPath(name);
  const page = `${folder}/index.html`;
  if (!tree.isFile(page)) report('project-page', page, 'nothing', 'a page');
  const path = `${folder}/json/index.json`;
  const text = tree.readText(path, report);
  if (text === undefined) {
    report('project-json', path, 'nothing', 'the project as JSON');
    return;
  }
  // That it is JSON is held where the page is looked at.
  const json = parseObject(text, path, () => undefined);
  if (json) checkProjectJson(json, name, listing, path, report);
}

/** The JSON for people has the files of the simple index, with their hashes. */
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
      `${String(sha256ByFilename.size)} files`,
      `${String(listing.files.length)} files`,
    );
}

const objectsIn = (value: unknown): readonly JsonObject[] =>
  Array.isArray(value) ? value.filter(isObject) : [];
