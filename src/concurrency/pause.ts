import { onAbort } from './abort.js';
import type { Clock } from './clock.js';
import { deferred } from './deferred.js';

/** Waits for `ms` milliseconds, or until the signal is aborted. */
export async function pause(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return;
  const { promise, resolve } = deferred();
  const cancelTimer = clock.after(ms, resolve);
  const removeListener = onAbort(signal, resolve);
  await promise;
  cancelTimer();
  removeListener();
}
