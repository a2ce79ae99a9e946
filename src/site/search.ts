import { existsSync, mkdirSync, readdirSync, rmSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as yieldToEventLoop } from 'node:timers/promises';
import type { SearchRow } from '../protocols/oracle.js';
import { withDiskErrors, writeIfChanged } from './atomic.js';
import { browseFiles, packagesPage, type LetterGroup, type PackageSummary } from './packages.js';
import { GZIP_SUFFIX, packagesPath, searchPath } from './layout.js';
import { TrigramIndex } from './search-grams.js';
import { bestEntries, letterFile, treeFiles, type SearchEntry } from './search-tree.js';
import { Spill } from './spill.js';

/** Descriptions are shown in one line. */
const DESCRIPTION_CHARS = 90;
/** Other work of this process has its turn after so many files. */
const FILES_PER_YIELD = 50;
/** Of so few packages, the list of all packages is one page. */
export const MAX_UNGROUPED_PACKAGES = 500;

/**
 * Writes all that is searched and browsed: the files of the search, the lists by letters, and the page of all
 * packages. The packages come in pages sorted by name; what is in memory at a time is a page of them, those that begin
 * with the same two characters, and what search-grams.ts holds. Files that are as they should be are left alone, and those that nothing leads to
 * any more are removed last, so that a visitor finds what is there at every moment. Raises PIW_DISK_FULL,
 * PIW_NOT_WRITABLE.
 */
export async function writeSearch(
  outputPath: string,
  publicUrl: string | null,
  pages: AsyncIterable<readonly SearchRow[]>,
): Promise<void> {
  const folder = join(outputPath, searchPath);
  withDiskErrors(folder, () => mkdirSync(folder, { recursive: true }));
  const spill = new Spill(folder);
  const grams = new TrigramIndex();
  try {
    let packages = 0;
    for await (const page of pages) {
      packages += page.length;
      for (const row of page) {
        spillRow(spill, row);
        const [name, , files, downloads] = row;
        grams.add(name, roundToTwoDigits(downloads), files);
      }
    }
    const writtenPaths = new Set<string>();
    const write = (path: string, content: string): void => {
      writtenPaths.add(path);
      writeIfChanged(join(outputPath, path), content);
    };
    const writer = new SearchWriter(write, publicUrl);
    for (const part of spill.parts()) {
      const entries = spill.lines(part).map(parseEntry).sort(byKey);
      await writer.writePart(part, entries);
    }
    let written = 0;
    for (const { gram, content } of grams.files()) {
      write(`${searchPath}/grams/${gram.slice(0, 2)}/${gram}.json`, content);
      written += 1;
      if (written % FILES_PER_YIELD === 0) await yieldToEventLoop();
    }
    writer.finish(packages);
    removeUnwritten(outputPath, searchPath, writtenPaths);
  } finally {
    spill.remove();
  }
}

/** A line for each word of a name; by its first two characters. */
function spillRow(spill: Spill, [name, description, files, downloads]: SearchRow): void {
  const shortDescription = shortenDescription(description ?? '');
  const rounded = roundToTwoDigits(downloads);
  const row = JSON.stringify([name, rounded, files, shortDescription]);
  const seen = new Set<string>();
  for (let at = 0; at >= 0; at = !name.includes('-', at) ? -1 : name.indexOf('-', at) + 1) {
    const key = name.slice(at).replaceAll('-', '');
    if (key === '' || seen.has(key)) continue;
    seen.add(key);
    spill.add(key.slice(0, 2), `${key}\t${String(rounded)}\t${row}`);
  }
}

function shortenDescription(description: string): string {
  const line = description.replace(/\s+/g, ' ').trim();
  if (line.length <= DESCRIPTION_CHARS) return line;
  const cut = line.slice(0, DESCRIPTION_CHARS - 1);
  // Half a character outside of the first plane is none.
  return `${/[\ud800-\udbff]$/.test(cut) ? cut.slice(0, -1) : cut}…`;
}

/** Two digits are enough to show and to sort by, and so fewer files change from day to day. */
function roundToTwoDigits(downloads: number): number {
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(Math.max(downloads, 1))) - 1);
  return Math.round(downloads / unit) * unit;
}

