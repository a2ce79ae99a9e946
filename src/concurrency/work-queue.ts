import { backOffMs, type BackOff } from './back-off.js';
import type { Clock } from './clock.js';

/**
 * What became of a key that was processed. `done`: for `cooldownMs` it is not processed again, unless it is added as
 * urgent. `failed`: it is retried with growing delays. `stalled`: nothing can be done now, for a reason that concerns
 * every key; it stays ready.
 */
export type WorkOutcome =
  | { readonly is: 'done'; readonly cooldownMs: number }
  | { readonly is: 'failed' }
  | { readonly is: 'stalled' };

/** Workers that serve some priorities in turn. */
interface WorkerPool<P> {
  readonly priorities: readonly P[];
  readonly workers: number;
  /** After each key a worker rests for `factor` times as long as the key took, but at most `maxMs`. */
  readonly rest?: { readonly factor: number; readonly maxMs: number };
}

interface WorkQueueOptions<P> {
  readonly pools: readonly WorkerPool<P>[];
  /** Returns the current priority of a key, which may change until the key is processed. */
  readonly priorityOf: (key: string) => P;
  /**
   * Processes a key; must not reject. `freeWorker` lets the worker take the next key before this one has ended: call it
   * when all that is left is to wait.
   */
  readonly process: (key: string, freeWorker: () => void) => Promise<WorkOutcome>;
  /** The pauses after failures in a row. */
  readonly retry: BackOff;
  /** While the queue is stalled, one key is tried at this interval, milliseconds. */
  readonly probeIntervalMs: number;
}

interface Item<P> {
  readonly key: string;
  state: 'waiting' | 'ready' | 'processing';
  /** Whether it is to be processed (again). */
  dirty: boolean;
  /** Whether it was added as urgent since it was last processed. */
  urgent: boolean;
  /** The time before which it is not processed (monotonic clock, milliseconds). */
  notBefore: number;
  /** Failures in a row. */
  failures: number;
  /** The list of ready items that it is in. */
  listedAs: P | undefined;
  cancelTimer: () => void;
}

interface PoolState<P> {
  /** In the order of their turns. */
  priorities: readonly P[];
  freeWorkers: number;
  readonly rest: { readonly factor: number; readonly maxMs: number };
}

/**
 * A queue of keys that are to be processed, after the one that Kubernetes' controllers use. A key stands for something
 * that is looked up when it is processed, so adding it twice processes it once. It is in one of these states:
 *
 *   waiting     until `notBefore`: it cools down after it was processed, or has failed; then it becomes ready, or is
 *               forgotten if it has not been added again
 *   ready       until a worker of its priority is free
 *   processing  by one worker; if it is added in the meantime, it is processed once more afterwards
 *
 * While the queue is stalled, one key is tried every `probeIntervalMs`; the first one that is done ends that.
 */
export class WorkQueue<P extends string> {
  readonly #clock: Clock;
  readonly #options: WorkQueueOptions<P>;
  readonly #pools: readonly PoolState<P>[];
  readonly #items = new Map<string, Item<P>>();
  /** Ready items in order, by priority. An item that has moved to another list or has been processed is skipped. */
  readonly #ready = new Map<P, Item<P>[]>();
  readonly #timers = new Set<() => void>();
  #stall: { probeDue: boolean; readonly cancelTimer: () => void } | undefined;
  #paused = false;
  #stopped = false;

