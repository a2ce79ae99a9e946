/** A counting semaphore that grants its permits in the order of the requests. */
export class Semaphore {
  #freePermits: number;
  readonly #waiters: (() => void)[] = [];

  constructor(permits: number) {
    this.#freePermits = permits;
  }

  /** Waits for a permit; resolves with a function that releases it, which may be called more than once. */
  async acquire(): Promise<() => void> {
    if (this.#freePermits > 0) this.#freePermits -= 1;
    else await new Promise<void>((resolve) => this.#waiters.push(resolve));
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      const next = this.#waiters.shift();
      if (next) next();
      else this.#freePermits += 1;
    };
  }
}
