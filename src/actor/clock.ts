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
