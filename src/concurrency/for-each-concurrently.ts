/**
 * Runs the action for each item, at most `concurrency` at a time. When one fails, no further ones begin, and its error is
 * thrown when those that run have ended.
 */
export async function forEachConcurrently<T>(
  items: Iterable<T> | AsyncIterable<T>,
  concurrency: number,
  action: (item: T) => Promise<void>,
): Promise<void> {
  const iterator = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  let failure: { readonly error: unknown } | undefined;
  const runWorker = async (): Promise<void> => {
    try {
      while (!failure) {
        const next = await iterator.next();
        if (next.done) return;
        await action(next.value);
      }
    } catch (error) {
      failure ??= { error };
    }
  };
  await Promise.all(Array.from({ length: concurrency }, runWorker));
  await iterator.return?.();
  if (failure) throw failure.error;
}
