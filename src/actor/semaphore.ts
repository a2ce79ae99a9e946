/** Lets in at most `places` at once, in the order in which they came. */
export class Semaphore {
  #freePermits: number;
  readonly #waiters: (() => void)[] = [];

  constructor(permits: number) {
    this.#freePermits = permits;
  }

  /** Resolves with the function that leaves again; calling it twice is harmless. */
  async acquire(): Promise<() => void> {
    if (this.#freePermits > 0) this.#freePermits -= 1;
    else await new Promise<void>((resolve) => this.#waiters.push(resolve));
    let inside = true;
    return () => {
      if (!inside) return;
      inside = false;
      const next = this.#waiters.shift();
      if (next) next();
      else this.#freePermits += 1;
    };
  }
}
