import type { SlaveStatus } from '../../protocols/control.js';
import type { Condition } from '../../protocols/conditions.js';
import type { Answer } from '../../protocols/protocol.js';
import type { OracleVerbs } from '../../protocols/oracle.js';
import type { Statistics } from '../../protocols/statistics.js';
import { renderPage } from './design.js';
import { figureList } from './figures.js';
import { formatBytes, formatDay, formatDuration, html, timeElement, type Html } from './html.js';
import { farmPath } from '../layout.js';
import { formatCount, formatQuantity } from '../../units.js';

export type QueueStatus = Answer<OracleVerbs, 'QUEUE'>;
/** What the site shows of a slave: everything but its NATS user. */
export type PublicSlave = Omit<SlaveStatus, 'user'>;

/** If the queue was counted longer ago than this, the page says when. */
const STALE_COUNTS_S = 120;
const PRIORITY_LABELS = ['backlog', 'today’s releases', 'requests'];
/** On larger farms, active slaves are listed first, and those beyond this limit are only counted. */
const MAX_SHOWN_SLAVES = 1000;

/** The label and the colour of each slave state. */
const ACTIVITIES: Readonly<Record<string, readonly [label: string, colour: string]>> = {
  building: ['building', 'building'],
  sending: ['sending wheels', 'built'],
  idle: ['ready', 'waiting'],
  waiting: ['waiting for work', 'waiting'],
  resting: ['resting', 'failed'],
  gone: ['gone', 'none'],
};

/** Returns the farm's page. `queue` and `slaves` are the state at `now`; null if the source did not answer. */
export function farmPage(
  statistics: Statistics,
  queue: QueueStatus | null,
  slaves: readonly PublicSlave[] | null,
  now: number,
  publicUrl: string | null,
): string {
  return renderPage(
    {
      title: 'The farm – piw',
      description: 'The build queue, and what each slave is doing.',
      root: './',
      publicUrl,
      path: farmPath,
      section: 'farm',
      kind: 'farm',
    },
    html`<h1>The farm</h1>
      <p class="lead">
        The build queue and the slaves as of ${timeElement(now)}. This page is updated every minute.
      </p>
      ${statistics.conditions.length > 0 && conditionsSection(statistics.conditions)}
      <section aria-labelledby="queue">
        <h2 id="queue">Queue</h2>
        ${queue === null ? unavailableNotice('The database') : queueSection(queue, statistics)}
      </section>
      <section aria-labelledby="slaves">
        <h2 id="slaves">Slaves</h2>
        ${slaves === null ? unavailableNotice('The Slave Driver') : slavesSection(slaves, now)}
      </section>
      <section aria-labelledby="machine">
        <h2 id="machine">Storage</h2>
        ${figureList(statistics, 'facts', ['disk_total', 'disk_free', 'files_bytes', 'database_bytes', 'last_event'])}
      </section>`,
  );
}

/** Returns the list of conditions: what keeps parts of the farm from working. */
const conditionsSection = (conditions: readonly Condition[]): Html =>
  html`<section aria-labelledby="conditions">
    <h2 id="conditions">Current problems</h2>
    <ul class="notice failed">
      ${conditions.map(
        ({ kind, subject, since, text }) =>
          html`<li>
            <strong>${kind.replaceAll('-', ' ')}</strong> ${subject}: ${text}, since ${timeElement(since)}
          </li>`,
      )}
    </ul>
  </section>`;

const unavailableNotice = (source: string): Html =>
  html`<p class="notice failed">
    ${source} did not answer when this page was written, so this section is empty. The page is updated again
    in a minute.
  </p>`;

