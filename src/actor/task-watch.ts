import type { Clock } from '../concurrency/clock.js';
import type { Conditions } from './conditions.js';

/** A task that a complete farm needs. */
export interface WatchedTask {
  readonly task: string;
  readonly kind: 'single' | 'pool';
}

/** How often each process announces its state, seconds. */
export const ANNOUNCE_INTERVAL_S = 2;
/** A takeover takes at most 5 seconds; after this long without one, milliseconds, the task counts as missing. */
const MAX_SILENCE_MS = 10_000;
/** The same limit while the farm starts. */
const START_GRACE_MS = 30_000;
/** If no process at all was heard for this long, milliseconds, the connection was down. */
const MAX_GAP_MS = 6000;

/**
 * Tracks from the announcements of all processes whether each task has one at work. It compares the times of
 * announcements with each other, not with the clock, because if none arrive at all, it is this process that is cut
 * off.
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

  /** Records an announcement of a process of `task`; `working` is false if it stands by. */
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

  /**
   * Raises a condition for each missing task for which `isResponsible` returns true, and clears those of the others.
   */
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
        ? `${task} has no leader: its work has stopped`
        : `no process of ${task} is running: its work has stopped`;
      conditions.raise(conditionKind, task, text, this.#clock.now() - silentMs);
    }
  }
}
