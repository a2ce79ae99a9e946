import { ASSETS } from './assets.js';
import { html, raw, type Html } from './html.js';
import { faqPath, farmPath, packagesPath } from '../layout.js';
import type { VersionOnTarget } from '../../model/project.js';

/**
 * The site's design is defined here and in static/site.css: paper and ink, one green accent, and the wheel. Spokes,
 * rims and state dots are its only drawings. Light and dark follow the reader's own setting. Pages are complete without
 * static/site.js, and load nothing from other hosts.
 */

/** What pages may load and run. No page of this site has inline scripts or styles. */
const CONTENT_SECURITY_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'";
/** The policy as a web server's header. Only a header can say who may frame a page. */
export const CONTENT_SECURITY_POLICY_HEADER = `${CONTENT_SECURITY_POLICY}; frame-ancestors 'none'`;

/** The name of each state, wherever one is shown; `site.css` has a colour for each. */
export const STATE_LABELS: Readonly<Record<VersionOnTarget['state'], string>> = {
  built: 'built',
  failed: 'failed',
  building: 'building',
  waiting: 'waiting',
  none: 'not needed',
};

/** Returns a state's dot and its name. */
export const stateBadge = (state: VersionOnTarget['state'], label: string = STATE_LABELS[state]): Html =>
  html`<span class="state ${state}">${label}</span>`;

/** The logo: a wheel with eight spokes. */
const LOGO = raw(
  '<svg class="mark" viewBox="0 0 32 32" fill="none" stroke="currentColor" stroke-width="2.2" stroke-linecap="round" aria-hidden="true"><circle cx="16" cy="16" r="13"/><circle cx="16" cy="16" r="3.2" fill="currentColor"/><path d="M16 3v7M16 22v7M3 16h7M22 16h7M6.8 6.8l5 5M20.2 20.2l5 5M25.2 6.8l-5 5M11.8 20.2l-5 5"/></svg>',
);

interface SitePageOptions {
  readonly title: string;
  /** One sentence, for search engines and link previews. */
  readonly description: string;
  /** The relative path from the page to the top of the site, e.g. `../../`. */
  readonly root: string;
  /** The URL of the site, with a trailing slash; null if unknown. */
  readonly publicUrl: string | null;
  /** The page's path below `publicUrl`. */
  readonly path: string;
  /** The navigation entry that the page belongs to. */
  readonly section?: 'packages' | 'farm' | 'faq';
  /** The page has a search of its own. */
  readonly hasSearch?: boolean;
  /** The body's class is `of-` plus this. */
  readonly kind?: string;
}

/** The entries of the navigation: section, path, label. */
const NAVIGATION = [
  ['packages', packagesPath, 'Packages'],
  ['farm', farmPath, 'Farm'],
  ['faq', faqPath, 'FAQ'],
] as const;

/** Returns a complete page around `body`. */
export function renderPage(options: SitePageOptions, body: Html): string {
  const { title, description, root, publicUrl, path, section, hasSearch = false, kind = 'page' } = options;
  const address = publicUrl === null ? null : `${publicUrl}${path.replace(/(?:^|(?<=\/))index\.html$/, '')}`;
  const links = NAVIGATION.map(
    ([name, target, label]) =>
      html`<a href="${root}${target}" ${name === section && raw('aria-current="page"')}>${label}</a>`,
  );
  return html`<!doctype html>
    <html lang="en" data-root="${root}">
      <head>
        <meta charset="utf-8" />
        <meta http-equiv="Content-Security-Policy" content="${raw(CONTENT_SECURITY_POLICY)}" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${title}</title>
        <meta name="description" content="${description}" />
        <meta name="color-scheme" content="light dark" />
        <meta property="og:type" content="website" />
        <meta property="og:site_name" content="piw" />
        <meta property="og:title" content="${title}" />
        <meta property="og:description" content="${description}" />
        <meta name="twitter:card" content="summary_large_image" />
        ${
          address !== null &&
          html`<link rel="canonical" href="${address}" />
            <meta property="og:url" content="${address}" />
            <meta property="og:image" content="${publicUrl}${ASSETS.share.path}" />
            <meta
              property="og:image:alt"
              content="A spoked wheel, and the words: Python wheels, built from source"
            /> `
        }
        <link rel="icon" href="${root}${ASSETS.mark.path}" type="image/svg+xml" />
        <link rel="stylesheet" href="${root}${ASSETS.style.path}" />
        <script type="module" src="${root}${ASSETS.script.path}"></script>
      </head>
      <body class="of-${kind}">
        <a class="skip" href="#content">Skip to the content</a>
        <header class="top">
          <div class="bar">
            <a class="home" href="${root}">${LOGO}<span>piw</span></a>
            <nav aria-label="Site">${links}<a href="${root}simple/">Index</a></nav>
            ${!hasSearch && searchForm(root, 'small')}
          </div>
        </header>
        <main id="content" tabindex="-1">${body}</main>
        <footer>
          <div class="bar">
            <p>Wheels built by this farm from the source that projects publish.</p>
            <p>
              <a href="${root}${faqPath}">FAQ</a> <a href="${root}${faqPath}#json">JSON API</a>
              <a href="${root}statistics.json">Statistics</a>
            </p>
          </div>
        </footer>
      </body>
    </html> `.html;
}

/**
 * Returns the search form. Submitting it leads to the packages page, where the script shows results. Without the
 * script, that page still has the list by letter.
 */
export function searchForm(root: string, size: 'small' | 'large'): Html {
  const id = `search-${size}`;
  return html`<form
    class="search ${size}"
    role="search"
    action="${root}${packagesPath}"
    method="get"
    ${size === 'large' && raw('data-live')}
  >
    <label for="${id}" class="unseen">Find a package</label>
    <input
      id="${id}"
      name="q"
      type="search"
      placeholder="${size === 'large' ? 'Find a package, e.g. numpy' : 'Find a package'}"
      autocomplete="off"
      autocapitalize="none"
      spellcheck="false"
      maxlength="200"
    /><kbd aria-hidden="true">/</kbd>
  </form>`;
}

/** Returns a block of commands or configuration, to which the script adds a copy button. */
export const commandBlock = (lines: string, label: string): Html =>
  html`<pre class="typed" tabindex="0" role="region" aria-label="${label}"><code>${lines}</code></pre>`;
