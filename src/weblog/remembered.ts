/** Of what installers send nothing is longer; whoever makes up longer ones could fill the memory with them. Bytes. */
const MAX_KEY_LENGTH = 1024;

/**
 * What a function gave for texts that come again and again, in bounded memory: of those that weren't asked for
 * while `size` new ones came, nothing is kept, nor of long ones.
 */
export class LruCache<T> {
  readonly #compute: (text: string) => T;
  readonly #size: number;
  #recent = new Map<string, T>();
  #previous = new Map<string, T>();

  constructor(size: number, compute: (text: string) => T) {
    this.#size = size;
    this.#compute = compute;
  }

  /** The text is Latin-1, as a log's line is. */
  get(text: string): T {
    const cached = this.#recent.get(text);
    if (cached !== undefined) return cached;
    if (text.length > MAX_KEY_LENGTH) return this.#compute(text);
    const value = this.#previous.get(text) ?? this.#compute(text);
    if (this.#recent.size >= this.#size) {
      this.#previous = this.#recent;
      this.#recent = new Map();
    }
    // A copy: the text is a piece of a block of a megabyte, which would be kept with it.
    this.#recent.set(Buffer.from(text, 'latin1').toString('latin1'), value);
    return value;
  }
}
