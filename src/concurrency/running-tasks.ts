/** The tasks that somebody has started and has to wait for before it ends. */
export class RunningTasks {
  readonly #tasks = new Set<Promise<unknown>>();

  /** Adds a task until it has settled, and returns it. */
  track<T>(task: Promise<T>): Promise<T> {
    const tracked = task.finally(() => this.#tasks.delete(tracked));
    this.#tasks.add(tracked);
    return tracked;
  }

  /** Waits until no task is running: also for tasks that are added in the meantime. */
  async drain(): Promise<void> {
    while (this.#tasks.size > 0) await Promise.allSettled(this.#tasks);
  }
}
