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
const MAX_SILENCE_MS = 10_000;
/** A farm that starts is given longer. */
const START_GRACE_MS = 30_000;
/** When nobody at all was heard for this long, the connection was at fault. */
const MAX_GAP_MS = 6000;

/**
 * Knows of each task whether anybody is at work on it, by what every process announces. It compares announcements
 * with each other, not with the clock: when nobody is heard, it is this process that hears nothing.
 */
export class TaskWatch {
  readonly #clock: Clock;
  readonly #tasks: readonly WatchedTask[];
  readonly #lastWorkingMs = new Map<string, number>();
  #lastAnnouncementMs: number;

  constructor(clock: Clock, tasks: readonly WatchedTask[]) {
    this.#clock = clock;
    this.#tasks = tasks;
    this.#lastAnnouncementMs = clock.monotonicMs();
    for (const { task } of tasks)
      this.#lastWorkingMs.set(task, this.#lastAnnouncementMs + START_GRACE_MS - MAX_SILENCE_MS);
  }

  /** A process of `task` has announced itself; `working`: not only standing by. */
  onAnnouncement(task: string, working: boolean): void {
    const now = this.#clock.monotonicMs();
    const gap = now - this.#lastAnnouncementMs;
    if (gap > MAX_GAP_MS)
      for (const [name, at] of this.#lastWorkingMs) this.#lastWorkingMs.set(name, at + gap);
    this.#lastAnnouncementMs = now;
    if (working && this.#lastWorkingMs.has(task))
      this.#lastWorkingMs.set(task, Math.max(now, this.#lastWorkingMs.get(task) ?? 0));
  }

  isMissing(task: string): boolean {
    return (
      this.#lastAnnouncementMs - (this.#lastWorkingMs.get(task) ?? this.#lastAnnouncementMs) > MAX_SILENCE_MS
    );
  }

  /** Raises a condition for each of the tasks that `isMine` admits and nobody is at work on; clears the others. */
  updateConditions(conditions: Conditions, isResponsible: (task: string) => boolean): void {
    for (const { task, kind } of this.#tasks) {
      const single = kind === 'single';
      const conditionKind = single ? 'no-leader' : 'not-running';
      if (!isResponsible(task) || !this.isMissing(task)) {
        conditions.clear(conditionKind, task);
        continue;
      }
      const silentMs = this.#clock.monotonicMs() - (this.#lastWorkingMs.get(task) ?? 0);
      const text = single
        ? `no process is the leader of ${task}: what it does is not done`
        : `no process of ${task} is running: what it does is not done`;
      conditions.raise(conditionKind, task, text, this.#clock.now() - silentMs);
    }
  }
}
