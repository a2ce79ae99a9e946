import type { Condition } from '../protocols/conditions.js';
import type { Statistics } from '../protocols/statistics.js';
import { span } from './slave-table.js';

const count = (n: number): string => n.toLocaleString('en');
const UNITS = ['bytes', 'kB', 'MB', 'GB', 'TB', 'PB'];

/** `12 bytes`, `1.2 MB`: three digits, by thousands. */
export function size(bytes: number): string {
  const unit = bytes < 1000 ? 0 : Math.min(Math.floor(Math.log10(bytes) / 3), UNITS.length - 1);
  const number = unit === 0 ? String(bytes) : (bytes / 1000 ** unit).toPrecision(3);
  return `${number} ${UNITS[unit] ?? ''}`;
}

/** What is wrong now, a line each. `now` in ms since 1970. */
export const conditionLines = (conditions: readonly Condition[], now: number): readonly string[] =>
  conditions.map(
    ({ kind, subject, since, text }) => `! ${kind} ${subject}, for ${span(now - since)}: ${text}`,
  );

/** The farm's figures as lines of text. `now` in ms since 1970. */
export function figureLines(its: Statistics, now: number): readonly string[] {
  const ago = (at: number) => `${span(now - at)} ago`;
  const waiting = its.queue.map(([abi, platform, builds]) => `${abi} ${platform} ${count(builds)}`);
  const rows: readonly (readonly [string, string])[] = [
    ['packages', `${count(its.packages)}, ${count(its.packages_built)} with a wheel`],
    ['versions', count(its.versions)],
    ['wheels', `${count(its.files)}, ${size(its.files_bytes)}`],
    [
      'builds',
      `${count(its.builds)}, ${count(its.builds_failed)} failed, ${count(its.builds_retried)} to be tried again`,
    ],
    [
      'lately',
      `${count(its.builds_last_hour)} in an hour; ${count(its.builds_last_day)} in 24, ` +
        `${count(its.builds_succeeded_last_day)} of them succeeded`,
    ],
    [
      'downloads',
      `${count(its.downloads)}, ${count(its.downloads_last_day)} in 24 hours, ${count(its.downloads_last_month)} in 30 days`,
    ],
    ['being built', count(its.building)],
    ['waiting', waiting.length === 0 ? 'for no ABI' : waiting.join(', ')],
    [
      'oldest wait',
      its.oldest_release === null ? 'no new release waits' : `came out ${ago(its.oldest_release)}`,
    ],
    ['disk', its.disk_total === 0 ? 'unknown' : `${size(its.disk_free)} of ${size(its.disk_total)} free`],
    ['database', size(its.database_bytes)],
    [
      'index',
      its.last_event === null ? 'has told nothing yet' : `last told something new ${ago(its.last_event)}`,
    ],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`);
}
