/** So many times as long as it took to find out, a figure holds: so figures use half a percent of the time. */
const WORTH = 200;
const LEAST_MS = 1000;

/**
 * Something that is costly to find out, and that may be some time old: a count over millions of rows.
 * What is known and old is given at once, while it is found out anew.
 */
export class Aged<T> {
  readonly #find: () => Promise<T>;
  #known: { readonly value: T; readonly at: number; readonly until: number } | undefined;
  #finding: Promise<T> | undefined;

  constructor(find: () => Promise<T>) {
    this.#find = find;
  }

  /** The value, and its age in milliseconds. */
  async get(): Promise<{ readonly value: T; readonly ageMs: number }> {
    const known = this.#known;
    if (known && performance.now() < known.until)
      return { value: known.value, ageMs: performance.now() - known.at };
    this.#finding ??= this.#anew();
    if (!known) return { value: await this.#finding, ageMs: 0 };
    // Whoever needs it next meets the error.
    this.#finding.catch(() => undefined);
    return { value: known.value, ageMs: performance.now() - known.at };
  }

  async #anew(): Promise<T> {
    const began = performance.now();
    try {
      const value = await this.#find();
      const at = performance.now();
      this.#known = { value, at, until: at + Math.max(LEAST_MS, (at - began) * WORTH) };
      return value;
    } catch (error) {
      this.#known = undefined;
      throw error;
    } finally {
      this.#finding = undefined;
    }
  }
}
