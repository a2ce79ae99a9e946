/** A value stays fresh for this many times the time that loading it took, so that loading takes 0.5 % of the time. */
const FRESHNESS_FACTOR = 200;
const MIN_FRESH_MS = 1000;

interface CachedValue<T> {
  readonly value: T;
  readonly fetchedAt: number;
  /** How long the value stays fresh, milliseconds. */
  readonly freshForMs: number;
}

/**
 * A stale-while-revalidate cache of one value that is expensive to load and may be somewhat old, such as a count over
 * millions of rows. Returns a stale value at once while it is reloaded. If there is an `estimate`, returns that while
 * nothing is cached, and instead of a value older than twice its freshness.
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

  /** Returns the value and its age in milliseconds. Throws the loader's error if nothing is cached. */
  async get(): Promise<{ readonly value: T; readonly ageMs: number }> {
    const cached = this.#cached;
    const ageMs = cached ? performance.now() - cached.fetchedAt : 0;
    if (cached && ageMs < cached.freshForMs) return { value: cached.value, ageMs };
    if (this.#estimate && (!cached || ageMs > 2 * cached.freshForMs)) {
      // Estimates first, because the estimate and the reload read the same tables.
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

/** Ignores an error in the background: the next caller retries, and gets the error. */
const ignoreError = (): void => undefined;
