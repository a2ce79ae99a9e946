import type { Condition } from '../protocols/conditions.js';
import type { Statistics } from '../protocols/statistics.js';
import { formatDuration } from './slave-table.js';
import { formatCount, formatQuantity } from '../units.js';

/** A label, and the text for it. */
export type FigureRow = readonly [label: string, text: string];

const UNITS = ['', 'kB', 'MB', 'GB', 'TB', 'PB'];

/** Formats a size with three digits and a decimal unit: `12 bytes`, `1.20 MB`. */
export function formatBytes(bytes: number): string {
  const unit = bytes < 1000 ? 0 : Math.min(Math.floor(Math.log10(bytes) / 3), UNITS.length - 1);
  if (unit === 0) return formatQuantity(bytes, 'byte');
  return `${(bytes / 1000 ** unit).toPrecision(3)} ${UNITS[unit] ?? ''}`;
}

/** Formats current conditions, one line each. `now` is in ms since 1970. */
export const formatConditions = (conditions: readonly Condition[], now: number): readonly string[] =>
  conditions.map(
    ({ kind, subject, since, text }) => `! ${kind} ${subject}, for ${formatDuration(now - since)}: ${text}`,
  );

/** Formats labels and texts in two columns, one line each. */
export function formatRows(rows: readonly FigureRow[]): readonly string[] {
  const width = Math.max(...rows.map(([label]) => label.length));
  return rows.map(([label, text]) => `${label.padEnd(width)}  ${text}`);
}

/** Returns the farm's statistics as rows for formatRows(). `now` is in ms since 1970. */
export function statisticsRows(statistics: Statistics, now: number): readonly FigureRow[] {
  const ago = (time: number) => `${formatDuration(now - time)} ago`;
  const waiting = statistics.queue.map(
    ([abi, platform, builds]) => `${abi} ${platform} ${formatCount(builds)}`,
  );
  return [
    [
      'packages',
      `${formatCount(statistics.packages)}, ${formatCount(statistics.packages_built)} with a wheel`,
    ],
    ['versions', formatCount(statistics.versions)],
    ['wheels', `${formatCount(statistics.files)}, ${formatBytes(statistics.files_bytes)}`],
    [
      'builds',
      `${formatCount(statistics.builds)}, ${formatCount(statistics.builds_failed)} failed, ${formatCount(statistics.builds_retried)} to be retried`,
    ],
    [
      'recently',
      `${formatQuantity(statistics.builds_last_hour, 'build')} in 1 hour, ${formatCount(statistics.builds_succeeded_last_hour)} succeeded; ` +
        `${formatCount(statistics.builds_last_day)} in 24 hours, ${formatCount(statistics.builds_succeeded_last_day)} succeeded`,
    ],
    [
      'downloads',
      `${formatCount(statistics.downloads)}, ${formatCount(statistics.downloads_last_day)} in 24 hours, ${formatCount(statistics.downloads_last_month)} in 30 days`,
    ],
    ['building', formatCount(statistics.building)],
    ['waiting', waiting.length === 0 ? 'none' : waiting.join(', ')],
    [
      'oldest wait',
      statistics.oldest_release === null
        ? 'no new release is waiting'
        : `released ${ago(statistics.oldest_release)}`,
    ],
    [
      'disk',
      statistics.disk_total === 0
        ? 'unknown'
        : `${formatBytes(statistics.disk_free)} of ${formatBytes(statistics.disk_total)} free`,
    ],
    ['database', formatBytes(statistics.database_bytes)],
    ['index', statistics.last_event === null ? 'no event yet' : `last event ${ago(statistics.last_event)}`],
  ];
}
