/** Of what installers send nothing is longer; whoever makes up longer ones could fill the memory with them. Bytes. */
const LONGEST = 1024;

/**
 * What a function gave for texts that come again and again, in bounded memory: of those that weren't asked for
 * while `size` new ones came, nothing is kept, nor of long ones.
 */
export class Remembered<T> {
  readonly #find: (text: string) => T;
  readonly #size: number;
  #young = new Map<string, T>();
  #old = new Map<string, T>();

  constructor(size: number, find: (text: string) => T) {
    this.#size = size;
    this.#find = find;
  }

  /** The text is Latin-1, as a log's line is. */
  get(text: string): T {
    const known = this.#young.get(text);
    if (known !== undefined) return known;
    if (text.length > LONGEST) return this.#find(text);
    const value = this.#old.get(text) ?? this.#find(text);
    if (this.#young.size >= this.#size) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    // A copy: the text is a piece of a block of a megabyte, which would be kept with it.
    this.#young.set(Buffer.from(text, 'latin1').toString('latin1'), value);
    return value;
  }
}
