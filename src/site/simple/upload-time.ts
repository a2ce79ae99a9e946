import { DAY_MS } from '../../units.js';
import { formatTimeOfDay } from '../pages/html.js';

let cachedDay = -1;
let cachedDayText = '';
/** The milliseconds of a second, with a point, as microseconds, and the time zone. */
const FRACTIONS = Array.from({ length: 1000 }, (_, n) => `.${String(n).padStart(3, '0')}000Z`);

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
  const wholeMs = Math.floor(ms);
  return cachedDayText + formatTimeOfDay(ms) + (FRACTIONS[wholeMs - Math.floor(wholeMs / 1000) * 1000] ?? '');
}
