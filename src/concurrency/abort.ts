import { PiwError } from '../errors.js';
import { deferred } from './deferred.js';

/** Calls `callback` when the signal is aborted, at once if it already is. Returns a function that prevents the call. */
export function onAbort(signal: AbortSignal | undefined, callback: () => void): () => void {
  // Without the event, which a callback with an optional parameter would take for that.
  const listener = (): void => {
    callback();
  };
  if (signal?.aborted) listener();
  else signal?.addEventListener('abort', listener, { once: true });
  return () => signal?.removeEventListener('abort', listener);
}

/** Resolves when the signal is aborted. */
export function aborted(signal: AbortSignal): Promise<undefined> {
  const { promise, resolve } = deferred<undefined>();
  onAbort(signal, () => {
    resolve(undefined);
  });
  return promise;
}

/**
 * Settles as `promise` does, or throws PIW_INTERRUPTED as soon as the signal is aborted; then `dispose` gets a result
 * that comes later.
 */
export async function unlessAborted<T>(
  promise: Promise<T>,
  signal: AbortSignal | undefined,
  dispose: (late: T) => unknown = () => undefined,
): Promise<T> {
  const interruption = deferred<never>();
  const removeListener = onAbort(signal, () => {
    promise.then(dispose, () => undefined);
    interruption.reject(new PiwError('PIW_INTERRUPTED', 'interrupted'));
  });
  try {
    return await Promise.race([promise, interruption.promise]);
  } finally {
    removeListener();
  }
}
