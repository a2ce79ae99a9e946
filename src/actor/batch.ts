/**
 * Puts together what is asked for one by one within a few milliseconds, so that one message or one
 * transaction serves many. Measured (house.md, facts): what matters is the batch, not more processes.
 */
export interface BatcherOptions<I, O> {
  /** Does the work for all of them; its results stand in the same order. */
  readonly run: (items: readonly I[]) => Promise<readonly O[]>;
  /** A batch is at most this long, and at most `maxBytes` by `size`. */
  readonly maxItems: number;
  readonly size?: (item: I) => number;
  readonly maxBytes?: number;
  /** How many batches may be under way at once. Those that come meanwhile make the next ones larger. */
  readonly maxInFlight: number;
  /**
   * How long the first of a batch waits for others, milliseconds, unless the batch is full before; 0: to the
   * end of this turn.
   */
  readonly delayMs: number;
  /**
   * Whether an error is of one of the items, and not of the surroundings. Then the batch is run again in halves, until
   * the bad item fails alone: a run that fails must have had no effect. Without it, all of a batch fail together.
   */
  readonly isItemError?: (error: unknown) => boolean;
}

interface PendingItem<I, O> {
  readonly item: I;
  readonly resolve: (result: O) => void;
  readonly reject: (error: unknown) => void;
}

export class Batcher<I, O> {
  readonly #options: BatcherOptions<I, O>;
  #pending: PendingItem<I, O>[] = [];
  #inFlight = 0;
  /** Takes back the call that ends the wait of the first. */
  #cancelTimer: (() => void) | undefined;
  /** The first has waited for long enough. */
  #due = false;

  constructor(options: BatcherOptions<I, O>) {
    this.#options = options;
  }

  /** The result for one item; rejects with whatever its batch failed with. */
  add(item: I): Promise<O> {
    return new Promise((resolve, reject) => {
      this.#pending.push({ item, resolve, reject });
      if (!this.#due) this.#cancelTimer ??= this.#startTimer();
      this.#flush();
    });
  }

  get length(): number {
    return this.#pending.length;
  }

  #startTimer(): () => void {
    const end = () => {
      this.#cancelTimer = undefined;
      this.#due = true;
      this.#flush();
    };
    if (this.#options.delayMs === 0) {
      const immediate = setImmediate(end);
      return () => {
        clearImmediate(immediate);
      };
    }
    const timer = setTimeout(end, this.#options.delayMs);
    return () => {
      clearTimeout(timer);
    };
  }

  #flush(): void {
    const { maxInFlight, maxItems } = this.#options;
    while (this.#inFlight < maxInFlight && (this.#due || this.#pending.length >= maxItems)) {
      const batch = this.#nextBatch();
      if (this.#pending.length === 0) this.#reset();
      this.#inFlight += 1;
      void this.#run(batch);
    }
  }

  /** Nobody waits. */
  #reset(): void {
    this.#due = false;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  #nextBatch(): readonly PendingItem<I, O>[] {
    const { maxItems, maxBytes = Infinity, size = () => 0 } = this.#options;
    let count = 0;
    let bytes = 0;
    for (const { item } of this.#pending) {
      bytes += size(item);
      if (count >= maxItems || (count > 0 && bytes > maxBytes)) break;
      count += 1;
    }
    return this.#pending.splice(0, count);
  }

  async #run(batch: readonly PendingItem<I, O>[]): Promise<void> {
    try {
      await this.#settle(batch);
    } finally {
      this.#inFlight -= 1;
      this.#flush();
    }
  }

  /** Gives each item of the batch its result or its error. */
  async #settle(batch: readonly PendingItem<I, O>[]): Promise<void> {
    try {
      const results = await this.#options.run(batch.map(({ item }) => item));
      batch.forEach(({ resolve, reject }, i) => {
        if (i < results.length) resolve(results[i] as O);
        else reject(new Error(`a batch of ${String(batch.length)} got ${String(results.length)} results`));
      });
    } catch (error) {
      if (batch.length > 1 && this.#options.isItemError?.(error)) {
        const half = Math.ceil(batch.length / 2);
        await this.#settle(batch.slice(0, half));
        await this.#settle(batch.slice(half));
      } else for (const { reject } of batch) reject(error);
    }
  }
}
