import type { EndedBuild, HomePageData } from '../../protocols/site.js';
import type { Statistics } from '../../protocols/statistics.js';
import { BUILDS_CHART, DOWNLOADS_CHART, renderChart, wheelChart } from './charts.js';
import { renderPage, searchForm } from './design.js';
import { figureList } from './figures.js';
import { formatDuration, html, timeElement, raw, type Html } from './html.js';
import { configurationCards } from './install.js';
import { faqPath, farmPath, homePath, logPath, packagesPath } from '../layout.js';
import { formatCount, formatQuantity } from '../../units.js';

/** The figures in large type below the search. The page lists all figures further down. */
const HEADLINE_FIGURES = [
  'packages',
  'versions',
  'files',
  'files_bytes',
  'builds_last_day',
  'downloads_last_month',
] as const;

export function homePage(statistics: Statistics, front: HomePageData, publicUrl: string | null): string {
  const abis = [...new Set(statistics.queue.map(([abi]) => abi))];
  const platforms = [...new Set(statistics.queue.map(([, platform]) => platform))];
  const lastDay = statistics.builds_last_day;
  return renderPage(
    {
      title: 'piw: Python wheels, built from source',
      description: `${formatQuantity(statistics.files, 'wheel')} of ${formatQuantity(statistics.packages, 'package')}, for pip, uv and Poetry.`,
      root: './',
      publicUrl,
      path: homePath,
      kind: 'home',
      hasSearch: true,
    },
    html`<section class="hero">
        <div>
          <h1>Python wheels, built&nbsp;from&nbsp;source</h1>
          <p class="lead">
            This farm builds wheels from the source that projects publish, and serves them as a package index
            for pip, uv and Poetry.
          </p>
          ${searchForm('./', 'large')}
          ${platforms.length > 0 && html`<p class="for"><span>Built for</span> ${abis.map((abi) => html`<span class="tag">${abi}</span> `)}<span>on</span> ${platforms.map((platform) => html`<span class="tag">${platform}</span> `)}</p>`}
        </div>
        ${wheelChart(front.history, [formatCount(lastDay), lastDay === 1 ? 'build in 24 h' : 'builds in 24 h'])}
      </section>
      ${figureList(statistics, 'figures', HEADLINE_FIGURES)}
      <div class="two">
        ${renderChart(BUILDS_CHART, front.history)}${renderChart(DOWNLOADS_CHART, front.history)}
      </div>
      <div class="two">
        <section class="card" aria-labelledby="latest">
          <h2 id="latest">Latest builds</h2>
          ${latestBuilds(front.latest)}
        </section>
        <section class="card" aria-labelledby="popular">
          <h2 id="popular">Most downloaded</h2>
          ${popularPackages(front.popular)}
        </section>
      </div>
      <section aria-labelledby="use">
        <h2 id="use">Use this farm</h2>
        <p>
          Point your installer at this farm’s index, for one command or permanently. Installers verify the
          hash of every wheel. With the permanent settings, packages that are not here still come from PyPI.
          <a href="${faqPath}#pip">More about each installer</a>
        </p>
        ${configurationCards(publicUrl)}
      </section>
      <section aria-labelledby="all">
        <h2 id="all">All figures</h2>
        ${figureList(statistics, 'facts')}
        <p class="soft">
          Also available <a href="statistics.json">as JSON</a>. The queue and the slaves are on
          <a href="${farmPath}">the farm’s page</a>.
        </p>
      </section>`,
  );
}

/** Limits the list of latest builds. */
const MAX_LATEST_ROWS = 12;

/** Lists the latest builds. Builds of one package with the same outcome share a row. */
function latestBuilds(builds: readonly EndedBuild[]): Html {
  if (builds.length === 0)
    return html`<p class="empty">No builds yet. <a href="${farmPath}">See the queue.</a></p>`;
  return html`<ul class="rows">
    ${groupBuilds(builds).slice(0, MAX_LATEST_ROWS).map(latestRow)}
  </ul>`;
}

type BuildGroup = readonly [newest: EndedBuild, ...older: EndedBuild[]];

/** Groups builds by package and outcome; a group stands where its newest build stood. */
function groupBuilds(builds: readonly EndedBuild[]): readonly BuildGroup[] {
  const groups = new Map<string, [EndedBuild, ...EndedBuild[]]>();
  for (const build of builds) {
    const key = `${build.package} ${stateWord(build)}`;
    const group = groups.get(key);
    if (group) group.push(build);
    else groups.set(key, [build]);
  }
  return [...groups.values()];
}

const stateWord = ({ status, imported }: EndedBuild): string =>
  !status ? 'failed' : imported ? 'imported' : 'built';

function latestRow([build, ...older]: BuildGroup): Html {
  const word = stateWord(build);
  const sameVersion = older.filter(({ version }) => version === build.version);
  const abis = [...new Set([build, ...sameVersion].map(({ abi }) => abi))].sort();
  const others = new Set(older.map(({ version }) => version));
  others.delete(build.version);
  const more = others.size === 0 ? '' : ` and ${formatQuantity(others.size, 'other version')}`;
  const took = build.imported || older.length > 0 ? '' : `in ${formatDuration(build.duration_s)}, `;
  return html`<li>
    <a
      class="state ${build.status ? 'built' : 'failed'}"
      href="${logPath(build.build_id)}${!build.status && raw('#why')}"
      >${word}<span class="unseen">: log of ${build.package} ${build.version} for ${build.abi}</span></a
    >
    <span
      ><a class="name" href="project/${build.package}/">${build.package} ${build.version}</a>
      <span class="soft">${abis.join(', ')}${more}</span></span
    >
    <span class="soft end">${took}${timeElement(build.built)}</span>
  </li>`;
}

function popularPackages(packages: HomePageData['popular']): Html {
  if (packages.length === 0)
    return html`<p class="empty">No downloads yet. <a href="${packagesPath}">All packages</a></p>`;
  const maxDownloads = Math.max(...packages.map(([, downloads]) => downloads), 1);
  return html`<ol class="ranks">
    ${packages.slice(0, 12).map(
      ([name, downloads]) =>
        html`<li>
          <a class="name" href="project/${name}/">${name}</a
          ><meter min="0" max="${maxDownloads}" value="${downloads}" aria-hidden="true"></meter
          ><span class="n"
            >${formatCount(downloads)}<span class="unseen">
              ${downloads === 1 ? 'download' : 'downloads'} in the last 30 days</span
            ></span
          >
        </li>`,
    )}
  </ol>`;
}

export const statisticsJson = (statistics: Statistics): string => JSON.stringify(statistics);
