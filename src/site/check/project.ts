import type { Dirent, Stats } from 'node:fs';
import { isPackageName, normalise } from '../../wheels/names.js';
import { PACKED, SIBLINGS, projectPath, simplePath } from '../layout.js';
import { quote, type Tell } from './faults.js';
import { holdFile } from './files.js';
import { listingOfHtml } from './listing-html.js';
import { isObject, listingOfJson, objectOf, type Json } from './listing-json.js';
import { holdAlike, holdListing, type Listing } from './listing.js';
import { SITE, decoded } from './people.js';
import type { Place } from './place.js';
import { holdPypiPage } from './pypi.js';
import type { Root } from './root.js';
import { Moved } from './rounds.js';

export interface ProjectOptions {
  /** The root as it stands now. */
  readonly root: Root;
  /** The wheels are read. */
  readonly whole: boolean;
}

/** One project of the index on the disk: its page in three forms, its files, and that people find it. */
export async function lookAtProject(
  place: Place,
  name: string,
  { root, whole }: ProjectOptions,
  tell: Tell,
): Promise<void> {
  const folder = simplePath(name);
  const pages = SIBLINGS.map((sibling) => `${folder}/${sibling}`);
  const before = place.mark(pages);
  const first = await holdSiblings(place, name, pages, tell);
  const listing = first?.listing;
  // Looked at after the pages: what they name was there before they were.
  const entries = entriesOf(place, folder);
  const there = pages.filter((page) => entries.has(page.slice(folder.length + 1)));
  const listed = root.projects.has(name);
  const right = isPackageName(name) && normalise(name) === name;
  if (!right && entries.size > 0)
    tell('folder-normalised', folder, name, isPackageName(name) ? normalise(name) : 'a name of a package');
  else if (there.length === 0 && listed) tell('root-dangling', folder, 'no page', 'a page, as the root says');
  else if (there.length > 0 && !listed) tell('root-unlisted', folder, 'the root does not name it', 'it does');
  for (const page of pages)
    if (there.length > 0 && !there.includes(page)) tell('sibling-missing', page, 'nothing', 'a page');
  if (first && listing) {
    const { path } = first;
    holdListing(listing, name, path, tell);
    holdToRoot(listing, name, root, path, tell);
    for (const file of listing.files) {
      holdUrl(file.url, file.filename, folder, path, tell);
      await holdFile(
        place,
        `${folder}/${file.filename}`,
        file,
        entries.get(file.filename)?.stats,
        whole,
        tell,
      );
    }
  }
  if (listing) holdPypiPage(place, name, listing, tell);
  holdRest(place, folder, listing, entries, tell);
  if (listing && listing.files.length > 0) holdPeople(place, name, listing, tell);
  // What was read before may be of another state than what was read after.
  if (place.mark(pages) !== before) throw new Moved();
}

interface Form {
  readonly path: string;
  readonly listing: Listing;
}

/** Holds the three forms against each other, and gives the one that the others were held against: JSON, if it can. */
async function holdSiblings(
  place: Place,
  name: string,
  pages: readonly string[],
  tell: Tell,
): Promise<Form | undefined> {
  let first: Form | undefined;
  const seen = new Set<string>();
  for (const path of pages.toReversed()) {
    await place.holdPacked(path, tell);
    const text = place.text(path, tell);
    // The two forms of HTML are the same bytes, mostly.
    if (text === undefined || seen.has(text)) continue;
    seen.add(text);
    const listing = path.endsWith('json')
      ? listingOfJson(text, name, path, tell)
      : listingOfHtml(text, path, tell);
    if (first && listing) holdAlike(first.listing, listing, path, first.path, tell);
    if (!first && listing) first = { path, listing };
  }
  return first;
}

