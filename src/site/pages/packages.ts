import { renderPage, searchForm } from './design.js';
import { html, raw, type Html } from './html.js';
import { browsePath, notFoundPath, packagesPath } from '../layout.js';
import { formatCount, formatQuantity } from '../../units.js';

/** A package in a list. */
export interface PackageSummary {
  readonly name: string;
  readonly downloads: number;
  readonly files: number;
  readonly description: string;
}

/** The number of packages that begin with a letter or digit, in all and by their first two characters. */
export interface LetterGroup {
  readonly letter: string;
  readonly packages: number;
  readonly groups: readonly (readonly [prefix: string, packages: number])[];
}

interface PackagesOverview {
  readonly packages: number;
  readonly letters: readonly LetterGroup[];
  readonly popular: readonly PackageSummary[];
  /** All packages if there are few; otherwise undefined. */
  readonly ungrouped: readonly PackageSummary[] | undefined;
}

/** Limits how many names one page lists. */
const MAX_NAMES_PER_PAGE = 1000;

/** Returns the packages page: the search, and lists for browsing without it. */
export function packagesPage(
  { packages, letters, popular, ungrouped }: PackagesOverview,
  publicUrl: string | null,
): string {
  return renderPage(
    {
      title: 'Packages – piw',
      description: `Search and browse ${formatQuantity(packages, 'package')}.`,
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
          ${packages === 0 ? 'There are no packages yet.' : html`${formatQuantity(packages, 'package')}, listed alphabetically.`}
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
            <h2 id="popular">Most downloaded in the last 30 days</h2>
            ${packageList(popular, './')}
          </section>`
        }
      </div>`,
  );
}

/** Returns a letter that expands to its two-character prefixes. */
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
  `${files === 0 ? 'no wheels yet' : formatQuantity(files, 'wheel')}${downloads === 0 ? '' : `, ${formatQuantity(downloads, 'download')}`}`;

/**
 * Returns the pages that list the packages whose names begin with `prefix`, each after the pages that it links to. If
 * there are too many for one page, they are split by the next character.
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
    for (const [longerPrefix, group] of groups) files.push(...browseFiles(longerPrefix, group, publicUrl));
    const links = [...groups].map(
      ([longerPrefix, { length }]) =>
        html`<li>
          <a href="${longerPrefix}.html">${longerPrefix}<small>${formatCount(length)}</small></a>
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

/** Returns a list of names, built by string concatenation because the lists together name every package. */
const nameList = (listed: readonly PackageSummary[]): Html => {
  let out = '<ul class="names">\n';
  // Names are letters, digits and hyphens: nothing needs escaping.
  for (const { name, files } of listed)
    out += `<li><a href="../../project/${name}/">${name}</a>${files === 0 ? '' : ` <small>${formatCount(files)}</small>`}</li>\n`;
  return raw(`${out}</ul>`);
};

/** Returns the page for missing addresses. It may be served at any address, so its links are relative to the host. */
export function notFoundPage(publicUrl: string | null): string {
  const root = publicUrl === null ? '/' : new URL(publicUrl).pathname;
  return renderPage(
    {
      title: 'Page not found – piw',
      description: 'There is no page at this address.',
      root,
      publicUrl: null,
      path: notFoundPath,
      kind: 'lost',
      hasSearch: true,
    },
    html`<h1>Page not found</h1>
      <p class="lead">There is no page at this address. Were you looking for one of these packages?</p>
      ${searchForm(root, 'large')}
      <p data-browse>
        Or go to the list of <a href="${root}${packagesPath}">all packages</a>, the
        <a href="${root}simple/">index</a> that installers read, or the <a href="${root}">home page</a>.
      </p>`,
  );
}
