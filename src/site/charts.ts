import type { History } from '../protocols/site.js';
import { count, escape, html, raw, type Html } from './html.js';

/** One step of a history: [when it began, builds, of them failed, downloads]. */
type Step = History['hours'][number];
/** What is drawn of a step: what ended well (or was downloaded), and what failed. */
type Bar = readonly [good: number, bad: number];

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const two = (n: number): string => String(n).padStart(2, '0');

/** The stretches of time that a chart can show: its name, how many steps at most, and what a step is called. */
const RANGES = [
  {
    key: 'hours',
    label: '48 hours',
    most: 48,
    name: (at: Date) => `${two(at.getUTCHours())}:00`,
    full: (at: Date) => `${String(at.getUTCDate())} ${month(at)}, ${two(at.getUTCHours())}:00`,
  },
  {
    key: 'days',
    label: '30 days',
    most: 30,
    name: (at: Date) => `${String(at.getUTCDate())} ${month(at)}`,
    full: (at: Date) => `${String(at.getUTCDate())} ${month(at)} ${String(at.getUTCFullYear())}`,
  },
  {
    key: 'months',
    label: '2 years',
    most: 24,
    name: (at: Date) => `${month(at)} ${String(at.getUTCFullYear())}`,
    full: (at: Date) => `${month(at)} ${String(at.getUTCFullYear())}`,
  },
] as const;

const month = (at: Date): string => MONTHS[at.getUTCMonth()] ?? '';

/** The next of 1, 2, 2.5, 5, 10… times a power of ten: what the axis ends at. At least 4, so that its half is whole. */
function ceiling(most: number): number {
  if (most <= 4) return 4;
  const power = 10 ** Math.floor(Math.log10(most));
  const step = [1, 2, 4, 5, 6, 8, 10].find((one) => one * power >= most) ?? 10;
  return step * power;
}

const short = (n: number): string =>
  n >= 1e6 ? `${String(Math.round(n / 1e5) / 10)}M` : n >= 1e4 ? `${String(Math.round(n / 1e3))}k` : count(n);

export interface Chart {
  /** Of the ids in the page. */
  readonly id: string;
  readonly title: string;
  readonly bar: (step: Step) => Bar;
  /** What good and bad are called; no bad: the chart has only one kind. */
  readonly names: readonly [good: string, bad: string | undefined];
}

export const BUILDS: Chart = {
  id: 'builds',
  title: 'Builds',
  bar: ([, builds, failed]) => [builds - failed, failed],
  names: ['succeeded', 'failed'],
};
export const DOWNLOADS: Chart = {
  id: 'downloads',
  title: 'Downloads',
  bar: ([, , , downloads]) => [downloads, 0],
  names: ['downloads', undefined],
};

/**
 * A chart of bars, for each stretch of time; which one is shown, the reader chooses with radio buttons, which need
 * no script. The same figures stand in a table, for whoever can't see the bars.
 */
export function chart(its: Chart, history: History): Html {
  const ranges = RANGES.map((range) => ({ range, steps: history[range.key].slice(-range.most) }));
  // A farm that has just started has more to show in hours.
  const first = history.days.length > 3 ? 'days' : 'hours';
  const choices = ranges.map(
    ({ range }) =>
      html`<input
          type="radio"
          name="${its.id}"
          id="${its.id}-${range.key}"
          class="pick-${range.key}"
          ${range.key === first && raw('checked')}
        />
        <label for="${its.id}-${range.key}">${range.label}</label>`,
  );
  return html`<section class="card chart" aria-labelledby="${its.id}-title">
    <h2 id="${its.id}-title">${its.title}</h2>
    <fieldset>
      <legend class="unseen">${its.title}: which time</legend>
      ${choices} ${ranges.map(({ range, steps }) => panel(its, range, steps))}
    </fieldset>
  </section>`;
}

