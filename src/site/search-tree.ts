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
export interface SearchEntry {
  /** From the beginning of one of the words of its name to its end, without hyphens. */
  readonly key: string;
  readonly name: string;
  /** The key is of the whole name, and not of a later word of it. */
  readonly isWholeName: boolean;
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
export const MAX_RESULTS = 20;
/** A file holds so many bytes of rows if nothing branches off it, and so many if something does. */
const MAX_LEAF_BYTES = 20_000;
const MAX_REST_BYTES = 6000;

/** The most downloaded first; of those alike names that begin with what is looked for, then the shortest. */
function compareEntries(a: SearchEntry, b: SearchEntry): number {
  if (a.downloads !== b.downloads) return b.downloads - a.downloads;
  if (a.isWholeName !== b.isWholeName) return a.isWholeName ? -1 : 1;
  return a.key.length - b.key.length || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
}

/** The best `RESULTS` of some, each name once; and those that are exactly what is looked for. */
export function bestEntries(entries: Iterable<SearchEntry>, exactKey?: string): SearchEntry[] {
  const results: SearchEntry[] = [];
  for (const entry of entries) {
    const last = results[MAX_RESULTS - 1];
    const exact = entry.isWholeName && entry.key === exactKey;
    if (!exact && last && compareEntries(entry, last) >= 0) continue;
    if (results.some(({ name }) => name === entry.name)) continue;
    results.push(entry);
    results.sort(compareEntries);
    if (results.length > MAX_RESULTS) {
      const dropIndex = results.findLastIndex((one) => !(one.isWholeName && one.key === exactKey));
      results.splice(dropIndex, 1);
    }
  }
  return results;
}

/**
 * The files for entries that all begin with `prefix`, in the order in which they are to be written. Entries come
 * sorted by key; a file for two characters gets the list of those below it.
 */
export function treeFiles(prefix: string, entries: readonly SearchEntry[]): TreeFile[] {
  const files: TreeFile[] = [];
  addBranch(prefix, entries, files);
  return files;
}

function addBranch(prefix: string, entries: readonly SearchEntry[], files: TreeFile[]): void {
  const shared = commonPrefix(prefix, entries);
  const head = `{"p":"${shared}"`;
  const top = prefix.length <= 2;
  const finish = (body: string): void => {
    const below = top ? files.map((file) => file.prefix.slice(prefix.length)).join(' ') : '';
    files.push({ prefix, content: `${head},${body}${below === '' ? '' : `,"d":"${below}"`}}` });
  };
  if (totalBytes(entries) <= MAX_LEAF_BYTES) {
    finish(`"r":${rowsJson([...entries].sort(compareEntries))}`);
    return;
  }
  // Those that go no further can't be told apart by more characters: of `sdk`, the last word of thousands, the best stay.
  const endingHere: SearchEntry[] = [];
  const byNextCharacter = new Map<string, SearchEntry[]>();
  for (const entry of entries) {
    const next = entry.key.charAt(shared.length);
    const group = next === '' ? endingHere : byNextCharacter.get(next);
    if (group) group.push(entry);
    else byNextCharacter.set(next, [entry]);
  }
  const kept = bestEntries(endingHere, shared);
  let size = totalBytes(kept);
  const [rest, split]: [SearchEntry[], (readonly [string, SearchEntry[]])[]] = [kept, []];
  for (const [next, group] of [...byNextCharacter].sort(([, a], [, b]) => a.length - b.length)) {
    const more = totalBytes(group);
    if (size + more <= MAX_REST_BYTES) {
      size += more;
      rest.push(...group);
    } else split.push([next, group]);
  }
  split.sort(([a], [b]) => (a < b ? -1 : 1));
  for (const [next, group] of split) addBranch(shared + next, group, files);
  const branches = split.map(([next]) => next).join('');
  finish(
    `"c":"${branches}","t":${rowsJson(bestEntries(entries, shared))},"r":${rowsJson(rest.sort(compareEntries))}`,
  );
}

/** What all of them begin with: as they are sorted, the first and the last tell. */
function commonPrefix(prefix: string, entries: readonly SearchEntry[]): string {
  const [first, last] = [entries[0]?.key ?? prefix, entries.at(-1)?.key ?? prefix];
  let length = prefix.length;
  while (length < first.length && first.charCodeAt(length) === last.charCodeAt(length)) length += 1;
  return first.slice(0, length);
}

const totalBytes = (entries: readonly SearchEntry[]): number =>
  entries.reduce((sum, { row }) => sum + row.length + 1, 0);

/** Each name once: `test-test` begins with `test` twice. */
function rowsJson(entries: readonly SearchEntry[]): string {
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
export const letterFile = (prefix: string, entries: readonly SearchEntry[], seconds: string): TreeFile => ({
  prefix,
  content: `{"p":"${prefix}","c":"${seconds}","t":${rowsJson(entries)},"r":${rowsJson(entries.filter(({ key }) => key.length === 1))}}`,
});
