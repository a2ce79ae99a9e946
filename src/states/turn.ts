/** One of those who take turns by weight. */
export interface RoundRobinQueue<T> {
  /** Of all turns that are taken while everybody has something, its part is weight / sum of weights. */
  readonly weight: number;
  /** What it has gained by waiting. */
  credit: number;
  /** What it has. */
  list: readonly T[];
}

/**
 * Whose turn it is, or undefined if nobody has anything: each that has something gains its weight, and the
 * one that has most pays for all (smooth weighted round robin). Who has nothing saves nothing up.
 */
export function roundRobin<T extends RoundRobinQueue<unknown>>(queues: readonly T[]): T | undefined {
  const nonEmpty = queues.filter(({ list }) => list.length > 0);
  for (const one of queues) if (one.list.length === 0) one.credit = 0;
  for (const one of nonEmpty) one.credit += one.weight;
  const next = nonEmpty.reduce<T | undefined>((a, b) => (a && a.credit >= b.credit ? a : b), undefined);
  if (next) next.credit -= nonEmpty.reduce((sum, { weight }) => sum + weight, 0);
  return next;
}
