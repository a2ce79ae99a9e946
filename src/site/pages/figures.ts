import type { Statistics } from '../../protocols/statistics.js';
import { formatBytes, html, timeElement, type Html } from './html.js';
import { formatCount } from '../../units.js';

type FigureUnit = 'count' | 'bytes' | 'time';
/** The statistics that are a single number. */
type NumericStatistic = {
  [K in keyof Statistics]: Statistics[K] extends number | null ? K : never;
}[keyof Statistics];

/** The label of each figure on every page, and its unit, in the order in which figures are shown. */
const FIGURES = {
  packages: ['packages', 'count'],
  packages_built: ['packages with wheels', 'count'],
  versions: ['versions', 'count'],
  files: ['wheels', 'count'],
  files_bytes: ['size of the wheels', 'bytes'],
  builds: ['builds', 'count'],
  builds_failed: ['failed builds', 'count'],
  builds_retried: ['failed builds that are retried', 'count'],
  builds_last_hour: ['builds in the last hour', 'count'],
  builds_succeeded_last_hour: ['successful builds in the last hour', 'count'],
  builds_last_day: ['builds in the last 24 hours', 'count'],
  builds_succeeded_last_day: ['successful builds in the last 24 hours', 'count'],
  building: ['being built now', 'count'],
  oldest_release: ['oldest waiting release', 'time'],
  downloads: ['downloads', 'count'],
  downloads_last_day: ['downloads in the last 24 hours', 'count'],
  downloads_last_month: ['downloads in the last 30 days', 'count'],
  disk_total: ['disk space', 'bytes'],
  disk_free: ['free disk space', 'bytes'],
  database_bytes: ['database size', 'bytes'],
  counted: ['counted at', 'time'],
  last_event: ['last update from the index', 'time'],
} as const satisfies Record<NumericStatistic, readonly [label: string, unit: FigureUnit]>;

type FigureName = keyof typeof FIGURES;
const ALL_FIGURES = Object.keys(FIGURES) as readonly FigureName[];

/** Formats a figure for people. */
function formatFigure(statistics: Statistics, name: FigureName): Html {
  const value = statistics[name];
  if (value === null) return html`–`;
  const unit: FigureUnit = FIGURES[name][1];
  if (unit === 'time') return timeElement(value);
  return html`${unit === 'bytes' ? formatBytes(value) : formatCount(value)}`;
}

/** Returns figures as a list of labels and values, with the CSS class `kind`; all figures by default. */
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
