import { PiwError } from '../errors.js';
import { systemClock, type Clock } from './clock.js';
import { pause } from './pause.js';

/**
 * Runs `operation` until it succeeds, and returns its result. After a failure, `onFailure` returns the pause before
 * the next attempt, milliseconds, or throws to give up; `failures` counts the failures so far. Throws
 * PIW_INTERRUPTED, with the last error as its cause, if the signal is aborted during a pause.
 */
export async function retry<T>(
  operation: () => Promise<T>,
  onFailure: (error: unknown, failures: number) => Promise<number> | number,
  { clock = systemClock, signal }: { readonly clock?: Clock; readonly signal?: AbortSignal | undefined } = {},
): Promise<T> {
  for (let failures = 1; ; failures += 1) {
    try {
      return await operation();
    } catch (error) {
      if (signal?.aborted) throw error;
      await pause(clock, await onFailure(error, failures), signal);
      if (signal?.aborted) throw new PiwError('PIW_INTERRUPTED', 'interrupted', { cause: error });
    }
  }
}
