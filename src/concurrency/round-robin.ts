/** One of the queues that a weighted round robin serves. */
export interface RoundRobinQueue<T> {
  /** While all queues have items, this queue gets weight / (sum of weights) of the turns. */
  readonly weight: number;
  /** The credit gained by waiting. */
  credit: number;
  /** The items in the queue. */
  list: readonly T[];
}

/**
 * Returns the queue whose turn it is; undefined if all are empty. Smooth weighted round robin: each nonempty queue
 * gains its weight in credit, and the queue with the most credit is served and pays the sum of the weights. An empty
 * queue keeps no credit.
 */
export function roundRobin<T extends RoundRobinQueue<unknown>>(queues: readonly T[]): T | undefined {
  const nonEmpty = queues.filter(({ list }) => list.length > 0);
  for (const queue of queues) if (queue.list.length === 0) queue.credit = 0;
  for (const queue of nonEmpty) queue.credit += queue.weight;
  const next = nonEmpty.reduce<T | undefined>((a, b) => (a && a.credit >= b.credit ? a : b), undefined);
  if (next) next.credit -= nonEmpty.reduce((sum, { weight }) => sum + weight, 0);
  return next;
}
