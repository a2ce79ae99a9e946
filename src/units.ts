/** Milliseconds of an hour and of a day. */
export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;

/** Formats a whole number, e.g. `1,234,567`. */
export function formatCount(n: number): string {
  const digits = String(n);
  return n < 1000 ? digits : digits.replace(/\B(?=(\d{3})+$)/g, ',');
}

/** Formats a number with its noun, e.g. `1 wheel` or `2,000 wheels`. */
export const formatQuantity = (n: number, singular: string, plural = `${singular}s`): string =>
  `${formatCount(n)} ${n === 1 ? singular : plural}`;

/** Returns the seconds of `3h`, `90m`, `45s`, `1h30m` or a plain number; undefined for any other text. */
export function parseDuration(value: string): number | undefined {
  const trimmed = value.trim();
  if (/^\d+(\.\d+)?$/.test(trimmed)) return Number(trimmed);
  const match = /^(?:(\d+)d)?\s*(?:(\d+)h)?\s*(?:(\d+)m)?\s*(?:(\d+)s)?$/.exec(trimmed);
  if (!match || trimmed === '') return undefined;
  const [days, hours, minutes, seconds] = match.slice(1).map((part) => Number(part || 0));
  return ((days ?? 0) * 24 + (hours ?? 0)) * 3600 + (minutes ?? 0) * 60 + (seconds ?? 0);
}
