import type { Clock } from './clock.js';
import type { Conditions } from './conditions.js';

/** A task that has to be at work for the farm to be whole. */
export interface WatchedTask {
  readonly task: string;
  readonly kind: 'single' | 'pool';
}

/** How often each process announces what it does, seconds. */
export const ANNOUNCE_INTERVAL_S = 2;
/** A takeover is done within 5 seconds: one that takes longer than this is told. */
const SILENCE_MS = 10_000;
/** A farm that starts is given longer. */
const START_MS = 30_000;
/** When nobody at all was heard for this long, the connection was at fault. */
const GAP_MS = 6000;

/**
 * Knows of each task whether anybody is at work on it, by what every process announces. It compares announcements
 * with each other, not with the clock: when nobody is heard, it is this process that hears nothing.
 */
export class TaskWatch {
  readonly #clock: Clock;
  readonly #tasks: readonly WatchedTask[];
  readonly #heard = new Map<string, number>();
  #newest: number;

  constructor(clock: Clock, tasks: readonly WatchedTask[]) {
    this.#clock = clock;
    this.#tasks = tasks;
    this.#newest = clock.monotonicMs();
    for (const { task } of tasks) this.#heard.set(task, this.#newest + START_MS - SILENCE_MS);
  }

  /** A process of `task` has announced itself; `working`: not only standing by. */
  heard(task: string, working: boolean): void {
    const now = this.#clock.monotonicMs();
    const gap = now - this.#newest;
    if (gap > GAP_MS) for (const [name, at] of this.#heard) this.#heard.set(name, at + gap);
    this.#newest = now;
    if (working && this.#heard.has(task)) this.#heard.set(task, Math.max(now, this.#heard.get(task) ?? 0));
  }

  isMissing(task: string): boolean {
    return this.#newest - (this.#heard.get(task) ?? this.#newest) > SILENCE_MS;
  }

  /** Raises a condition for each of the tasks that `isMine` admits and nobody is at work on; clears the others. */
  tell(conditions: Conditions, isMine: (task: string) => boolean): void {
    for (const { task, kind } of this.#tasks) {
      const single = kind === 'single';
      const name = single ? 'no-leader' : 'not-running';
      if (!isMine(task) || !this.isMissing(task)) {
        conditions.clear(name, task);
        continue;
      }
      const silent = this.#clock.monotonicMs() - (this.#heard.get(task) ?? 0);
      const text = single
        ? `no process is the leader of ${task}: what it does is not done`
        : `no process of ${task} is running: what it does is not done`;
      conditions.raise(name, task, text, this.#clock.now() - silent);
    }
  }
}
