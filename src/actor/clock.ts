/**
 * The one clock: what time it is, how much time has passed, and a call after some time. Tests turn one of their own.
 */
export interface Clock {
  /** Milliseconds since 1970, UTC: for what people read or the database compares. It may jump either way. */
  now(): number;
  /**
   * Milliseconds since some moment. It only ever grows, at the same pace, also when the time of day is corrected: the
   * one measure for durations within a process, of no meaning to another.
   */
  monotonicMs(): number;
  /** Calls `what` after `ms` milliseconds; the function that is given back takes the call back. */
  after(ms: number, what: () => void): () => void;
}

/** When something happened by the time of day of now, given when by the monotonic clock. */
export const wallTime = (clock: Clock, monotonicMs: number): number =>
  Math.round(clock.now() - (clock.monotonicMs() - monotonicMs));

/**
 * The time of day as it was when this was made, going on by the monotonic clock: for comparing with files' times, where
 * a clock that is set must not make everything old at once.
 */
export function steadyTime(clock: Clock): () => number {
  const offsetMs = clock.now() - clock.monotonicMs();
  return () => clock.monotonicMs() + offsetMs;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  after: (ms, what) => {
    const timer = setTimeout(what, ms);
    return () => {
      clearTimeout(timer);
    };
  },
};
