/**
 * The search's second index, for what the tree (search-tree.ts) does not find: the middle of a word, and names that
 * are spelled a little differently. For each three characters that follow each other in a name, hyphens left out,
 * there is one small file of the names that have them, the most downloaded first:
 *
 *     {"all":true,"r":["NAME DOWNLOADS FILES",…]}
 *
 *   r    at most `NAMES` names
 *   all  true if these are all; else less downloaded ones are left out
 *
 * What contains a text contains all of its trigrams, so one file whose list is whole answers. A name that is spelled
 * with one mistake still shares most of its trigrams, and is looked for in the files of several.
 */

/** So many names at most are in a file: with 25 characters each, 5 KB. A search reads up to five of them. */
const NAMES = 200;
const LETTERS = 'abcdefghijklmnopqrstuvwxyz0123456789';
const GRAMS = LETTERS.length ** 3;

export interface GramFile {
  readonly gram: string;
  readonly content: string;
}

/** The place of each character in LETTERS, by its code. */
const PLACES = new Uint8Array(128);
for (let i = 0; i < LETTERS.length; i += 1) PLACES[LETTERS.charCodeAt(i)] = i;

/**
 * Collects names and then yields the files. Memory: the rows as bytes (14 MB for 700,000), and four bytes for each name
 * in each list (25 MB).
 */
export class Grams {
  #text = Buffer.alloc(1 << 20);
  #length = 0;
  readonly #ends: number[] = [];
  readonly #downloads: number[] = [];

  add(name: string, downloads: number, files: number): void {
    const row = `${name} ${String(downloads)} ${String(files)}`;
    if (this.#length + row.length > this.#text.length)
      this.#text = Buffer.concat([this.#text, Buffer.alloc(this.#text.length)]);
    this.#length += this.#text.write(row, this.#length, 'latin1');
    this.#ends.push(this.#length);
    this.#downloads.push(downloads);
  }

  *files(): Generator<GramFile> {
    const { lists, counts } = this.#lists();
    let begin = 0;
    for (let gram = 0; gram < GRAMS; gram += 1) {
      const count = counts[gram] ?? 0;
      if (count === 0) continue;
      const kept = Math.min(count, NAMES);
      let rows = '';
      for (let at = begin; at < begin + kept; at += 1)
        rows += `${at === begin ? '' : ','}"${this.#row(lists[at] ?? 0)}"`;
      begin += kept;
      yield { gram: gramOf(gram), content: `{"all":${String(kept === count)},"r":[${rows}]}` };
    }
  }

  /** Returns the names of each trigram, one list after the other, the best first; and how many names have each. */
  #lists(): { readonly lists: Uint32Array; readonly counts: Uint32Array } {
    const counts = new Uint32Array(GRAMS);
    const order = Uint32Array.from(this.#ends.keys());
    for (const index of order)
      for (const gram of this.#gramsOf(index)) counts[gram] = (counts[gram] ?? 0) + 1;
    const next = new Uint32Array(GRAMS);
    const ends = new Uint32Array(GRAMS);
    let length = 0;
    for (let gram = 0; gram < GRAMS; gram += 1) {
      next[gram] = length;
      length += Math.min(counts[gram] ?? 0, NAMES);
      ends[gram] = length;
    }
    order.sort((a, b) => (this.#downloads[b] ?? 0) - (this.#downloads[a] ?? 0) || a - b);
    const lists = new Uint32Array(length);
    for (const index of order)
      for (const gram of this.#gramsOf(index)) {
        const place = next[gram] ?? 0;
        if (place === ends[gram]) continue;
        lists[place] = index;
        next[gram] = place + 1;
      }
    return { lists, counts };
  }

  #row(index: number): string {
    return this.#text.toString('latin1', index === 0 ? 0 : this.#ends[index - 1], this.#ends[index]);
  }

  /** Returns the trigrams of a name, each once. */
  #gramsOf(index: number): Set<number> {
    const grams = new Set<number>();
    let [first, second, seen] = [0, 0, 0];
    for (let at = index === 0 ? 0 : (this.#ends[index - 1] ?? 0); this.#text[at] !== SPACE; at += 1) {
      const code = this.#text[at] ?? 0;
      if (code === HYPHEN) continue;
      const place = PLACES[code] ?? 0;
      seen += 1;
      if (seen > 2) grams.add((first * LETTERS.length + second) * LETTERS.length + place);
      [first, second] = [second, place];
    }
    return grams;
  }
}

const SPACE = 32;
const HYPHEN = 45;

const gramOf = (gram: number): string =>
  LETTERS.charAt(Math.floor(gram / LETTERS.length ** 2)) +
  LETTERS.charAt(Math.floor(gram / LETTERS.length) % LETTERS.length) +
  LETTERS.charAt(gram % LETTERS.length);
