/**
 * The second index of the search, for what the tree (search-tree.ts) cannot find: text in the middle of a word, and
 * misspelled names. Each trigram, three consecutive characters of a name without its hyphens, has one small file with
 * the names that contain it, the most downloaded first:
 *
 *     {"all":true,"r":["NAME DOWNLOADS FILES",…]}
 *
 *   r    at most MAX_NAMES_PER_FILE names
 *   all  true if `r` is complete; otherwise less downloaded names are left out
 *
 * A name that contains a text contains all trigrams of that text, so a single file answers the query if its list is
 * complete. A name with one mistake still shares most of its trigrams with the right spelling, so the search reads the
 * files of several trigrams to find it.
 */

/** Limits a file to about 5 KB, at 25 characters a name. A search reads up to five files. */
const MAX_NAMES_PER_FILE = 200;
const ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789';
const TRIGRAM_COUNT = ALPHABET.length ** 3;

interface TrigramFile {
  readonly gram: string;
  readonly content: string;
}

/** The index of each character in ALPHABET, by its character code. */
const LETTER_INDEX = new Uint8Array(128);
for (let i = 0; i < ALPHABET.length; i += 1) LETTER_INDEX[ALPHABET.charCodeAt(i)] = i;

/**
 * Collects names, then yields the files. It holds the rows as bytes (14 MB for 700,000 names) and four bytes for each
 * name in each list (25 MB).
 */
export class TrigramIndex {
  #rowBytes = Buffer.alloc(1 << 20);
  #length = 0;
  readonly #rowEnds: number[] = [];
  readonly #downloads: number[] = [];

  add(name: string, downloads: number, files: number): void {
    const row = `${name} ${downloads} ${files}`;
    if (this.#length + row.length > this.#rowBytes.length)
      this.#rowBytes = Buffer.concat([this.#rowBytes, Buffer.alloc(this.#rowBytes.length)]);
    this.#length += this.#rowBytes.write(row, this.#length, 'latin1');
    this.#rowEnds.push(this.#length);
    this.#downloads.push(downloads);
  }

  *files(): Generator<TrigramFile> {
    const { lists, counts } = this.#buildLists();
    let begin = 0;
    for (let gram = 0; gram < TRIGRAM_COUNT; gram += 1) {
      const count = counts[gram] ?? 0;
      if (count === 0) continue;
      const kept = Math.min(count, MAX_NAMES_PER_FILE);
      let rows = '';
      for (let at = begin; at < begin + kept; at += 1)
        rows += `${at === begin ? '' : ','}"${this.#rowAt(lists[at] ?? 0)}"`;
      begin += kept;
      yield { gram: trigramText(gram), content: `{"all":${String(kept === count)},"r":[${rows}]}` };
    }
  }

  /**
   * Returns the names of each trigram as indexes, one list after the other, the most downloaded first; and how many
   * names contain each trigram.
   */
  #buildLists(): { readonly lists: Uint32Array; readonly counts: Uint32Array } {
    const counts = new Uint32Array(TRIGRAM_COUNT);
    const order = Uint32Array.from(this.#rowEnds.keys());
    for (const index of order)
      for (const gram of this.#trigramsOf(index)) counts[gram] = (counts[gram] ?? 0) + 1;
    const nextPosition = new Uint32Array(TRIGRAM_COUNT);
    const listEnds = new Uint32Array(TRIGRAM_COUNT);
    let length = 0;
    for (let gram = 0; gram < TRIGRAM_COUNT; gram += 1) {
      nextPosition[gram] = length;
      length += Math.min(counts[gram] ?? 0, MAX_NAMES_PER_FILE);
      listEnds[gram] = length;
    }
    order.sort((a, b) => (this.#downloads[b] ?? 0) - (this.#downloads[a] ?? 0) || a - b);
    const lists = new Uint32Array(length);
    for (const index of order)
      for (const gram of this.#trigramsOf(index)) {
        const position = nextPosition[gram] ?? 0;
        if (position === listEnds[gram]) continue;
        lists[position] = index;
        nextPosition[gram] = position + 1;
      }
    return { lists, counts };
  }

  #rowAt(index: number): string {
    return this.#rowBytes.toString(
      'latin1',
      index === 0 ? 0 : this.#rowEnds[index - 1],
      this.#rowEnds[index],
    );
  }

  /** Returns the trigrams of a name, each once. */
  #trigramsOf(index: number): Set<number> {
    const grams = new Set<number>();
    let [first, second, letterCount] = [0, 0, 0];
    for (let at = index === 0 ? 0 : (this.#rowEnds[index - 1] ?? 0); this.#rowBytes[at] !== SPACE; at += 1) {
      const code = this.#rowBytes[at] ?? 0;
      if (code === HYPHEN) continue;
      const letterIndex = LETTER_INDEX[code] ?? 0;
      letterCount += 1;
      if (letterCount > 2) grams.add((first * ALPHABET.length + second) * ALPHABET.length + letterIndex);
      [first, second] = [second, letterIndex];
    }
    return grams;
  }
}

const SPACE = 32;
const HYPHEN = 45;

const trigramText = (gram: number): string =>
  ALPHABET.charAt(Math.floor(gram / ALPHABET.length ** 2)) +
  ALPHABET.charAt(Math.floor(gram / ALPHABET.length) % ALPHABET.length) +
  ALPHABET.charAt(gram % ALPHABET.length);
