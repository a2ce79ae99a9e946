import { systemClock, type Clock } from './clock.js';
import { deferred, type Deferred } from './deferred.js';
import { formatQuantity } from '../units.js';

/**
 * Collects single items within a few milliseconds into batches, so that one message or one transaction serves many.
 * Measured (house.md, facts): throughput depends on batching, not on more processes.
 */
interface BatcherOptions<I, O> {
  /** Processes a batch; returns a result for each item, in the same order. */
  readonly run: (items: readonly I[]) => Promise<readonly O[]>;
  /** The most items in a batch; it also has at most `maxBytes`, as measured by `size`. */
  readonly maxItems: number;
  readonly size?: (item: I) => number;
  readonly maxBytes?: number;
  /** How many batches may run at once. Items that arrive in the meantime make the next batches larger. */
  readonly maxInFlight: number;
  /**
   * How long the first item of a batch waits for others, milliseconds, unless the batch is full earlier; 0: until the
   * end of this turn of the event loop.
   */
  readonly delayMs: number;
  /**
   * Returns whether an error is due to one of the items rather than, for example, the connection. Then the batch is
   * run again in halves until the bad item fails alone, so a run that fails must have had no effect. Without this
   * function all items of a failed batch fail.
   */
  readonly isItemError?: (error: unknown) => boolean;
  readonly clock?: Clock;
}

interface PendingItem<I, O> extends Deferred<O> {
  readonly item: I;
}

export class Batcher<I, O> {
  readonly #options: BatcherOptions<I, O>;
  #pending: PendingItem<I, O>[] = [];
  #inFlight = 0;
  /** Cancels the timer that ends the wait of the first item. */
  #cancelTimer: (() => void) | undefined;
  /** Whether the first item has waited for `delayMs`. */
  #due = false;

  constructor(options: BatcherOptions<I, O>) {
    this.#options = options;
  }

  /** Adds an item and resolves with its result; rejects with the error of its batch. */
  add(item: I): Promise<O> {
    const pendingItem = { item, ...deferred<O>() };
    this.#pending.push(pendingItem);
    if (!this.#due) this.#cancelTimer ??= this.#startTimer();
    this.#flush();
    return pendingItem.promise;
  }

  get length(): number {
    return this.#pending.length;
  }

  #startTimer(): () => void {
    const onDue = () => {
      this.#cancelTimer = undefined;
      this.#due = true;
      this.#flush();
    };
    const { clock = systemClock, delayMs } = this.#options;
    if (delayMs > 0) return clock.after(delayMs, onDue);
    const immediate = setImmediate(onDue);
    return () => {
      clearImmediate(immediate);
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

  /** Cancels the timer, because no item waits. */
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

  /** Settles each item of the batch with its result or its error. */
  async #settle(batch: readonly PendingItem<I, O>[]): Promise<void> {
    try {
      const results = await this.#options.run(batch.map(({ item }) => item));
      batch.forEach(({ resolve, reject }, i) => {
        if (i < results.length) resolve(results[i] as O);
        else
          reject(
            new Error(
              `a batch of ${formatQuantity(batch.length, 'item')} has ${formatQuantity(results.length, 'result')}`,
            ),
          );
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
