import { existsSync, mkdirSync, readdirSync, rmSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as yieldToEventLoop } from 'node:timers/promises';
import type { SearchRow } from '../../model/project.js';
import { GZIP_SUFFIX, writeIfChanged } from '../../files/atomic.js';
import { withDiskErrors } from '../../files/disk.js';
import { Spill } from '../../files/spill.js';
import { browseFiles, packagesPage, type LetterGroup, type PackageSummary } from './packages.js';
import { packagesPath, searchPath } from '../layout.js';
import { TrigramIndex } from './search-grams.js';
import { bestEntries, letterFile, treeFiles, type SearchEntry } from './search-tree.js';

/** Descriptions are cut to fit on one line. */
const DESCRIPTION_CHARS = 90;
/** Files written before other work of this process gets a turn. */
const FILES_PER_YIELD = 50;
/** Up to this many packages are listed on one page. */
const MAX_UNGROUPED_PACKAGES = 500;

/**
 * Writes the search and the lists of packages: the files of the search, the lists by letter, and the packages page.
 * The packages come in pages sorted by name. Held in memory at a time are one such page, the packages that begin with
 * the same two characters, and a TrigramIndex. Unchanged files are left alone, and files that nothing links to any
 * longer are removed last, so that the search works at every moment. Throws PIW_DISK_FULL or PIW_NOT_WRITABLE.
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

/** Adds one line for each word of a name to the part for that word's first two characters. */
function spillRow(spill: Spill, [name, description, files, downloads]: SearchRow): void {
  const shortDescription = shortenDescription(description ?? '');
  const rounded = roundToTwoDigits(downloads);
  const row = JSON.stringify([name, rounded, files, shortDescription]);
  const seen = new Set<string>();
  for (let at = 0; at >= 0; at = !name.includes('-', at) ? -1 : name.indexOf('-', at) + 1) {
    const key = name.slice(at).replaceAll('-', '');
    if (key === '' || seen.has(key)) continue;
    seen.add(key);
    spill.add(key.slice(0, 2), `${key}\t${rounded}\t${row}`);
  }
}

function shortenDescription(description: string): string {
  const line = description.replace(/\s+/g, ' ').trim();
  if (line.length <= DESCRIPTION_CHARS) return line;
  const cut = line.slice(0, DESCRIPTION_CHARS - 1);
  // Don't keep half of a surrogate pair.
  return `${/[\ud800-\udbff]$/.test(cut) ? cut.slice(0, -1) : cut}…`;
}

/** Rounds to two significant digits: enough to show and to sort by, and fewer files change from day to day. */
function roundToTwoDigits(downloads: number): number {
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(Math.max(downloads, 1))) - 1);
  return Math.round(downloads / unit) * unit;
}

function parseEntry(line: string): SearchEntry {
  const first = line.indexOf('\t');
  const second = line.indexOf('\t', first + 1);
  const row = line.slice(second + 1);
  // The row begins with the name in quotes. Names are letters, digits and hyphens, so nothing in them is escaped.
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

/** Writes the parts in order, and the files for a first character as soon as a part with the next one comes. */
class SearchWriter {
  readonly #write: (path: string, content: string) => void;
  readonly #publicUrl: string | null;
  readonly #letters: LetterGroup[] = [];
  /** All packages, as long as there are few; then undefined. */
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
    const ungrouped = this.#ungrouped?.toSorted((a, b) => (a.name < b.name ? -1 : 1));
    this.#write(
      packagesPath,
      packagesPage({ packages, letters: this.#letters, popular, ungrouped }, this.#publicUrl),
    );
  }
}

function toSummary({ name, row }: SearchEntry): PackageSummary {
  const [, downloads, files, description] = JSON.parse(row) as readonly [string, number, number, string];
  return { name, downloads, files, description };
}

/** Removes all files in a folder and below it that were not written this time, and folders that are then empty. */
function removeUnwritten(outputPath: string, folder: string, writtenPaths: ReadonlySet<string>): void {
  const folderPath = join(outputPath, folder);
  if (!existsSync(folderPath)) return;
  withDiskErrors(folderPath, () => {
    for (const entry of readdirSync(folderPath, { withFileTypes: true })) {
      // Hidden files belong to another writer or are being written.
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
