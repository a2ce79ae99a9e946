import type { Clock } from './clock.js';
import { deferred } from './deferred.js';

/** Settles as `promise` does; if that takes longer than `ms` milliseconds, then as `onLate` returns or throws. */
export async function withTimeLimit<T, L = void>(
  clock: Clock,
  ms: number,
  promise: Promise<T>,
  onLate?: () => L,
): Promise<T | L> {
  const limit = deferred();
  const cancelTimer = clock.after(ms, limit.resolve);
  try {
    return await Promise.race([promise, limit.promise.then<L>(onLate)]);
  } finally {
    cancelTimer();
  }
}
