/** No page's beginning is longer than this, up to the end of its serial, bytes. */
export const HEAD_BYTES = 80;

/** The serial of a page, from its first bytes: what stands behind this beginning; undefined for what doesn't begin so. */
export function parseSerial(head: string | undefined, prefix: string): number | undefined {
  if (head?.startsWith(prefix) !== true) return undefined;
  const digits = /^\d+/.exec(head.slice(prefix.length))?.[0];
  return digits === undefined ? undefined : Number(digits);
}
