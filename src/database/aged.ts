/** So many times as long as it took to find out, a figure holds: so figures use half a percent of the time. */
const FRESHNESS_FACTOR = 200;
const MIN_FRESH_MS = 1000;

interface CachedValue<T> {
  readonly value: T;
  readonly fetchedAt: number;
  /** How long it holds, milliseconds. */
  readonly freshForMs: number;
}

/**
 * Something that is costly to find out, and that may be some time old: a count over millions of rows.
 * What is known and old is given at once, while it is found out anew. Where there is a way to an estimate,
 * that is given while nothing is known yet, and in place of what is very old.
 */
export class StaleWhileRevalidate<T> {
  readonly #load: () => Promise<T>;
  readonly #estimate: (() => Promise<T>) | undefined;
  #cached: CachedValue<T> | undefined;
  #pendingLoad: Promise<T> | undefined;

  constructor(load: () => Promise<T>, estimate?: () => Promise<T>) {
    this.#load = load;
    this.#estimate = estimate;
  }

  /** The value, and its age in milliseconds. */
  async get(): Promise<{ readonly value: T; readonly ageMs: number }> {
    const cached = this.#cached;
    const ageMs = cached ? performance.now() - cached.fetchedAt : 0;
    if (cached && ageMs < cached.freshForMs) return { value: cached.value, ageMs };
    if (this.#estimate && (!cached || ageMs > 2 * cached.freshForMs)) {
      // First, for both read the same tables.
      const value = await this.#estimate();
      this.#refresh().catch(ignoreError);
      return { value, ageMs: 0 };
    }
    const pendingLoad = this.#refresh();
    if (!cached) return { value: await pendingLoad, ageMs: 0 };
    pendingLoad.catch(ignoreError);
    return { value: cached.value, ageMs };
  }

  #refresh(): Promise<T> {
    this.#pendingLoad ??= this.#reload();
    return this.#pendingLoad;
  }

  async #reload(): Promise<T> {
    const startedAt = performance.now();
    try {
      const value = await this.#load();
      const fetchedAt = performance.now();
      this.#cached = {
        value,
        fetchedAt,
        freshForMs: Math.max(MIN_FRESH_MS, (fetchedAt - startedAt) * FRESHNESS_FACTOR),
      };
      return value;
    } catch (error) {
      this.#cached = undefined;
      throw error;
    } finally {
      this.#pendingLoad = undefined;
    }
  }
}

/** Whoever needs it next tries again, and meets the error. */
const ignoreError = (): void => undefined;
