/** Numbers from 0 up to, but not, 1. */
export type RandomSource = () => number;

/** mulberry32: small, and the same seed gives the same numbers everywhere. */
export function seededRandom(seed: number): RandomSource {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A seed out of words, so that what is drawn for one thing doesn't depend on how often others were drawn for. */
export function seedOf(...words: readonly (string | number)[]): number {
  let state = 0x811c9dc5;
  for (const character of words.join('\0'))
    state = Math.imul(state ^ (character.codePointAt(0) ?? 0), 16777619);
  return state >>> 0;
}

/** One draw for the thing of that name. */
export const draw = (...words: readonly (string | number)[]): number => seededRandom(seedOf(...words))();

export const randomBelow = (random: RandomSource, limit: number): number => Math.floor(random() * limit);

/** One of `items`; undefined of none. */
export const pick = <T>(random: RandomSource, items: readonly T[]): T | undefined =>
  items[randomBelow(random, items.length)];