  constructor(clock: Clock, options: WorkQueueOptions<P>) {
    this.#clock = clock;
    this.#options = options;
    this.#pools = options.pools.map(({ priorities, workers, rest = { factor: 0, maxMs: 0 } }) => ({
      priorities,
      freeWorkers: workers,
      rest,
    }));
  }

  /** Adds a key. An urgent one doesn't wait for the end of its cooldown, or for its next retry. */
  add(key: string, urgent = false): void {
    const item: Item<P> = this.#items.get(key) ?? {
      key,
      state: 'waiting',
      dirty: true,
      urgent,
      notBefore: 0,
      failures: 0,
      listedAs: undefined,
      cancelTimer: () => undefined,
    };
    this.#items.set(key, item);
    item.dirty = true;
    item.urgent ||= urgent;
    if (item.state === 'processing') return;
    if (urgent) item.notBefore = 0;
    this.#schedule(item);
  }

  isReady(key: string): boolean {
    return this.#items.get(key)?.state === 'ready';
  }

  /** Returns how often a key has failed in a row. */
  failures(key: string): number {
    return this.#items.get(key)?.failures ?? 0;
  }

  /** Starts no more keys until `resume`. */
  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = this.#stopped;
    this.#dispatch();
  }

  /** Starts no more keys, and cancels all timers. */
  stop(): void {
    this.#paused = true;
    this.#stopped = true;
    for (const cancel of this.#timers) cancel();
    this.#timers.clear();
  }

  /** Makes an item ready if it may be processed now, else sets a timer. */
  #schedule(item: Item<P>): void {
    if (item.state === 'waiting') {
      item.cancelTimer();
      const waitMs = item.notBefore - this.#clock.monotonicMs();
      if (waitMs > 0) {
        item.cancelTimer = this.#after(waitMs, () => {
          this.#schedule(item);
        });
        return;
      }
      if (!item.dirty) {
        this.#items.delete(item.key);
        return;
      }
      item.state = 'ready';
    }
    const priority = this.#options.priorityOf(item.key);
    if (item.listedAs === priority) return;
    item.listedAs = priority;
    const list = this.#ready.get(priority) ?? [];
    this.#ready.set(priority, list);
    list.push(item);
    this.#dispatch();
  }

  #dispatch(): void {
    for (const pool of this.#pools) {
      while (!this.#paused && pool.freeWorkers > 0 && (this.#stall?.probeDue ?? true)) {
        const item = this.#takeReady(pool);
        if (!item) break;
        this.#start(pool, item);
      }
    }
  }

  /** Takes the next item of a pool; the priority that was served has its next turn last. */
  #takeReady(pool: PoolState<P>): Item<P> | undefined {
    for (const priority of pool.priorities) {
      const list = this.#ready.get(priority) ?? [];
      for (let item = list.shift(); item; item = list.shift()) {
        if (item.state !== 'ready' || item.listedAs !== priority) continue;
        pool.priorities = [...pool.priorities.filter((other) => other !== priority), priority];
        return item;
      }
    }
    return undefined;
  }

  #start(pool: PoolState<P>, item: Item<P>): void {
    if (this.#stall) this.#delayProbe();
    pool.freeWorkers -= 1;
    item.state = 'processing';
    item.dirty = false;
    item.urgent = false;
    item.listedAs = undefined;
    const began = this.#clock.monotonicMs();
    let isBusy = true;
    const freeWorker = (): void => {
      if (!isBusy) return;
      isBusy = false;
      const { factor, maxMs } = pool.rest;
      this.#after(Math.min(factor * (this.#clock.monotonicMs() - began), maxMs), () => {
        pool.freeWorkers += 1;
        this.#dispatch();
      });
    };
    void this.#options.process(item.key, freeWorker).then((outcome) => {
      this.#finish(item, outcome);
      freeWorker();
    });
  }

  #finish(item: Item<P>, outcome: WorkOutcome): void {
    const now = this.#clock.monotonicMs();
    item.state = 'waiting';
    item.notBefore = 0;
    item.dirty ||= outcome.is !== 'done';
    if (outcome.is === 'stalled') this.#delayProbe();
    else if (outcome.is === 'failed') {
      item.failures += 1;
      item.notBefore = now + backOffMs(this.#options.retry, item.failures);
    } else {
      item.failures = 0;
      if (!item.urgent) item.notBefore = now + outcome.cooldownMs;
      this.#stall?.cancelTimer();
      this.#stall = undefined;
    }
    this.#schedule(item);
    this.#dispatch();
  }

  /** Stalls the queue until the next probe. */
  #delayProbe(): void {
    this.#stall?.cancelTimer();
    const cancelTimer = this.#after(this.#options.probeIntervalMs, () => {
      this.#stall = { probeDue: true, cancelTimer };
      this.#dispatch();
    });
    this.#stall = { probeDue: false, cancelTimer };
  }

  /**
   * Calls `callback` after `ms` milliseconds (0: at once), unless the queue is stopped by then. Returns a function that
   * cancels the call.
   */
  #after(ms: number, callback: () => void): () => void {
    if (this.#stopped) return () => undefined;
    if (ms <= 0) {
      callback();
      return () => undefined;
    }
    const cancelCall = this.#clock.after(ms, () => {
      this.#timers.delete(cancel);
      callback();
    });
    const cancel = (): void => {
      this.#timers.delete(cancel);
      cancelCall();
    };
    this.#timers.add(cancel);
    return cancel;
  }
}
