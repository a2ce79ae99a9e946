import { existsSync, mkdirSync, readdirSync, rmSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as others } from 'node:timers/promises';
import type { SearchRow } from '../protocols/oracle.js';
import { guarded, writeAtomic } from './atomic.js';
import { browseFiles, packagesPage, type Letter, type Listed } from './packages.js';
import { PACKED, packagesPath, searchPath } from './layout.js';
import { Grams } from './search-grams.js';
import { best, firstFile, treeFiles, type Entry } from './search-tree.js';
import { Spill } from './spill.js';

/** Descriptions are shown in one line. */
const DESCRIPTION_CHARS = 90;
/** Other work of this process has its turn after so many files. */
const AT_ONCE = 50;
/** Of so few packages, the list of all packages is one page. */
export const FEW = 500;

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
  guarded(folder, () => mkdirSync(folder, { recursive: true }));
  const spill = new Spill(folder);
  const grams = new Grams();
  try {
    let packages = 0;
    for await (const page of pages) {
      packages += page.length;
      for (const row of page) {
        putAside(spill, row);
        const [name, , files, downloads] = row;
        grams.add(name, round(downloads), files);
      }
    }
    const needed = new Set<string>();
    const write = (path: string, content: string): void => {
      needed.add(path);
      writeAtomic(join(outputPath, path), content);
    };
    const writer = new Writer(write, publicUrl);
    for (const part of spill.parts()) {
      const entries = spill.lines(part).map(readEntry).sort(byKey);
      await writer.part(part, entries);
    }
    let written = 0;
    for (const { gram, content } of grams.files()) {
      write(`${searchPath}/grams/${gram.slice(0, 2)}/${gram}.json`, content);
      written += 1;
      if (written % AT_ONCE === 0) await others();
    }
    writer.finish(packages);
    removeOthers(outputPath, searchPath, needed);
  } finally {
    spill.remove();
  }
}

/** A line for each word of a name; by its first two characters. */
function putAside(spill: Spill, [name, description, files, downloads]: SearchRow): void {
  const about = shorten(description ?? '');
  const rounded = round(downloads);
  const row = JSON.stringify([name, rounded, files, about]);
  const seen = new Set<string>();
  for (let at = 0; at >= 0; at = !name.includes('-', at) ? -1 : name.indexOf('-', at) + 1) {
    const key = name.slice(at).replaceAll('-', '');
    if (key === '' || seen.has(key)) continue;
    seen.add(key);
    spill.add(key.slice(0, 2), `${key}\t${String(rounded)}\t${row}`);
  }
}

function shorten(description: string): string {
  const line = description.replace(/\s+/g, ' ').trim();
  if (line.length <= DESCRIPTION_CHARS) return line;
  const cut = line.slice(0, DESCRIPTION_CHARS - 1);
  // Half a character outside of the first plane is none.
  return `${/[\ud800-\udbff]$/.test(cut) ? cut.slice(0, -1) : cut}…`;
}

/** Two digits are enough to show and to sort by, and so fewer files change from day to day. */
function round(downloads: number): number {
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(Math.max(downloads, 1))) - 1);
  return Math.round(downloads / unit) * unit;
}

function readEntry(line: string): Entry {
  const first = line.indexOf('\t');
  const second = line.indexOf('\t', first + 1);
  const row = line.slice(second + 1);
  // Names are letters, digits and hyphens: the row begins with one in quotes.
  const [key, name] = [line.slice(0, first), row.slice(2, row.indexOf('"', 2))];
  return {
    key,
    name,
    whole: key.length === name.replaceAll('-', '').length,
    downloads: Number(line.slice(first + 1, second)),
    row,
  };
}

const byKey = (a: Entry, b: Entry): number => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0);

/** Writes the parts in their order, and what is about all that begin with one character when the next one comes. */
class Writer {
  readonly #write: (path: string, content: string) => void;
  readonly #publicUrl: string | null;
  readonly #letters: Letter[] = [];
  /** While there are few packages: all of them. */
  #few: Listed[] | undefined = [];
  #popular: Entry[] = [];
  #first = '';
  #seconds = '';
  #best: Entry[] = [];
  #groups: (readonly [prefix: string, packages: number])[] = [];

  constructor(write: (path: string, content: string) => void, publicUrl: string | null) {
    this.#write = write;
    this.#publicUrl = publicUrl;
  }

  async part(part: string, entries: readonly Entry[]): Promise<void> {
    const first = part.charAt(0);
    if (first !== this.#first) this.#finishLetter();
    this.#first = first;
    if (part.length > 1) {
      this.#seconds += part.charAt(1);
      let written = 0;
      for (const { prefix, content } of treeFiles(part, entries)) {
        this.#write(`${searchPath}/${part}${prefix === part ? '' : `/${prefix}`}.json`, content);
        written += 1;
        if (written % AT_ONCE === 0) await others();
      }
    }
    this.#best = best([...this.#best, ...best(entries, first)], first);
    const names = entries.filter(({ whole }) => whole).map(listed);
    this.#groups.push([part, names.length]);
    if (this.#few) this.#few = this.#few.length + names.length > FEW ? undefined : [...this.#few, ...names];
    for (const { path, content } of browseFiles(part, names, this.#publicUrl)) this.#write(path, content);
    await others();
  }

  #finishLetter(): void {
    if (this.#first === '') return;
    const { prefix, content } = firstFile(this.#first, this.#best, this.#seconds);
    this.#write(`${searchPath}/${prefix}.json`, content);
    const packages = this.#groups.reduce((sum, [, number]) => sum + number, 0);
    if (packages > 0) this.#letters.push({ letter: this.#first, packages, groups: this.#groups });
    this.#popular = best([...this.#popular, ...this.#best]);
    [this.#seconds, this.#best, this.#groups] = ['', [], []];
  }

  finish(packages: number): void {
    this.#finishLetter();
    const popular = this.#popular.filter(({ downloads }) => downloads > 0).map(listed);
    const few = this.#few?.toSorted((a, b) => (a.name < b.name ? -1 : 1));
    this.#write(
      packagesPath,
      packagesPage({ packages, letters: this.#letters, popular, few }, this.#publicUrl),
    );
  }
}

function listed({ name, row }: Entry): Listed {
  const [, downloads, files, description] = JSON.parse(row) as readonly [string, number, number, string];
  return { name, downloads, files, description };
}

/** Removes the files in a folder and in the folders in it that were not written now, and folders that are empty. */
function removeOthers(outputPath: string, folder: string, needed: ReadonlySet<string>): void {
  const its = join(outputPath, folder);
  if (!existsSync(its)) return;
  guarded(its, () => {
    for (const entry of readdirSync(its, { withFileTypes: true })) {
      // A hidden one is another writer's, or on its way.
      if (entry.name.startsWith('.')) continue;
      const path = `${folder}/${entry.name}`;
      if (entry.isDirectory()) {
        removeOthers(outputPath, path, needed);
        if (readdirSync(join(outputPath, path)).length === 0) rmdirSync(join(outputPath, path));
      } else {
        const page = path.endsWith(PACKED) ? path.slice(0, -PACKED.length) : path;
        if (!needed.has(page)) rmSync(join(outputPath, path), { force: true });
      }
    }
  });
}
