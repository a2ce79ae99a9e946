/** Enough bytes of any page to contain its whole serial. */
export const HEAD_BYTES = 80;

/** Returns the serial that follows `prefix` at the beginning of a page; undefined if it doesn't begin that way. */
export function parseSerial(head: string | undefined, prefix: string): number | undefined {
  if (head?.startsWith(prefix) !== true) return undefined;
  const digits = /^\d+/.exec(head.slice(prefix.length))?.[0];
  return digits === undefined ? undefined : Number(digits);
}
