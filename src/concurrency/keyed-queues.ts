import { Semaphore } from './semaphore.js';

/**
 * Runs tasks with the same key in the order in which they came, one after the other, or up to `concurrency` at once;
 * tasks with different keys don't wait for each other. A task that fails doesn't stop the next one.
 */
export class KeyedQueues<K> {
  readonly #concurrency: number;
  readonly #queues = new Map<K, { readonly semaphore: Semaphore; length: number }>();

  constructor(concurrency = 1) {
    this.#concurrency = concurrency;
  }

  /** Returns the number of tasks with this key that run or wait. */
  length(key: K): number {
    return this.#queues.get(key)?.length ?? 0;
  }

  /** Settles as `task` does. */
  async run<T>(key: K, task: () => Promise<T>): Promise<T> {
    const queue = this.#queues.get(key) ?? { semaphore: new Semaphore(this.#concurrency), length: 0 };
    this.#queues.set(key, queue);
    queue.length += 1;
    const release = await queue.semaphore.acquire();
    try {
      return await task();
    } finally {
      release();
      queue.length -= 1;
      if (queue.length === 0) this.#queues.delete(key);
    }
  }
}
