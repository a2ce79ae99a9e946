import type { Statistics } from '../protocols/statistics.js';
import { formatBytes, formatCount, html, timeElement, type Html } from './html.js';

type FigureUnit = 'count' | 'bytes' | 'time';
/** The statistics that are one number each. */
type NumericStatistic = {
  [K in keyof Statistics]: Statistics[K] extends number | null ? K : never;
}[keyof Statistics];

/** What each figure is called on every page, and what it counts; in the order in which they are shown. */
export const FIGURES = {
  packages: ['packages', 'count'],
  packages_built: ['of them with a wheel', 'count'],
  versions: ['versions', 'count'],
  files: ['wheels', 'count'],
  files_bytes: ['size of the wheels', 'bytes'],
  builds: ['builds', 'count'],
  builds_failed: ['of them failed', 'count'],
  builds_retried: ['of them to be tried again', 'count'],
  builds_last_hour: ['builds in the last hour', 'count'],
  builds_last_day: ['builds in the last 24 hours', 'count'],
  builds_succeeded_last_day: ['of them succeeded', 'count'],
  building: ['being built now', 'count'],
  oldest_release: ['oldest release that waits', 'time'],
  downloads: ['downloads', 'count'],
  downloads_last_day: ['downloads in the last day', 'count'],
  downloads_last_month: ['downloads in 30 days', 'count'],
  disk_total: ['disk', 'bytes'],
  disk_free: ['of it free', 'bytes'],
  database_bytes: ['database', 'bytes'],
  counted: ['counted', 'time'],
  last_event: ['last news from the index', 'time'],
} as const satisfies Record<NumericStatistic, readonly [label: string, unit: FigureUnit]>;

export type FigureName = keyof typeof FIGURES;
const ALL_FIGURES = Object.keys(FIGURES) as readonly FigureName[];

/** A figure as people read it. */
export function formatFigure(statistics: Statistics, name: FigureName): Html {
  const value = statistics[name];
  if (value === null) return html`–`;
  const unit: FigureUnit = FIGURES[name][1];
  if (unit === 'time') return timeElement(value);
  return html`${unit === 'bytes' ? formatBytes(value) : formatCount(value)}`;
}

/** The figures as a list of names and values; without names, all of them. */
export const figureList = (
  statistics: Statistics,
  kind: string,
  names: readonly FigureName[] = ALL_FIGURES,
): Html =>
  html`<dl class="${kind}">
    ${names.map(
      (name) =>
        html`<div>
          <dt>${FIGURES[name][0]}</dt>
          <dd>${formatFigure(statistics, name)}</dd>
        </div>`,
    )}
  </dl>`;