/** Holds a page to what the root says of its project. */
export function holdToRoot(listing: Listing, name: string, root: Root, path: string, tell: Tell): void {
  const { files, status, versions, serial } = listing;
  const its = root.projects.get(name);
  if (its !== undefined && files.length === 0 && status !== 'quarantined')
    tell('project-empty', simplePath(name), 'a page without files', 'no page, or one with files');
  if (versions && (serial === null) !== (root.serial === null))
    tell('serial-number', path, serial === null ? 'none' : 'one', 'as the root has it');
  if (serial !== null && typeof its === 'number' && serial < its)
    tell('serial-behind', path, String(serial), `${String(its)}, as the root says, or more`);
}

/** A file stands beside the page that lists it. */
export function holdUrl(url: string, filename: string, folder: string, path: string, tell: Tell): void {
  const base = `${SITE}${folder}/`;
  const target = URL.canParse(url, base) ? new URL(url, base) : undefined;
  const right = target?.host === new URL(SITE).host && decoded(target.pathname) === `/${folder}/${filename}`;
  if (!right) tell('file-url', `${path} ${quote(filename)}`, url, filename);
}

type Entries = ReadonlyMap<string, { readonly entry: Dirent; readonly stats: Stats }>;

function entriesOf(place: Place, folder: string): Entries {
  const all = place.list(folder).map((entry) => ({ entry, stats: place.stat(`${folder}/${entry.name}`) }));
  return new Map(all.flatMap(({ entry, stats }) => (stats ? [[entry.name, { entry, stats }]] : [])));
}

/** What stands in the folder beside the pages and the files that they list. */
function holdRest(
  place: Place,
  folder: string,
  listing: Listing | undefined,
  entries: Entries,
  tell: Tell,
): void {
  const named = new Set(listing?.files.flatMap(({ filename }) => [filename, `${filename}.metadata`]));
  for (const [name, { entry, stats }] of entries) {
    const path = `${folder}/${name}`;
    if (place.holdEntry(folder, entry, tell, stats)) continue;
    if (SIBLINGS.some((page) => page === name) || named.has(name)) continue;
    if (name.endsWith(PACKED)) {
      const page = name.slice(0, -PACKED.length);
      if (!SIBLINGS.some((one) => one === page)) tell('stray-file', path, 'a file', 'nothing');
      else if (!entries.has(page)) tell('gzip-orphan', path, 'no page', page);
      continue;
    }
    if (place.isYoung(stats)) continue;
    const ours = /\.whl(\.metadata)?$/.test(name) && stats.isFile();
    tell(ours ? 'file-unlisted' : 'stray-file', path, ours ? 'no page lists it' : 'a file', 'nothing');
  }
}

/** The page for people and its JSON are there, and the JSON has the same files. */
function holdPeople(place: Place, name: string, listing: Listing, tell: Tell): void {
  const folder = projectPath(name);
  const page = `${folder}/index.html`;
  if (!place.isFile(page)) tell('project-page', page, 'nothing', 'a page');
  const path = `${folder}/json/index.json`;
  const text = place.text(path, tell);
  if (text === undefined) {
    tell('project-json', path, 'nothing', 'the project as JSON');
    return;
  }
  // That it is JSON is held where the page is looked at.
  const json = objectOf(text, path, () => undefined);
  if (json) holdProjectJson(json, name, listing, path, tell);
}

/** The JSON for people has the files of the simple index, with their hashes. */
export function holdProjectJson(json: Json, name: string, listing: Listing, path: string, tell: Tell): void {
  if (json['package'] !== name) tell('project-json', `${path} package`, quote(json['package']), name);
  const known = new Map(
    listOf(json['versions'])
      .flatMap((version) => listOf(version['files']))
      .map((file) => [file['filename'], file['sha256']] as const),
  );
  for (const { filename, sha256 } of listing.files)
    if (sha256 !== null && known.get(filename) !== sha256)
      tell('project-json', `${path} ${quote(filename)}`, quote(known.get(filename)), quote(sha256));
  if (known.size > listing.files.length)
    tell(
      'project-json',
      `${path} files`,
      `${String(known.size)} files`,
      `${String(listing.files.length)} files`,
    );
}

const listOf = (value: unknown): readonly Json[] => (Array.isArray(value) ? value.filter(isObject) : []);
