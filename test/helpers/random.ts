/** Returns random numbers from 0 (inclusive) to 1 (exclusive). */
export type RandomSource = () => number;

/** Returns a mulberry32 generator: small, and the same seed yields the same numbers on every platform. */
export function seededRandom(seed: number): RandomSource {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * Returns a seed derived from words (FNV-1a), so that the draws for one thing do not depend on the draws for others.
 */
function seedOf(...words: readonly (string | number)[]): number {
  let state = 0x811c9dc5;
  for (const character of words.join('\0'))
    state = Math.imul(state ^ (character.codePointAt(0) ?? 0), 16777619);
  return state >>> 0;
}

/** Returns the random number for the thing with this name; always the same. */
export const draw = (...words: readonly (string | number)[]): number => seededRandom(seedOf(...words))();

export const randomBelow = (random: RandomSource, limit: number): number => Math.floor(random() * limit);

/** Returns a random item; undefined if there are none. */
export const pick = <T>(random: RandomSource, items: readonly T[]): T | undefined =>
  items[randomBelow(random, items.length)];
