import { renderPage, searchForm } from './design.js';
import { formatCount, formatQuantity, html, raw, type Html } from './html.js';
import { browsePath, notFoundPath, packagesPath } from './layout.js';

/** A package in a list. */
export interface PackageSummary {
  readonly name: string;
  readonly downloads: number;
  readonly files: number;
  readonly description: string;
}

/** What begins with a letter or a digit: how many packages, and how many of each two characters. */
export interface LetterGroup {
  readonly letter: string;
  readonly packages: number;
  readonly groups: readonly (readonly [prefix: string, packages: number])[];
}

export interface PackagesOverview {
  readonly packages: number;
  readonly letters: readonly LetterGroup[];
  readonly popular: readonly PackageSummary[];
  /** All of them, where there are few. */
  readonly ungrouped: readonly PackageSummary[] | undefined;
}

/** So many names at most stand on one page. */
const MAX_NAMES_PER_PAGE = 1000;

/** The page of all packages: the search, and what can be found without it. */
export function packagesPage(
  { packages, letters, popular, ungrouped }: PackagesOverview,
  publicUrl: string | null,
): string {
  return renderPage(
    {
      title: 'Packages – piw',
      description: `${formatQuantity(packages, 'package')} to search and to browse.`,
      root: './',
      publicUrl,
      path: packagesPath,
      section: 'packages',
      kind: 'packages',
      hasSearch: true,
    },
    html`<h1>Packages</h1>
      ${searchForm('./', 'large')}
      <div data-browse>
        <p class="lead">
          ${packages === 0 ? 'No package is known here yet.' : html`${formatQuantity(packages, 'package')}, by the beginnings of their names.`}
        </p>
        ${
          ungrouped
            ? packageList(ungrouped, './')
            : html`<ul class="letters">
                ${letters.map(letterEntry)}
              </ul>`
        }
        ${
          !ungrouped &&
          popular.length > 0 &&
          html`<section aria-labelledby="popular">
            <h2 id="popular">Most downloaded in 30 days</h2>
            ${packageList(popular, './')}
          </section>`
        }
      </div>`,
  );
}

/** A letter, behind which its pairs are folded away. */
const letterEntry = ({ letter, packages, groups }: LetterGroup): Html =>
  html`<li>
    <details name="letters">
      <summary><b>${letter}</b> ${formatCount(packages)}</summary>
      <p>
        ${groups
          .filter(([, number]) => number > 0)
          .map(
            ([prefix, number]) =>
              html`<a href="${browsePath(prefix)}">${prefix}<small>${formatCount(number)}</small></a> `,
          )}
      </p>
    </details>
  </li>`;

const packageList = (all: readonly PackageSummary[], root: string): Html =>
  html`<ul class="found">
    ${all.map(({ name, files, downloads, description }) => html`<li><a class="name" href="${root}project/${name}/">${name}</a> <span class="soft end">${packageFacts(files, downloads)}</span><span class="about">${description}</span></li>`)}
  </ul>`;

const packageFacts = (files: number, downloads: number): string =>
  `${files === 0 ? 'no wheel yet' : formatQuantity(files, 'wheel')}${downloads === 0 ? '' : `, ${formatQuantity(downloads, 'download')}`}`;

/**
 * The pages that list the packages that begin with `prefix`, the pages that they lead to first. More than a page
 * holds are told apart by one more character.
 */
export function browseFiles(
  prefix: string,
  listed: readonly PackageSummary[],
  publicUrl: string | null,
): { readonly path: string; readonly content: string }[] {
  if (listed.length === 0) return [];
  const files: { path: string; content: string }[] = [];
  const path = browsePath(prefix);
  let body: Html;
  if (listed.length <= MAX_NAMES_PER_PAGE) {
    body = nameList(listed);
  } else {
    const groups = new Map<string, PackageSummary[]>();
    const exactMatches: PackageSummary[] = [];
    for (const summary of listed) {
      const key = summary.name.replaceAll('-', '');
      const longerPrefix = key.slice(0, prefix.length + 1);
      const group = longerPrefix === prefix ? exactMatches : groups.get(longerPrefix);
      if (group) group.push(summary);
      else groups.set(longerPrefix, [summary]);
    }
    for (const [longer, alike] of groups) files.push(...browseFiles(longer, alike, publicUrl));
    const links = [...groups].map(
      ([longer, { length }]) =>
        html`<li>
          <a href="${longer}.html">${longer}<small>${formatCount(length)}</small></a>
        </li>`,
    );
    body = html`${exactMatches.length > 0 && nameList(exactMatches)}
      <ul class="prefixes">
        ${links}
      </ul>`;
  }
  const content = renderPage(
    {
      title: `Packages that begin with ${prefix} – piw`,
      description: `${formatQuantity(listed.length, 'package')} whose names begin with ${prefix}.`,
      root: '../../',
      publicUrl,
      path,
      section: 'packages',
      kind: 'packages',
    },
    html`<h1>${prefix}…</h1>
      <p class="lead">
        ${formatQuantity(listed.length, 'package')}. <a href="../../${packagesPath}">All packages</a>
      </p>
      ${body}`,
  );
  files.push({ path, content });
  return files;
}

/** Put together by hand: there are as many as there are packages. */
const nameList = (listed: readonly PackageSummary[]): Html => {
  let out = '<ul class="names">\n';
  // Names are letters, digits and hyphens.
  for (const { name, files } of listed)
    out += `<li><a href="../../project/${name}/">${name}</a>${files === 0 ? '' : ` <small>${formatCount(files)}</small>`}</li>\n`;
  return raw(`${out}</ul>`);
};

/** For addresses that lead nowhere; it may be shown at any of them, so what it names is named from the top. */
export function notFoundPage(publicUrl: string | null): string {
  const root = publicUrl === null ? '/' : new URL(publicUrl).pathname;
  return renderPage(
    {
      title: 'Not here – piw',
      description: 'There is nothing at this address.',
      root,
      publicUrl: null,
      path: notFoundPath,
      kind: 'lost',
      hasSearch: true,
    },
    html`<h1>There is nothing at this address</h1>
      <p class="lead">Perhaps one of these is what you looked for.</p>
      ${searchForm(root, 'large')}
      <p data-browse>
        <a href="${root}${packagesPath}">All packages</a> by the beginnings of their names, the
        <a href="${root}simple/">index</a> that installers read, or <a href="${root}">the home page</a>.
      </p>`,
  );
}
