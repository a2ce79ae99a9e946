/** One of those who take turns by weight. */
export interface Turn<T> {
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
export function turn<T extends Turn<unknown>>(all: readonly T[]): T | undefined {
  const waiting = all.filter(({ list }) => list.length > 0);
  for (const one of all) if (one.list.length === 0) one.credit = 0;
  for (const one of waiting) one.credit += one.weight;
  const next = waiting.reduce<T | undefined>((a, b) => (a && a.credit >= b.credit ? a : b), undefined);
  if (next) next.credit -= waiting.reduce((sum, { weight }) => sum + weight, 0);
  return next;
}
