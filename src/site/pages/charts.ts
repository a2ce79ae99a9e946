import type { ActivityHistory } from '../../protocols/site.js';
import { escape, html, raw, type Html } from './html.js';
import { formatCount, formatQuantity } from '../../units.js';

/** One step of a history: [start, builds, of these failed, downloads]. */
type HistoryStep = ActivityHistory['hours'][number];
/** The counts that a step's bar shows: successful builds (or downloads), and failures. */
type Bar = readonly [good: number, bad: number];

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const twoDigits = (n: number): string => String(n).padStart(2, '0');

/** The time ranges of a chart: its label, its maximum number of steps, and how a step is labelled. */
const RANGES = [
  {
    key: 'hours',
    label: '48 hours',
    maxSteps: 48,
    name: (at: Date) => `${twoDigits(at.getUTCHours())}:00`,
    full: (at: Date) => `${at.getUTCDate()} ${month(at)}, ${twoDigits(at.getUTCHours())}:00`,
  },
  {
    key: 'days',
    label: '30 days',
    maxSteps: 30,
    name: (at: Date) => `${at.getUTCDate()} ${month(at)}`,
    full: (at: Date) => `${at.getUTCDate()} ${month(at)} ${at.getUTCFullYear()}`,
  },
  {
    key: 'months',
    label: '2 years',
    maxSteps: 24,
    name: (at: Date) => `${month(at)} ${at.getUTCFullYear()}`,
    full: (at: Date) => `${month(at)} ${at.getUTCFullYear()}`,
  },
] as const;

const month = (at: Date): string => MONTHS[at.getUTCMonth()] ?? '';

/**
 * Returns the end of the axis: the smallest of 1, 2, 4, 5, 6, 8 or 10 times a power of ten that is not below `maximum`,
 * and at least 4, so that half of it is a whole number.
 */
function ceiling(maximum: number): number {
  if (maximum <= 4) return 4;
  const power = 10 ** Math.floor(Math.log10(maximum));
  const step = [1, 2, 4, 5, 6, 8, 10].find((factor) => factor * power >= maximum) ?? 10;
  return step * power;
}

const formatShort = (n: number): string =>
  n >= 1e6 ? `${Math.round(n / 1e5) / 10}M` : n >= 1e4 ? `${Math.round(n / 1e3)}k` : formatCount(n);

/** The word after a count of one, and after any other count. */
type Label = readonly [singular: string, plural: string];

interface Chart {
  /** Prefix of the ids in the page. */
  readonly id: string;
  readonly title: string;
  readonly bar: (step: HistoryStep) => Bar;
  /** Labels of the two counts; `bad` is undefined if the chart has only one. */
  readonly names: readonly [good: Label, bad: Label | undefined];
}

export const BUILDS_CHART: Chart = {
  id: 'builds',
  title: 'Builds',
  bar: ([, builds, failed]) => [builds - failed, failed],
  names: [
    ['succeeded', 'succeeded'],
    ['failed', 'failed'],
  ],
};
export const DOWNLOADS_CHART: Chart = {
  id: 'downloads',
  title: 'Downloads',
  bar: ([, , , downloads]) => [downloads, 0],
  names: [['download', 'downloads'], undefined],
};

/**
 * Returns a bar chart with one panel for each time range. The reader switches between them with radio buttons, which
 * need no script. Each panel also has its figures as a table, for readers who can't see the bars.
 */
export function renderChart(spec: Chart, history: ActivityHistory): Html {
  const ranges = RANGES.map((range) => ({ range, steps: history[range.key].slice(-range.maxSteps) }));
  // A new farm has more to show by hours.
  const first = history.days.length > 3 ? 'days' : 'hours';
  const choices = ranges.map(
    ({ range }) =>
      html`<input
          type="radio"
          name="${spec.id}"
          id="${spec.id}-${range.key}"
          class="pick-${range.key}"
          ${range.key === first && raw('checked')}
        />
        <label for="${spec.id}-${range.key}">${range.label}</label>`,
  );
  return html`<section class="card chart" aria-labelledby="${spec.id}-title">
    <h2 id="${spec.id}-title">${spec.title}</h2>
    <fieldset>
      <legend class="unseen">${spec.title}: time range</legend>
      ${choices} ${ranges.map(({ range, steps }) => panel(spec, range, steps))}
    </fieldset>
  </section>`;
}

