const MONTHS = 'JanFebMarAprMayJunJulAugSepOctNovDec';
const CLF_TIME_PATTERN = /^(\d\d)\/([A-Z][a-z][a-z])\/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)$/;
const ISO_TIME_PATTERN = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)$/;
/** Earlier times are errors: there were no packages to download. */
const EARLIEST_S = Date.UTC(2000, 0, 1) / 1000;
/** The server's clock may be a day ahead. */
const MAX_CLOCK_SKEW_S = 86_400;

/** The last time parsed: consecutive lines are mostly of the same second. */
let lastText = '';
let lastTime: number | undefined;

/** Parses `21/Nov/2026:23:04:07 +0000` to seconds since 1970; undefined if it is not a time, or not a plausible one. */
export function parseClfTime(text: string): number | undefined {
  if (text === lastText) return lastTime;
  const match = CLF_TIME_PATTERN.exec(text);
  const month = match ? MONTHS.indexOf(match[2] ?? '') / 3 : -1;
  if (!match || !Number.isInteger(month) || month < 0) return undefined;
  const [day, year, hour, minute, second] = [match[1], match[3], match[4], match[5], match[6]].map(Number);
  const utc = Date.UTC(year ?? NaN, month, day, hour, minute, second);
  const offset = (Number(match[8]) * 60 + Number(match[9])) * 60_000 * (match[7] === '-' ? -1 : 1);
  const isValid = new Date(utc).getUTCDate() === day && (hour ?? 24) < 24 && (minute ?? 60) < 60;
  const time = isValid ? plausibleTime((utc - offset) / 1000) : undefined;
  [lastText, lastTime] = [Buffer.from(text, 'latin1').toString('latin1'), time];
  return time;
}

/** Does the same for ISO 8601 with an offset from UTC, for seconds since 1970, and for the form above. */
export function parseJsonTime(value: unknown): number | undefined {
  if (typeof value === 'string' && ISO_TIME_PATTERN.test(value))
    return plausibleTime(Date.parse(value.replace(',', '.').replace(/([+-]\d\d)(\d\d)$/, '$1:$2')) / 1000);
  if (typeof value === 'string' && /^\d{9,11}(\.\d{1,9})?$/.test(value)) return plausibleTime(Number(value));
  if (typeof value === 'string' && value.length === 26) return parseClfTime(value);
  return typeof value === 'number' ? plausibleTime(value) : undefined;
}

function plausibleTime(seconds: number): number | undefined {
  return seconds >= EARLIEST_S && seconds <= Date.now() / 1000 + MAX_CLOCK_SKEW_S
    ? Math.floor(seconds)
    : undefined;
}
