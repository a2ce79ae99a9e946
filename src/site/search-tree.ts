/**
 * The search's data as a tree of small files, one for each beginning of a word that enough names have. What is
 * looked for is a name or its words, without what stands between them: `restframework` finds
 * django-rest-framework. A file is JSON:
 *
 *     {"p":"restf","c":"ir","t":[ROW…],"r":[ROW…],"d":"sub subs"}
 *
 *   p  what all that it leads to begins with; it may be longer than the file's own name
 *   c  the characters behind `p` for which there is a file of its own, called `p` and that character
 *   t  where there are any such: the best of all that it leads to, the first page of results
 *   r  whatever else begins with `p`, best first; of those that go no further only the best are kept
 *   d  in a file for two characters: the names of all files below it, without these two; a short cut
 *
 * Each file is of use alone, whatever state the others are in: files are written before those that lead to them,
 * and removed after. ROW is [name, downloads of 30 days, files, description].
 */
export interface Entry {
  /** From the beginning of one of the words of its name to its end, without hyphens. */
  readonly key: string;
  readonly name: string;
  /** The key is of the whole name, and not of a later word of it. */
  readonly whole: boolean;
  readonly downloads: number;
  /** Its row as JSON. */
  readonly row: string;
}

export interface TreeFile {
  /** What the file is called; the beginning of a word. */
  readonly prefix: string;
  readonly content: string;
}

/** So many results are shown for a search. */
export const RESULTS = 20;
/** A file holds so many bytes of rows if nothing branches off it, and so many if something does. */
const LEAF_BYTES = 20_000;
const REST_BYTES = 6000;

/** The most downloaded first; of those alike names that begin with what is looked for, then the shortest. */
function better(a: Entry, b: Entry): number {
  if (a.downloads !== b.downloads) return b.downloads - a.downloads;
  if (a.whole !== b.whole) return a.whole ? -1 : 1;
  return a.key.length - b.key.length || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
}

/** The best `RESULTS` of some, each name once; and those that are exactly what is looked for. */
export function best(entries: Iterable<Entry>, exactly?: string): Entry[] {
  const found: Entry[] = [];
  for (const entry of entries) {
    const last = found[RESULTS - 1];
    const exact = entry.whole && entry.key === exactly;
    if (!exact && last && better(entry, last) >= 0) continue;
    if (found.some(({ name }) => name === entry.name)) continue;
    found.push(entry);
    found.sort(better);
    if (found.length > RESULTS) {
      const out = found.findLastIndex((one) => !(one.whole && one.key === exactly));
      found.splice(out, 1);
    }
  }
  return found;
}

/**
 * The files for entries that all begin with `prefix`, in the order in which they are to be written. Entries come
 * sorted by key; a file for two characters gets the list of those below it.
 */
export function treeFiles(prefix: string, entries: readonly Entry[]): TreeFile[] {
  const files: TreeFile[] = [];
  branch(prefix, entries, files);
  return files;
}

function branch(prefix: string, entries: readonly Entry[], files: TreeFile[]): void {
  const shared = sharedStart(prefix, entries);
  const head = `{"p":"${shared}"`;
  const top = prefix.length <= 2;
  const finish = (body: string): void => {
    const below = top ? files.map((file) => file.prefix.slice(prefix.length)).join(' ') : '';
    files.push({ prefix, content: `${head},${body}${below === '' ? '' : `,"d":"${below}"`}}` });
  };
  if (sizeOf(entries) <= LEAF_BYTES) {
    finish(`"r":${rows([...entries].sort(better))}`);
    return;
  }
  // Those that go no further can't be told apart by more characters: of `sdk`, the last word of thousands, the best stay.
  const ending: Entry[] = [];
  const going = new Map<string, Entry[]>();
  for (const entry of entries) {
    const next = entry.key.charAt(shared.length);
    const alike = next === '' ? ending : going.get(next);
    if (alike) alike.push(entry);
    else going.set(next, [entry]);
  }
  const kept = best(ending, shared);
  let size = sizeOf(kept);
  const [rest, split]: [Entry[], (readonly [string, Entry[]])[]] = [kept, []];
  for (const [next, alike] of [...going].sort(([, a], [, b]) => a.length - b.length)) {
    const more = sizeOf(alike);
    if (size + more <= REST_BYTES) {
      size += more;
      rest.push(...alike);
    } else split.push([next, alike]);
  }
  split.sort(([a], [b]) => (a < b ? -1 : 1));
  for (const [next, alike] of split) branch(shared + next, alike, files);
  const branches = split.map(([next]) => next).join('');
  finish(`"c":"${branches}","t":${rows(best(entries, shared))},"r":${rows(rest.sort(better))}`);
}

/** What all of them begin with: as they are sorted, the first and the last tell. */
function sharedStart(prefix: string, entries: readonly Entry[]): string {
  const [first, last] = [entries[0]?.key ?? prefix, entries.at(-1)?.key ?? prefix];
  let length = prefix.length;
  while (length < first.length && first.charCodeAt(length) === last.charCodeAt(length)) length += 1;
  return first.slice(0, length);
}

const sizeOf = (entries: readonly Entry[]): number =>
  entries.reduce((sum, { row }) => sum + row.length + 1, 0);

/** Each name once: `test-test` begins with `test` twice. */
function rows(entries: readonly Entry[]): string {
  const seen = new Set<string>();
  let out = '';
  for (const { name, row } of entries) {
    if (seen.has(name)) continue;
    seen.add(name);
    out += out === '' ? row : `,\n${row}`;
  }
  return `[${out}]`;
}

/** The file of one character: the best of what begins with it, and which second characters there are. */
export const firstFile = (prefix: string, entries: readonly Entry[], seconds: string): TreeFile => ({
  prefix,
  content: `{"p":"${prefix}","c":"${seconds}","t":${rows(entries)},"r":${rows(entries.filter(({ key }) => key.length === 1))}}`,
});
