import { page, searchForm } from './design.js';
import { count, countOf, html, raw, type Html } from './html.js';
import { browsePath, notFoundPath, packagesPath } from './layout.js';

/** A package in a list. */
export interface Listed {
  readonly name: string;
  readonly downloads: number;
  readonly files: number;
  readonly description: string;
}

/** What begins with a letter or a digit: how many packages, and how many of each two characters. */
export interface Letter {
  readonly letter: string;
  readonly packages: number;
  readonly groups: readonly (readonly [prefix: string, packages: number])[];
}

export interface Packages {
  readonly packages: number;
  readonly letters: readonly Letter[];
  readonly popular: readonly Listed[];
  /** All of them, where there are few. */
  readonly few: readonly Listed[] | undefined;
}

/** So many names at most stand on one page. */
const ON_A_PAGE = 1000;

/** The page of all packages: the search, and what can be found without it. */
export function packagesPage(
  { packages, letters, popular, few }: Packages,
  publicUrl: string | null,
): string {
  return page(
    {
      title: 'Packages – piw',
      description: `${countOf(packages, 'package')} to search and to browse.`,
      root: './',
      publicUrl,
      path: packagesPath,
      at: 'packages',
      kind: 'packages',
      searches: true,
    },
    html`<h1>Packages</h1>
      ${searchForm('./', 'large')}
      <div data-browse>
        <p class="lead">
          ${packages === 0 ? 'No package is known here yet.' : html`${countOf(packages, 'package')}, by the beginnings of their names.`}
        </p>
        ${
          few
            ? names(few, './')
            : html`<ul class="letters">
                ${letters.map(letterEntry)}
              </ul>`
        }
        ${
          !few &&
          popular.length > 0 &&
          html`<section aria-labelledby="popular">
            <h2 id="popular">Most downloaded in 30 days</h2>
            ${names(popular, './')}
          </section>`
        }
      </div>`,
  );
}

/** A letter, behind which its pairs are folded away. */
const letterEntry = ({ letter, packages, groups }: Letter): Html =>
  html`<li>
    <details name="letters">
      <summary><b>${letter}</b> ${count(packages)}</summary>
      <p>
        ${groups
          .filter(([, number]) => number > 0)
          .map(
            ([prefix, number]) =>
              html`<a href="${browsePath(prefix)}">${prefix}<small>${count(number)}</small></a> `,
          )}
      </p>
    </details>
  </li>`;

const names = (all: readonly Listed[], root: string): Html =>
  html`<ul class="found">
    ${all.map(({ name, files, downloads, description }) => html`<li><a class="name" href="${root}project/${name}/">${name}</a> <span class="soft end">${facts(files, downloads)}</span><span class="about">${description}</span></li>`)}
  </ul>`;

const facts = (files: number, downloads: number): string =>
  `${files === 0 ? 'no wheel yet' : countOf(files, 'wheel')}${downloads === 0 ? '' : `, ${countOf(downloads, 'download')}`}`;

/**
 * The pages that list the packages that begin with `prefix`, the pages that they lead to first. More than a page
 * holds are told apart by one more character.
 */
export function browseFiles(
  prefix: string,
  listed: readonly Listed[],
  publicUrl: string | null,
): { readonly path: string; readonly content: string }[] {
  if (listed.length === 0) return [];
  const files: { path: string; content: string }[] = [];
  const path = browsePath(prefix);
  let body: Html;
  if (listed.length <= ON_A_PAGE) {
    body = plainNames(listed);
  } else {
    const groups = new Map<string, Listed[]>();
    const here: Listed[] = [];
    for (const one of listed) {
      const key = one.name.replaceAll('-', '');
      const longer = key.slice(0, prefix.length + 1);
      const alike = longer === prefix ? here : groups.get(longer);
      if (alike) alike.push(one);
      else groups.set(longer, [one]);
    }
    for (const [longer, alike] of groups) files.push(...browseFiles(longer, alike, publicUrl));
    const links = [...groups].map(
      ([longer, { length }]) =>
        html`<li>
          <a href="${longer}.html">${longer}<small>${count(length)}</small></a>
        </li>`,
    );
    body = html`${here.length > 0 && plainNames(here)}
      <ul class="prefixes">
        ${links}
      </ul>`;
  }
  const content = page(
    {
      title: `Packages that begin with ${prefix} – piw`,
      description: `${countOf(listed.length, 'package')} whose names begin with ${prefix}.`,
      root: '../../',
      publicUrl,
      path,
      at: 'packages',
      kind: 'packages',
    },
    html`<h1>${prefix}…</h1>
      <p class="lead">
        ${countOf(listed.length, 'package')}. <a href="../../${packagesPath}">All packages</a>
      </p>
      ${body}`,
  );
  files.push({ path, content });
  return files;
}

/** Put together by hand: there are as many as there are packages. */
const plainNames = (listed: readonly Listed[]): Html => {
  let out = '<ul class="names">\n';
  // Names are letters, digits and hyphens.
  for (const { name, files } of listed)
    out += `<li><a href="../../project/${name}/">${name}</a>${files === 0 ? '' : ` <small>${count(files)}</small>`}</li>\n`;
  return raw(`${out}</ul>`);
};

/** For addresses that lead nowhere; it may be shown at any of them, so what it names is named from the top. */
export function notFoundPage(publicUrl: string | null): string {
  const root = publicUrl === null ? '/' : new URL(publicUrl).pathname;
  return page(
    {
      title: 'Not here – piw',
      description: 'There is nothing at this address.',
      root,
      publicUrl: null,
      path: notFoundPath,
      kind: 'lost',
      searches: true,
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
