import { faqPath, farmPath, homePath, packagesPath } from '../layout.js';
import type { Tell } from './faults.js';
import type { Markup } from './markup.js';

/** Addresses of pages are resolved against this host, which nobody has. */
export const SITE = 'http://site.invalid/';

/** The pages for people that each site has. */
export const PAGES_OF_EACH_SITE = [homePath, packagesPath, farmPath, faqPath];

/** What holds for every page that a browser may open: it loads nothing from elsewhere and runs nothing of its own. */
export function holdQuiet(markup: Markup, path: string, tell: Tell, own: readonly string[] = []): void {
  const code = markup.inline[0];
  if (code !== undefined) tell('inline-code', path, code, 'files of the site alone');
  for (const { tag, url, loads } of markup.references) {
    if (!loads || url.startsWith('data:image/')) continue;
    const host = URL.canParse(url, SITE) ? new URL(url, SITE).host : url;
    if (host !== new URL(SITE).host && !own.includes(host))
      tell('foreign-host', path, `<${tag}> from ${url}`, 'this site alone');
  }
}

/** What holds for the pages for people beyond that. `policy` is what the server sends, where one was asked. */
export function holdPage(markup: Markup, path: string, tell: Tell, policy?: string): void {
  if (!markup.doctype) tell('html-whole', path, 'another beginning', '<!DOCTYPE html>');
  else if (!markup.closed) tell('html-whole', path, 'another end', '</html>');
  if ((markup.lang ?? '') === '' || markup.title === '')
    tell('page-lang', path, `lang ${markup.lang ?? 'missing'}, title ${markup.title}`, 'both');
  const twice = markup.repeatedIds[0];
  if (twice !== undefined) tell('page-ids', path, `id ${twice} more than once`, 'once');
  holdPolicy([markup.metas.get('content-security-policy'), policy], path, tell);
  for (const { url } of markup.references) {
    const fragment = /^#(.+)$/.exec(url)?.[1];
    if (fragment !== undefined && !markup.ids.has(decoded(fragment)) && fragment !== 'top')
      tell('link-fragment', path, url, 'an id of this page');
  }
}

/** All of the policies hold for a page: one that is strict is enough. */
function holdPolicy(given: readonly (string | undefined)[], path: string, tell: Tell): void {
  const policies = given.filter((one): one is string => (one?.trim() ?? '') !== '');
  if (policies.length === 0) tell('csp-missing', path, 'no Content-Security-Policy', "default-src 'none'; …");
  else if (!policies.some((policy) => isStrict(policy)))
    tell('csp-weak', path, policies[0] ?? '', "default-src 'none' or 'self', and neither unsafe-… nor *");
}

function isStrict(policy: string): boolean {
  const directives = policy.split(';').map((one) => one.trim().toLowerCase().split(/\s+/));
  const first = directives.find(([name]) => name === 'default-src');
  const begins = first?.slice(1).every((one) => one === "'none'" || one === "'self'") === true;
  return (
    begins && !directives.some((words) => words.some((one) => one === '*' || one.startsWith("'unsafe-")))
  );
}

/** Where a page's own links lead within the site: decoded paths, each once, as `/simple/`. */
export function* innerLinks(markup: Markup, address: string, own: readonly string[] = []): Generator<string> {
  const seen = new Set<string>();
  for (const { url, tag } of markup.references) {
    if (tag === 'base' || url.startsWith('#') || !URL.canParse(url, SITE + address)) continue;
    const target = new URL(url, SITE + address);
    if (target.host !== new URL(SITE).host && !own.includes(target.host)) continue;
    if (!/^https?:$/.test(target.protocol)) continue;
    const path = decoded(target.pathname);
    if (seen.has(path)) continue;
    seen.add(path);
    yield path;
  }
}

export function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