function queueSection(queue: QueueStatus, statistics: Statistics): Html {
  const waiting = queue.lengths.reduce((sum, [, , , length]) => sum + length, 0);
  const targets = new Map<string, { abi: string; platform: string; by: number[]; oldest: number | null }>();
  for (const [abi, platform] of statistics.queue)
    targets.set(`${abi} ${platform}`, { abi, platform, by: [0, 0, 0], oldest: null });
  for (const [abi, platform, priority, length, oldest] of queue.lengths) {
    const row = targets.get(`${abi} ${platform}`) ?? { abi, platform, by: [0, 0, 0], oldest: null };
    targets.set(`${abi} ${platform}`, row);
    row.by[priority] = (row.by[priority] ?? 0) + length;
    if (oldest !== null && (row.oldest === null || oldest < row.oldest)) row.oldest = oldest;
  }
  const pace: readonly (readonly [string, string])[] = [
    ['waiting', `${queue.estimated ? 'about ' : ''}${formatCount(waiting)}`],
    ['being built', formatCount(queue.building)],
    ['held back after temporary failures', formatCount(queue.held)],
    ['ended in the last minute', formatCount(queue.last_minute)],
    ['ended in the last hour', formatCount(queue.last_hour)],
    [
      'estimated time left',
      waiting === 0
        ? 'none'
        : queue.last_hour === 0
          ? 'unknown'
          : formatDuration((waiting / queue.last_hour) * 3600),
    ],
  ];
  return html`<dl class="figures">
      ${pace.map(
        ([term, value]) =>
          html`<div>
            <dt>${term}</dt>
            <dd>${value}</dd>
          </div>`,
      )}
    </dl>
    ${queue.age_s > STALE_COUNTS_S && html`<p class="soft">The queue was counted ${formatDuration(queue.age_s)} earlier.</p>`}
    ${
      targets.size === 0
        ? html`<p class="empty">No targets are registered yet. Add one with <code>piw abi add</code>.</p>`
        : html`<div class="scroll" tabindex="0" role="region" aria-label="The queue by target">
            <table>
              <thead>
                <tr>
                  <th scope="col">ABI</th>
                  <th scope="col">platform</th>
                  ${PRIORITY_LABELS.toReversed().map((name) => html`<th scope="col" class="n">${name}</th>`)}
                  <th scope="col" class="n">oldest release</th>
                </tr>
              </thead>
              <tbody>
                ${[...targets.values()].map(
                  ({ abi, platform, by, oldest }) =>
                    html`<tr>
                      <th scope="row">${abi}</th>
                      <td>${platform}</td>
                      ${by.toReversed().map((length) => html`<td class="n">${formatCount(length)}</td>`)}
                      <td class="n">${oldest === null ? '' : formatDay(oldest)}</td>
                    </tr>`,
                )}
              </tbody>
            </table>
          </div>`
    }`;
}

function slavesSection(slaves: readonly PublicSlave[], now: number): Html {
  if (slaves.length === 0)
    return html`<p class="empty">No slaves are connected. Start one with <code>piw slave</code>.</p>`;
  const stateOrder = ['building', 'sending', 'idle', 'waiting', 'resting', 'gone'];
  const rank = ({ state }: PublicSlave) =>
    (stateOrder.indexOf(state) + stateOrder.length + 1) % (stateOrder.length + 1);
  const sorted = [...slaves].sort((a, b) => rank(a) - rank(b) || a.slave_id - b.slave_id);
  const states = stateOrder
    .map((state) => [state, slaves.filter((slave) => slave.state === state).length] as const)
    .filter(([, number]) => number > 0);
  return html`<p>
      ${formatQuantity(slaves.length, 'slave')}:
      ${states.map(([state, number], i) => html`${i > 0 && ', '}${formatCount(number)} ${ACTIVITIES[state]?.[0] ?? state}`)}.
    </p>
    <div class="scroll" tabindex="0" role="region" aria-label="The slaves and their states">
      <table>
        <thead>
          <tr>
            <th scope="col">slave</th>
            <th scope="col">builds for</th>
            <th scope="col">state</th>
            <th scope="col">activity</th>
            <th scope="col" class="n">for</th>
            <th scope="col" class="n">free memory</th>
            <th scope="col" class="n">load</th>
          </tr>
        </thead>
        <tbody>
          ${sorted.slice(0, MAX_SHOWN_SLAVES).map((slave) => slaveRow(slave, now))}
        </tbody>
      </table>
    </div>
    ${sorted.length > MAX_SHOWN_SLAVES && html`<p class="soft">And ${formatQuantity(sorted.length - MAX_SHOWN_SLAVES, 'more slave')}.</p>`}`;
}

function slaveRow(slave: PublicSlave, now: number): Html {
  const [label, colour] = ACTIVITIES[slave.state] ?? [slave.state, 'none'];
  const activity =
    slave.package === null
      ? html`${slave.note ?? ''}`
      : html`<a href="project/${encodeURIComponent(slave.package)}/">${slave.package}</a>
          ${slave.version}${slave.note !== null && html` <span class="soft">${slave.note}</span>`}`;
  const [, , , memory, load] = slave.stats ?? [0, 0, 0, null, null];
  return html`<tr>
    <th scope="row">${slave.label} <small>${slave.slave_id}</small></th>
    <td>${slave.abi} <small>${slave.platform}</small></td>
    <td><span class="state ${colour}">${label}</span></td>
    <td>${activity}</td>
    <td class="n">${formatDuration(Math.max(0, now - slave.since) / 1000)}</td>
    <td class="n">${memory === null ? '' : formatBytes(memory)}</td>
    <td class="n">${load === null ? '' : load.toFixed(1)}</td>
  </tr> `;
}
