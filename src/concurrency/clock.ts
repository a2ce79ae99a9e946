/**
 * The one source of time: the time of day, a monotonic clock, and timers. Tests use a clock that they advance
 * themselves.
 */
export interface Clock {
  /** Returns milliseconds since 1970, UTC: for what people read or the database compares. It may jump either way. */
  now(): number;
  /**
   * Returns milliseconds since an arbitrary moment. It only ever grows, at a steady rate, even when the time of day is
   * corrected: use it for durations within one process; it means nothing to another process.
   */
  monotonicMs(): number;
  /** Calls `callback` after `ms` milliseconds; returns a function that cancels the call. */
  after(ms: number, callback: () => void): () => void;
}

/** Converts a time of the monotonic clock to the time of day, as the time of day is set now. */
export const wallTime = (clock: Clock, monotonicMs: number): number =>
  Math.round(clock.now() - (clock.monotonicMs() - monotonicMs));

/**
 * Returns a clock that starts at the current time of day and advances with the monotonic clock: for comparing with the
 * times of files, where setting the system's clock must not make everything old at once.
 */
export function steadyTime(clock: Clock): () => number {
  const offsetMs = clock.now() - clock.monotonicMs();
  return () => clock.monotonicMs() + offsetMs;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  after: (ms, callback) => {
    const timer = setTimeout(callback, ms);
    return () => {
      clearTimeout(timer);
    };
  },
};
