import { DAY_MS, HOUR_MS } from '../../units.js';

let cachedDay = -1;
let cachedDayText = '';
const twoDigits = (n: number): string => (n < 10 ? `0${String(n)}` : String(n));
const threeDigits = (n: number): string => (n < 100 ? `0${twoDigits(n)}` : String(n));

/**
 * Formats milliseconds since 1970 as `YYYY-MM-DDTHH:MM:SS.ffffffZ`: like toISOString(), but with microseconds.
 * toISOString() would take half as long as everything else that is rendered for a file, so the date part is cached:
 * files of one day mostly follow one another.
 */
export function uploadTime(ms: number): string {
  const dayIndex = Math.floor(ms / DAY_MS);
  if (dayIndex !== cachedDay) {
    cachedDay = dayIndex;
    cachedDayText = new Date(dayIndex * DAY_MS).toISOString().slice(0, 11);
  }
  const msOfDay = Math.floor(ms) - dayIndex * DAY_MS;
  return `${cachedDayText}${twoDigits(Math.floor(msOfDay / HOUR_MS))}:${twoDigits(Math.floor(msOfDay / 60_000) % 60)}:${twoDigits(Math.floor(msOfDay / 1000) % 60)}.${threeDigits(msOfDay % 1000)}000Z`;
}
