/** The pauses after failures in a row: `firstMs`, doubled after each further failure, at most `maxMs`. */
export interface BackOff {
  readonly firstMs: number;
  readonly maxMs: number;
  /** Adds up to a quarter at random, so that those who failed together don't all try again together. */
  readonly jitter?: boolean;
}

/** Returns the pause after a failure, milliseconds; `failures` is the number of failures in a row, at least 1. */
export const backOffMs = ({ firstMs, maxMs, jitter = false }: BackOff, failures: number): number =>
  Math.min(firstMs * 2 ** (failures - 1), maxMs) * (jitter ? 1 + Math.random() / 4 : 1);
