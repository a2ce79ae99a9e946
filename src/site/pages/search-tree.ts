/**
 * The data of the search is a tree of small files, one for each word prefix that enough names share. A name has one key
 * for each of its words: the rest of the name from the start of that word, without hyphens. So `restframework` finds
 * django-rest-framework. A file is JSON:
 *
 *     {"p":"restf","c":"ir","t":[ROW…],"r":[ROW…],"d":"sub subs"}
 *
 *   p  the common prefix of all keys in this file and below; it may be longer than the file's own name
 *   c  the characters that follow `p` in a child file, which is named `p` plus that character
 *   t  only with `c`: the best of all entries in this file and below, i.e. the first page of results
 *   r  all other entries that begin with `p`, best first; of those whose key is exactly `p`, only the best
 *   d  only in a file for two characters: the names of all files below, without these two characters, so that a
 *      browser can load the right one in one step
 *
 * Each file works whatever state the others are in: children are written before their parents and removed after them.
 * ROW is [name, downloads in the last 30 days, files, description].
 */
export interface SearchEntry {
  /** The name from the start of one of its words to its end, without hyphens. */
  readonly key: string;
  readonly name: string;
  /** Whether the key begins at the first word of the name. */
  readonly isWholeName: boolean;
  readonly downloads: number;
  /** The row as JSON. */
  readonly row: string;
}

interface TreeFile {
  /** The file's name: the beginning of a word. */
  readonly prefix: string;
  readonly content: string;
}

/** The number of results that a search shows. */
const MAX_RESULTS = 20;
/** Limits the rows of a file without children. */
const MAX_LEAF_BYTES = 20_000;
/** Limits the rows in `r` of a file with children. */
const MAX_REST_BYTES = 6000;

/** Orders entries by downloads, most first; then whole names before parts of names; then by length, shortest first. */
function compareEntries(a: SearchEntry, b: SearchEntry): number {
  if (a.downloads !== b.downloads) return b.downloads - a.downloads;
  if (a.isWholeName !== b.isWholeName) return a.isWholeName ? -1 : 1;
  return a.key.length - b.key.length || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
}

/** Returns the best MAX_RESULTS entries, each name once, and always those whose whole name is `exactKey`. */
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
      const dropIndex = results.findLastIndex(({ isWholeName, key }) => !(isWholeName && key === exactKey));
      results.splice(dropIndex, 1);
    }
  }
  return results;
}

/**
 * Returns the files for entries whose keys all begin with `prefix`, in the order in which they have to be written.
 * `entries` are sorted by key. The file for a prefix of two characters lists the files below it.
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
  // Keys that equal the common prefix have no next character by which to split them. There may be many: `sdk` is the
  // last word of thousands of names. Only the best of them are kept.
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

/** Returns the common prefix of all keys. As they are sorted, comparing the first and the last is enough. */
function commonPrefix(prefix: string, entries: readonly SearchEntry[]): string {
  const [first, last] = [entries[0]?.key ?? prefix, entries.at(-1)?.key ?? prefix];
  let length = prefix.length;
  while (length < first.length && first.charCodeAt(length) === last.charCodeAt(length)) length += 1;
  return first.slice(0, length);
}

const totalBytes = (entries: readonly SearchEntry[]): number =>
  entries.reduce((sum, { row }) => sum + row.length + 1, 0);

/** Returns the rows as JSON, each name once: `test-test` has two words that begin with `test`. */
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

/** Returns the file for one character: the best entries that begin with it, and which second characters occur. */
export const letterFile = (prefix: string, entries: readonly SearchEntry[], seconds: string): TreeFile => ({
  prefix,
  content: `{"p":"${prefix}","c":"${seconds}","t":${rowsJson(entries)},"r":${rowsJson(entries.filter(({ key }) => key.length === 1))}}`,
});
