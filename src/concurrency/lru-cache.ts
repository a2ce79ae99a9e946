/** Longest text that is cached, bytes. Installers send nothing longer; made-up long texts could fill the memory. */
const MAX_KEY_LENGTH = 1024;

/**
 * Caches results of a function of texts that repeat a lot, in bounded memory. A text is evicted at the latest when
 * 2 × `size` others have been added since its last use. Long texts are not cached.
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

  /** Returns the function's result for `text`, which must be Latin-1, like the lines of a log. */
  get(text: string): T {
    const cached = this.#recent.get(text);
    if (cached !== undefined) return cached;
    if (text.length > MAX_KEY_LENGTH) return this.#compute(text);
    const value = this.#previous.get(text) ?? this.#compute(text);
    if (this.#recent.size >= this.#size) {
      this.#previous = this.#recent;
      this.#recent = new Map();
    }
    // Copy the key: the text is a slice of a 1 MB block, all of which it would keep in memory.
    this.#recent.set(Buffer.from(text, 'latin1').toString('latin1'), value);
    return value;
  }
}
