/** So many times as long as it took to find out, a figure holds: so figures use half a percent of the time. */
const WORTH = 200;
const LEAST_MS = 1000;

interface Known<T> {
  readonly value: T;
  readonly at: number;
  /** How long it holds, milliseconds. */
  readonly holds: number;
}

/**
 * Something that is costly to find out, and that may be some time old: a count over millions of rows.
 * What is known and old is given at once, while it is found out anew. Where there is a way to an estimate,
 * that is given while nothing is known yet, and in place of what is very old.
 */
export class Aged<T> {
  readonly #find: () => Promise<T>;
  readonly #estimate: (() => Promise<T>) | undefined;
  #known: Known<T> | undefined;
  #finding: Promise<T> | undefined;

  constructor(find: () => Promise<T>, estimate?: () => Promise<T>) {
    this.#find = find;
    this.#estimate = estimate;
  }

  /** The value, and its age in milliseconds. */
  async get(): Promise<{ readonly value: T; readonly ageMs: number }> {
    const known = this.#known;
    const ageMs = known ? performance.now() - known.at : 0;
    if (known && ageMs < known.holds) return { value: known.value, ageMs };
    if (this.#estimate && (!known || ageMs > 2 * known.holds)) {
      // First, for both read the same tables.
      const value = await this.#estimate();
      this.#begin().catch(unseen);
      return { value, ageMs: 0 };
    }
    const finding = this.#begin();
    if (!known) return { value: await finding, ageMs: 0 };
    finding.catch(unseen);
    return { value: known.value, ageMs };
  }

  #begin(): Promise<T> {
    this.#finding ??= this.#anew();
    return this.#finding;
  }

  async #anew(): Promise<T> {
    const began = performance.now();
    try {
      const value = await this.#find();
      const at = performance.now();
      this.#known = { value, at, holds: Math.max(LEAST_MS, (at - began) * WORTH) };
      return value;
    } catch (error) {
      this.#known = undefined;
      throw error;
    } finally {
      this.#finding = undefined;
    }
  }
}

/** Whoever needs it next tries again, and meets the error. */
const unseen = (): void => undefined;
