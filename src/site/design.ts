import { html, type Html } from './html.js';

/**
 * The design of the site, decided here once: paper and ink, one accent, the wheel. Spokes, rims and
 * state dots are all that is drawn. Light and dark follow the reader's own setting.
 */
export const CSS = `:root{--paper:#fbfaf7;--sheet:#fff;--ink:#1d2125;--soft:#5b636b;--line:#dedbd2;--accent:#0b6e5f;--accent-ink:#fff;
--built:#17713a;--failed:#b3261e;--building:#8a5a00;--waiting:#3a5ba0;--none:#6b7178;--code:#f1efe8;color-scheme:light dark}
@media (prefers-color-scheme:dark){:root{--paper:#14171a;--sheet:#1b1f23;--ink:#e8e6e1;--soft:#a2abb3;--line:#31373d;--accent:#5fc9b4;
--accent-ink:#0d1512;--built:#6fd08c;--failed:#ff9a8f;--building:#f0bb62;--waiting:#9bb8f5;--none:#9aa2aa;--code:#22272c}}
*{box-sizing:border-box}html{font:17px/1.55 ui-sans-serif,system-ui,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;background:var(--paper);color:var(--ink)}
body{margin:0}a{color:var(--accent);text-underline-offset:.18em}a:focus-visible,summary:focus-visible{outline:3px solid var(--accent);outline-offset:2px;border-radius:2px}
.skip{position:absolute;left:-99em}.skip:focus{left:1rem;top:.5rem;background:var(--sheet);padding:.4rem .8rem}
header,main,footer{max-width:66rem;margin:0 auto;padding:1rem 1.25rem}
header{display:flex;align-items:center;gap:1.25rem;flex-wrap:wrap;border-bottom:1px solid var(--line)}
header .mark{display:flex;align-items:center;gap:.6rem;font-weight:700;font-size:1.25rem;letter-spacing:-.01em;color:var(--ink);text-decoration:none}
header svg{width:2rem;height:2rem;color:var(--accent)}nav{margin-left:auto;display:flex;gap:1.25rem}
h1{font-size:clamp(1.6rem,5vw,2.4rem);line-height:1.15;letter-spacing:-.02em;margin:1.5rem 0 .5rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2.25rem 0 .75rem}p{max-width:44rem}.soft{color:var(--soft)}
pre,code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.9em}
pre{background:var(--code);border:1px solid var(--line);border-radius:.5rem;padding:.8rem 1rem;overflow-x:auto;margin:.75rem 0}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:1px;background:var(--line);border:1px solid var(--line);border-radius:.6rem;overflow:hidden;margin:1.5rem 0;padding:0}
.figures div{background:var(--sheet);padding:.9rem 1rem}.figures dt{color:var(--soft);font-size:.85rem}.figures dd{margin:0;font-size:1.45rem;font-variant-numeric:tabular-nums;font-weight:650}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:.6rem;background:var(--sheet)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}th,td{text-align:left;padding:.5rem .9rem;border-bottom:1px solid var(--line);vertical-align:top}
tr:last-child td{border-bottom:0}th{font-size:.85rem;color:var(--soft);font-weight:600;white-space:nowrap}td .hash{color:var(--soft);overflow-wrap:anywhere;font-size:.75em}
.state{white-space:nowrap;font-weight:600}.state::before{content:"";display:inline-block;width:.6em;height:.6em;border-radius:50%;margin-right:.45em;background:currentColor}
.built{color:var(--built)}.failed{color:var(--failed)}.building{color:var(--building)}.waiting{color:var(--waiting)}.none{color:var(--none)}.none::before{background:none;border:2px solid}
.notice{border-left:4px solid var(--failed);background:var(--sheet);padding:.6rem 1rem;margin:1rem 0}
footer{color:var(--soft);border-top:1px solid var(--line);margin-top:3rem;font-size:.9rem}
`;

/** Our mark: a spoked wheel, of which one quarter is still to be built. */
const MARK: Html = {
  html: '<svg viewBox="0 0 32 32" fill="none" stroke="currentColor" stroke-width="2.4" stroke-linecap="round" aria-hidden="true"><path d="M16 3a13 13 0 1 0 13 13"/><path d="M20.5 3.8a13 13 0 0 1 7.7 7.7" stroke-dasharray="1 4"/><circle cx="16" cy="16" r="3"/><path d="M16 13V3M16 29V19M13 16H3M29 16H19M18.1 18.1l7.1 7.1M13.9 13.9L6.8 6.8M13.9 18.1l-7.1 7.1"/></svg>',
};

/** A whole page. `root` leads from it to the top of the site, e.g. `../../`. */
export function page(title: string, root: string, body: Html): string {
  return html`<!DOCTYPE html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta
          http-equiv="Content-Security-Policy"
          content="default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'"
        />
        <meta property="og:title" content="${title}" />
        <meta property="og:type" content="website" />
        <title>${title}</title>
        <link rel="stylesheet" href="${root}static/site.css" />
      </head>
      <body>
        <a class="skip" href="#content">Skip to the content</a>
        <header>
          <a class="mark" href="${root}">${MARK}piw</a>
          <nav aria-label="Site"><a href="${root}simple/">Index</a></nav>
        </header>
        <main id="content">${body}</main>
        <footer><p>Wheels that this farm has built from source.</p></footer>
      </body>
    </html> `.html;
}