function panel(its: Chart, range: (typeof RANGES)[number], steps: readonly Step[]): Html {
  const bars = steps.map(its.bar);
  const sum = bars.reduce<Bar>(([good, bad], [g, b]) => [good + g, bad + b], [0, 0]);
  if (sum[0] + sum[1] === 0)
    return html`<div class="panel ${range.key}"><p class="empty">Nothing in this time yet.</p></div>`;
  const top = ceiling(Math.max(...bars.map(([good, bad]) => good + bad)));
  const at = steps.map(([began]) => new Date(began));
  const ends = [at[0], at[Math.floor((at.length - 1) / 2)], at.at(-1)];
  const [good, bad] = its.names;
  return html`<div class="panel ${range.key}">
    <p class="sum">
      <span class="key good">${count(sum[0])} ${good}</span
      >${bad !== undefined && html` <span class="key bad">${count(sum[1])} ${bad}</span>`}
    </p>
    <div class="plot" aria-hidden="true">
      <div class="axis y"><span>${short(top)}</span><span>${short(top / 2)}</span><span>0</span></div>
      ${drawing(bars, at, top, range.full, its.names)}
      <div class="axis x">${ends.map((end) => html`<span>${end ? range.name(end) : ''}</span>`)}</div>
    </div>
    <details>
      <summary>As a table</summary>
      <div class="scroll" tabindex="0" role="region" aria-label="${its.title}, ${range.label}">
        <table>
          <thead>
            <tr>
              <th scope="col">from (UTC)</th>
              <th scope="col" class="n">${good}</th>
              ${bad !== undefined && html`<th scope="col" class="n">${bad}</th>`}
            </tr>
          </thead>
          <tbody>
            ${bars.map(
              ([g, b], i) =>
                html`<tr>
                  <th scope="row">${range.full(at[i] ?? new Date(0))}</th>
                  <td class="n">${count(g)}</td>
                  ${bad !== undefined && html`<td class="n">${count(b)}</td>`}
                </tr>`,
            )}
          </tbody>
        </table>
      </div>
    </details>
  </div>`;
}

/** The bars, as wide as there is room; each says what it is when it is pointed at. */
function drawing(
  bars: readonly Bar[],
  at: readonly Date[],
  top: number,
  full: (at: Date) => string,
  [good, bad]: Chart['names'],
): Html {
  const slots = bars.map(([g, b], i) => {
    const [up, down] = [(g / top) * 100, (b / top) * 100];
    const words = bad === undefined ? `${count(g)} ${good}` : `${count(g)} ${good}, ${count(b)} ${bad}`;
    const x = String(i * 10 + 1.5);
    const rect = (height: number, y: number, kind: string): string =>
      height === 0
        ? ''
        : `<rect class="${kind}" x="${x}" width="7" y="${y.toFixed(2)}" height="${height.toFixed(2)}"/>`;
    return `<g><title>${escape(`${full(at[i] ?? new Date(0))}: ${words}`)}</title><rect class="slot" x="${String(i * 10)}" width="10" y="0" height="100"/>${rect(up, 100 - up, 'good')}${rect(down, 100 - up - down, 'bad')}</g>`;
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
 * The wheel: each of its spokes is one of the last 48 hours, as long as builds ended in it, the part of those that
 * failed at its outer end; the newest is at the top, and they go back clockwise.
 */
export function wheel(history: History, middle: readonly [figure: string, label: string]): Html {
  const hours = history.hours.slice(-SPOKES).toReversed();
  const most = Math.max(1, ...hours.map(([, builds]) => builds));
  const spokes = Array.from({ length: SPOKES }, (_, i) => {
    const [, builds, failed] = hours[i] ?? [0, 0, 0, 0];
    const angle = (i / SPOKES) * 2 * Math.PI - Math.PI / 2;
    const reach = (share: number): number => HUB + 12 + (RIM - HUB - 24) * share;
    const line = (from: number, to: number, kind: string): string => {
      const end = (r: number): string =>
        `${(200 + r * Math.cos(angle)).toFixed(1)} ${(200 + r * Math.sin(angle)).toFixed(1)}`;
      return `<path class="${kind}" d="M${end(from)}L${end(to)}"/>`;
    };
    // The root of the share, so that a quiet hour beside a busy one is still to be seen.
    const [well, all] = [Math.sqrt((builds - failed) / most), Math.sqrt(builds / most)];
    return (
      line(reach(0), reach(1), 'idle') +
      (well > 0 ? line(reach(0), reach(well), 'good') : '') +
      (all > well ? line(reach(well), reach(all), 'bad') : '')
    );
  });
  const said =
    hours.length === 0 ? 'No builds yet.' : 'The builds of each of the last 48 hours, as spokes of a wheel.';
  return html`<svg
    class="wheel"
    viewBox="0 0 400 400"
    role="img"
    aria-label="${said} ${middle[0]} ${middle[1]}."
  >
    <circle class="rim" cx="200" cy="200" r="${RIM}" />
    <circle class="rim thin" cx="200" cy="200" r="${RIM - 7}" />
    ${raw(spokes.join(''))}
    <circle class="hub" cx="200" cy="200" r="${HUB}" />
    <text class="number" x="200" y="203">${middle[0]}</text>
    <text class="label" x="200" y="226">${middle[1]}</text>
  </svg>`;
}