function panel(spec: Chart, range: (typeof RANGES)[number], steps: readonly HistoryStep[]): Html {
  const bars = steps.map(spec.bar);
  const sum = bars.reduce<Bar>(([good, bad], [g, b]) => [good + g, bad + b], [0, 0]);
  if (sum[0] + sum[1] === 0)
    return html`<div class="panel ${range.key}"><p class="empty">Nothing in this period yet.</p></div>`;
  const axisMax = ceiling(Math.max(...bars.map(([good, bad]) => good + bad)));
  const times = steps.map(([began]) => new Date(began));
  const axisTimes = [times[0], times[Math.floor((times.length - 1) / 2)], times.at(-1)];
  const [good, bad] = spec.names;
  return html`<div class="panel ${range.key}">
    <p class="sum">
      <span class="key good">${formatQuantity(sum[0], ...good)}</span
      >${bad !== undefined && html` <span class="key bad">${formatQuantity(sum[1], ...bad)}</span>`}
    </p>
    <div class="plot" aria-hidden="true">
      <div class="axis y">
        <span>${formatShort(axisMax)}</span><span>${formatShort(axisMax / 2)}</span><span>0</span>
      </div>
      ${barsSvg(bars, times, axisMax, range.full, spec.names)}
      <div class="axis x">${axisTimes.map((end) => html`<span>${end ? range.name(end) : ''}</span>`)}</div>
    </div>
    <details>
      <summary>As a table</summary>
      <div class="scroll" tabindex="0" role="region" aria-label="${spec.title}, ${range.label}">
        <table>
          <thead>
            <tr>
              <th scope="col">from (UTC)</th>
              <th scope="col" class="n">${good[1]}</th>
              ${bad !== undefined && html`<th scope="col" class="n">${bad[1]}</th>`}
            </tr>
          </thead>
          <tbody>
            ${bars.map(
              ([g, b], i) =>
                html`<tr>
                  <th scope="row">${range.full(times[i] ?? new Date(0))}</th>
                  <td class="n">${formatCount(g)}</td>
                  ${bad !== undefined && html`<td class="n">${formatCount(b)}</td>`}
                </tr>`,
            )}
          </tbody>
        </table>
      </div>
    </details>
  </div>`;
}

/** Returns the bars as an SVG that fills the available width. Each bar has its step and figures as a tooltip. */
function barsSvg(
  bars: readonly Bar[],
  times: readonly Date[],
  axisMax: number,
  full: (at: Date) => string,
  [good, bad]: Chart['names'],
): Html {
  const slots = bars.map(([g, b], i) => {
    const [up, down] = [(g / axisMax) * 100, (b / axisMax) * 100];
    const text = formatQuantity(g, ...good) + (bad === undefined ? '' : `, ${formatQuantity(b, ...bad)}`);
    const x = String(i * 10 + 1.5);
    const rect = (height: number, y: number, kind: string): string =>
      height === 0
        ? ''
        : `<rect class="${kind}" x="${x}" width="7" y="${y.toFixed(2)}" height="${height.toFixed(2)}"/>`;
    return `<g><title>${escape(`${full(times[i] ?? new Date(0))}: ${text}`)}</title><rect class="slot" x="${i * 10}" width="10" y="0" height="100"/>${rect(up, 100 - up, 'good')}${rect(down, 100 - up - down, 'bad')}</g>`;
  });
  const wide = String(bars.length * 10);
  return raw(
    `<svg viewBox="0 0 ${wide} 100" preserveAspectRatio="none"><path class="grid" d="M0 0H${wide}M0 50H${wide}M0 100H${wide}"/>${slots.join('')}</svg>`,
  );
}

const SPOKES = 48;
const HUB = 62;
const RIM = 188;

/**
 * Returns the wheel. Each spoke is one of the last 48 hours: its length shows how many builds ended in that hour, and
 * its outer part how many of them failed. The newest hour is at the top; older ones follow clockwise.
 */
export function wheelChart(history: ActivityHistory, centre: readonly [figure: string, label: string]): Html {
  const hours = history.hours.slice(-SPOKES).toReversed();
  const maxBuilds = Math.max(1, ...hours.map(([, builds]) => builds));
  const spokes = Array.from({ length: SPOKES }, (_, i) => {
    const [, builds, failed] = hours[i] ?? [0, 0, 0, 0];
    const angle = (i / SPOKES) * 2 * Math.PI - Math.PI / 2;
    const reach = (share: number): number => HUB + 12 + (RIM - HUB - 24) * share;
    const line = (from: number, to: number, kind: string): string => {
      const end = (r: number): string =>
        `${(200 + r * Math.cos(angle)).toFixed(1)} ${(200 + r * Math.sin(angle)).toFixed(1)}`;
      return `<path class="${kind}" d="M${end(from)}L${end(to)}"/>`;
    };
    // The square root keeps a quiet hour visible next to a busy one.
    const [succeeded, total] = [Math.sqrt((builds - failed) / maxBuilds), Math.sqrt(builds / maxBuilds)];
    return (
      line(reach(0), reach(1), 'idle') +
      (succeeded > 0 ? line(reach(0), reach(succeeded), 'good') : '') +
      (total > succeeded ? line(reach(succeeded), reach(total), 'bad') : '')
    );
  });
  const label =
    hours.length === 0
      ? 'No builds yet.'
      : 'Builds in each of the last 48 hours, drawn as the spokes of a wheel.';
  return html`<svg
    class="wheel"
    viewBox="0 0 400 400"
    role="img"
    aria-label="${label} ${centre[0]} ${centre[1]}."
  >
    <circle class="rim" cx="200" cy="200" r="${RIM}" />
    <circle class="rim thin" cx="200" cy="200" r="${RIM - 7}" />
    ${raw(spokes.join(''))}
    <circle class="hub" cx="200" cy="200" r="${HUB}" />
    <text class="number" x="200" y="203">${centre[0]}</text>
    <text class="label" x="200" y="226">${centre[1]}</text>
  </svg>`;
}