function parseEntry(line: string): SearchEntry {
  const first = line.indexOf('\t');
  const second = line.indexOf('\t', first + 1);
  const row = line.slice(second + 1);
  // Names are letters, digits and hyphens: the row begins with one in quotes.
  const [key, name] = [line.slice(0, first), row.slice(2, row.indexOf('"', 2))];
  return {
    key,
    name,
    isWholeName: key.length === name.replaceAll('-', '').length,
    downloads: Number(line.slice(first + 1, second)),
    row,
  };
}

const byKey = (a: SearchEntry, b: SearchEntry): number => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0);

/** Writes the parts in their order, and what is about all that begin with one character when the next one comes. */
class SearchWriter {
  readonly #write: (path: string, content: string) => void;
  readonly #publicUrl: string | null;
  readonly #letters: LetterGroup[] = [];
  /** While there are few packages: all of them. */
  #ungrouped: PackageSummary[] | undefined = [];
  #popular: SearchEntry[] = [];
  #letter = '';
  #secondLetters = '';
  #best: SearchEntry[] = [];
  #groups: (readonly [prefix: string, packages: number])[] = [];

  constructor(write: (path: string, content: string) => void, publicUrl: string | null) {
    this.#write = write;
    this.#publicUrl = publicUrl;
  }

  async writePart(part: string, entries: readonly SearchEntry[]): Promise<void> {
    const first = part.charAt(0);
    if (first !== this.#letter) this.#finishLetter();
    this.#letter = first;
    if (part.length > 1) {
      this.#secondLetters += part.charAt(1);
      let written = 0;
      for (const { prefix, content } of treeFiles(part, entries)) {
        this.#write(`${searchPath}/${part}${prefix === part ? '' : `/${prefix}`}.json`, content);
        written += 1;
        if (written % FILES_PER_YIELD === 0) await yieldToEventLoop();
      }
    }
    this.#best = bestEntries([...this.#best, ...bestEntries(entries, first)], first);
    const names = entries.filter(({ isWholeName }) => isWholeName).map(toSummary);
    this.#groups.push([part, names.length]);
    if (this.#ungrouped)
      this.#ungrouped =
        this.#ungrouped.length + names.length > MAX_UNGROUPED_PACKAGES
          ? undefined
          : [...this.#ungrouped, ...names];
    for (const { path, content } of browseFiles(part, names, this.#publicUrl)) this.#write(path, content);
    await yieldToEventLoop();
  }

  #finishLetter(): void {
    if (this.#letter === '') return;
    const { prefix, content } = letterFile(this.#letter, this.#best, this.#secondLetters);
    this.#write(`${searchPath}/${prefix}.json`, content);
    const packages = this.#groups.reduce((sum, [, number]) => sum + number, 0);
    if (packages > 0) this.#letters.push({ letter: this.#letter, packages, groups: this.#groups });
    this.#popular = bestEntries([...this.#popular, ...this.#best]);
    [this.#secondLetters, this.#best, this.#groups] = ['', [], []];
  }

  finish(packages: number): void {
    this.#finishLetter();
    const popular = this.#popular.filter(({ downloads }) => downloads > 0).map(toSummary);
    const few = this.#ungrouped?.toSorted((a, b) => (a.name < b.name ? -1 : 1));
    this.#write(
      packagesPath,
      packagesPage({ packages, letters: this.#letters, popular, ungrouped: few }, this.#publicUrl),
    );
  }
}

function toSummary({ name, row }: SearchEntry): PackageSummary {
  const [, downloads, files, description] = JSON.parse(row) as readonly [string, number, number, string];
  return { name, downloads, files, description };
}

/** Removes the files in a folder and in the folders in it that were not written now, and folders that are empty. */
function removeUnwritten(outputPath: string, folder: string, writtenPaths: ReadonlySet<string>): void {
  const folderPath = join(outputPath, folder);
  if (!existsSync(folderPath)) return;
  withDiskErrors(folderPath, () => {
    for (const entry of readdirSync(folderPath, { withFileTypes: true })) {
      // A hidden one is another writer's, or on its way.
      if (entry.name.startsWith('.')) continue;
      const path = `${folder}/${entry.name}`;
      if (entry.isDirectory()) {
        removeUnwritten(outputPath, path, writtenPaths);
        if (readdirSync(join(outputPath, path)).length === 0) rmdirSync(join(outputPath, path));
      } else {
        const page = path.endsWith(GZIP_SUFFIX) ? path.slice(0, -GZIP_SUFFIX.length) : path;
        if (!writtenPaths.has(page)) rmSync(join(outputPath, path), { force: true });
      }
    }
  });
}
