const DAY_MS = 86_400_000;
let dayNumber = -1;
let dayText = '';
const two = (n: number): string => (n < 10 ? `0${String(n)}` : String(n));
const three = (n: number): string => (n < 100 ? `0${two(n)}` : String(n));

/**
 * `YYYY-MM-DDTHH:MM:SS.ffffffZ`. What toISOString gives, but for the microseconds; it takes half of the time that
 * all else of a file does, and files of one day stand together.
 */
export function uploadTime(ms: number): string {
  const number = Math.floor(ms / DAY_MS);
  if (number !== dayNumber) {
    dayNumber = number;
    dayText = new Date(number * DAY_MS).toISOString().slice(0, 11);
  }
  const of = Math.floor(ms) - number * DAY_MS;
  return `${dayText}${two(Math.floor(of / 3_600_000))}:${two(Math.floor(of / 60_000) % 60)}:${two(Math.floor(of / 1000) % 60)}.${three(of % 1000)}000Z`;
}
