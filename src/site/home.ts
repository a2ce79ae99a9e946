import type { EndedBuild, HomePageData } from '../protocols/site.js';
import type { Statistics } from '../protocols/statistics.js';
import { BUILDS_CHART, DOWNLOADS_CHART, renderChart, wheelChart } from './charts.js';
import { renderPage, searchForm } from './design.js';
import { figureList } from './figures.js';
import { formatCount, formatQuantity, formatDuration, html, timeElement, raw, type Html } from './html.js';
import { configurationCards } from './install.js';
import { faqPath, farmPath, homePath, logPath, packagesPath } from './layout.js';

/** In large, below the search; all of them stand further down. */
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
      description: `${formatCount(statistics.files)} wheels of ${formatCount(statistics.packages)} packages, for pip, uv and Poetry.`,
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
            This farm builds what projects publish as source, and offers the wheels as an index that pip, uv
            and Poetry install from.
          </p>
          ${searchForm('./', 'large')}
          ${platforms.length > 0 && html`<p class="for"><span>Built for</span> ${abis.map((abi) => html`<span class="tag">${abi}</span> `)}<span>on</span> ${platforms.map((platform) => html`<span class="tag">${platform}</span> `)}</p>`}
        </div>
        ${wheelChart(front.history, [formatCount(lastDay), lastDay === 1 ? 'build today' : 'builds in a day'])}
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
          Name its index to your installer, for once or for good. Wheels are checked by hash, and what is not
          here yet is still found on PyPI. <a href="${faqPath}#pip">More about each of these</a>
        </p>
        ${configurationCards(publicUrl)}
      </section>
      <section aria-labelledby="all">
        <h2 id="all">All figures</h2>
        ${figureList(statistics, 'facts')}
        <p class="soft">
          The same <a href="statistics.json">as JSON</a>. What waits, and who builds it, is on the page of
          <a href="${farmPath}">the farm</a>.
        </p>
      </section>`,
  );
}

/** So many lines of latest builds are shown. */
const MAX_LATEST_ROWS = 12;

/** The latest builds: those of one package and version that ended alike, one after the other, share a line. */
function latestBuilds(builds: readonly EndedBuild[]): Html {
  if (builds.length === 0)
    return html`<p class="empty">Nothing has been built yet. <a href="${farmPath}">See what waits.</a></p>`;
  return html`<ul class="rows">
    ${groupBuilds(builds).slice(0, MAX_LATEST_ROWS).map(latestRow)}
  </ul>`;
}

type BuildGroup = readonly [newest: EndedBuild, ...older: EndedBuild[]];

/** Puts builds of the same package together, at the place of the newest of them. */
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
    return html`<p class="empty">
      Nothing has been downloaded yet. <a href="${packagesPath}">All packages</a>
    </p>`;
  const maxDownloads = Math.max(...packages.map(([, downloads]) => downloads), 1);
  return html`<ol class="ranks">
    ${packages.slice(0, 12).map(
      ([name, downloads]) =>
        html`<li>
          <a class="name" href="project/${name}/">${name}</a
          ><meter min="0" max="${maxDownloads}" value="${downloads}" aria-hidden="true"></meter
          ><span class="n">${formatCount(downloads)}<span class="unseen"> downloads in 30 days</span></span>
        </li>`,
    )}
  </ol>`;
}

export const statisticsJson = (statistics: Statistics): string => JSON.stringify(statistics);
