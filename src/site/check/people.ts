import { faqPath, farmPath, homePath, packagesPath } from '../layout.js';
import type { FaultReporter } from './faults.js';
import type { Markup } from './markup.js';

/** Addresses of pages are resolved against this host, which nobody has. */
export const PLACEHOLDER_ORIGIN = 'http://site.invalid/';

/** The pages for people that each site has. */
export const REQUIRED_PAGES = [homePath, packagesPath, farmPath, faqPath];

/** What holds for every page that a browser may open: it loads nothing from elsewhere and runs nothing of its own. */
export function checkSelfContained(
  markup: Markup,
  path: string,
  report: FaultReporter,
  ownHosts: readonly string[] = [],
): void {
  const code = markup.inline[0];
  if (code !== undefined) report('inline-code', path, code, 'files of the site alone');
  for (const { tag, url, loads } of markup.references) {
    if (!loads || url.startsWith('data:image/')) continue;
    const host = URL.canParse(url, PLACEHOLDER_ORIGIN) ? new URL(url, PLACEHOLDER_ORIGIN).host : url;
    if (host !== new URL(PLACEHOLDER_ORIGIN).host && !ownHosts.includes(host))
      report('foreign-host', path, `<${tag}> from ${url}`, 'this site alone');
  }
}

/** What holds for the pages for people beyond that. `policy` is what the server sends, where one was asked. */
export function checkPage(markup: Markup, path: string, report: FaultReporter, policy?: string): void {
  if (!markup.doctype) report('html-whole', path, 'another beginning', '<!DOCTYPE html>');
  else if (!markup.closed) report('html-whole', path, 'another end', '</html>');
  if ((markup.lang ?? '') === '' || markup.title === '')
    report('page-lang', path, `lang ${markup.lang ?? 'missing'}, title ${markup.title}`, 'both');
  const repeatedId = markup.repeatedIds[0];
  if (repeatedId !== undefined) report('page-ids', path, `id ${repeatedId} more than once`, 'once');
  checkPolicy([markup.metas.get('content-security-policy'), policy], path, report);
  for (const { url } of markup.references) {
    const fragment = /^#(.+)$/.exec(url)?.[1];
    if (fragment !== undefined && !markup.ids.has(decodeLeniently(fragment)) && fragment !== 'top')
      report('link-fragment', path, url, 'an id of this page');
  }
}

/** All of the policies hold for a page: one that is strict is enough. */
function checkPolicy(candidates: readonly (string | undefined)[], path: string, report: FaultReporter): void {
  const policies = candidates.filter((one): one is string => (one?.trim() ?? '') !== '');
  if (policies.length === 0)
    report('csp-missing', path, 'no Content-Security-Policy', "default-src 'none'; …");
  else if (!policies.some((policy) => isStrict(policy)))
    report('csp-weak', path, policies[0] ?? '', "default-src 'none' or 'self', and neither unsafe-… nor *");
}

function isStrict(policy: string): boolean {
  const directives = policy.split(';').map((one) => one.trim().toLowerCase().split(/\s+/));
  const defaultSrc = directives.find(([name]) => name === 'default-src');
  const isDefaultStrict = defaultSrc?.slice(1).every((one) => one === "'none'" || one === "'self'") === true;
  return (
    isDefaultStrict &&
    !directives.some((words) => words.some((one) => one === '*' || one.startsWith("'unsafe-")))
  );
}

/** Where a page's own links lead within the site: decoded paths, each once, as `/simple/`. */
export function* internalLinks(
  markup: Markup,
  address: string,
  ownHosts: readonly string[] = [],
): Generator<string> {
  const seen = new Set<string>();
  for (const { url, tag } of markup.references) {
    if (tag === 'base' || url.startsWith('#') || !URL.canParse(url, PLACEHOLDER_ORIGIN + address)) continue;
    const target = new URL(url, PLACEHOLDER_ORIGIN + address);
    if (target.host !== new URL(PLACEHOLDER_ORIGIN).host && !ownHosts.includes(target.host)) continue;
    if (!/^https?:$/.test(target.protocol)) continue;
    const path = decodeLeniently(target.pathname);
    if (seen.has(path)) continue;
    seen.add(path);
    yield path;
  }
}

export function decodeLeniently(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
