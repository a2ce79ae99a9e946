import { ASSETS } from './assets.js';
import { html, raw, type Html } from './html.js';
import { faqPath, farmPath, packagesPath } from './layout.js';
import type { VersionOnTarget } from '../protocols/oracle.js';

/**
 * The design of the site, decided here and in static/site.css, once: paper and ink, one green accent, and the
 * wheel. Spokes, rims and state dots are all that is drawn. Light and dark follow the reader's own setting. Pages
 * are whole without static/site.js, and load nothing from anywhere else.
 */

/** What a page may load and do, as it says itself. There is no inline script or style on this site. */
export const CONTENT_SECURITY_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'";
/** The same as a web server's header, the only place where it can be said who may frame a page. */
export const CONTENT_SECURITY_POLICY_HEADER = `${CONTENT_SECURITY_POLICY}; frame-ancestors 'none'`;

/** What a state is called, wherever one is shown; `site.css` has a colour for each. */
export const STATE_LABELS: Readonly<Record<VersionOnTarget['state'], string>> = {
  built: 'built',
  failed: 'failed',
  building: 'building',
  waiting: 'waiting',
  none: 'not needed',
};

/** A state's dot and its name. */
export const stateBadge = (state: VersionOnTarget['state'], label: string = STATE_LABELS[state]): Html =>
  html`<span class="state ${state}">${label}</span>`;

/** Our mark: a wheel with eight spokes. */
export const LOGO = raw(
  '<svg class="mark" viewBox="0 0 32 32" fill="none" stroke="currentColor" stroke-width="2.2" stroke-linecap="round" aria-hidden="true"><circle cx="16" cy="16" r="13"/><circle cx="16" cy="16" r="3.2" fill="currentColor"/><path d="M16 3v7M16 22v7M3 16h7M22 16h7M6.8 6.8l5 5M20.2 20.2l5 5M25.2 6.8l-5 5M11.8 20.2l-5 5"/></svg>',
);

export interface SitePageOptions {
  readonly title: string;
  /** One sentence, for search engines and for whoever shares the page. */
  readonly description: string;
  /** Leads from the page to the top of the site, as `../../`. */
  readonly root: string;
  /** Where people reach the site, with a slash at its end; null if that isn't known. */
  readonly publicUrl: string | null;
  /** The page's own address below it. */
  readonly path: string;
  /** Which entry of the navigation the page belongs to. */
  readonly section?: 'packages' | 'farm' | 'faq';
  /** The page has a search of its own. */
  readonly hasSearch?: boolean;
  /** Class of the body. */
  readonly kind?: string;
}

/** The site's addresses that its own pages and the pages' script need. */
const NAVIGATION = [
  ['packages', packagesPath, 'Packages'],
  ['farm', farmPath, 'Farm'],
  ['faq', faqPath, 'FAQ'],
] as const;

/** A whole page around its contents. */
export function renderPage(options: SitePageOptions, body: Html): string {
  const { title, description, root, publicUrl, path, section, hasSearch = false, kind = 'page' } = options;
  const address = publicUrl === null ? null : `${publicUrl}${path.replace(/(?:^|(?<=\/))index\.html$/, '')}`;
  const links = NAVIGATION.map(
    ([name, its, label]) =>
      html`<a href="${root}${its}" ${name === section && raw('aria-current="page"')}>${label}</a>`,
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
            <p>Wheels that this farm has built from the source that projects publish.</p>
            <p>
              <a href="${root}${faqPath}">Questions</a> <a href="${root}${faqPath}#json">JSON</a>
              <a href="${root}statistics.json">Figures</a>
            </p>
          </div>
        </footer>
      </body>
    </html> `.html;
}

/**
 * The search: a form that leads to the page of all packages, where the script shows what it finds. Where there is
 * none, the list by letters is what the form leads to.
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

/** Lines to type, which the script gives a button to copy them. */
export const commandBlock = (lines: string, label: string): Html =>
  html`<pre class="typed" tabindex="0" role="region" aria-label="${label}"><code>${lines}</code></pre>`;
