import { faqPath, farmPath, homePath, packagesPath } from '../site/layout.js';
import type { FaultReporter } from './faults.js';
import type { Markup } from './markup.js';

/** URLs in pages are resolved against this host, which can't exist. */
export const PLACEHOLDER_ORIGIN = 'http://site.invalid/';

/** The pages for people that every site has. */
export const REQUIRED_PAGES = [homePath, packagesPath, farmPath, faqPath];

/** Checks what applies to every page that a browser may open: no inline code, and nothing loaded from other hosts. */
export function checkSelfContained(
  markup: Markup,
  path: string,
  report: FaultReporter,
  ownHosts: readonly string[] = [],
): void {
  const code = markup.inline[0];
  if (code !== undefined) report('inline-code', path, code, 'no inline code');
  for (const { tag, url, loads } of markup.references) {
    if (!loads || url.startsWith('data:image/')) continue;
    const host = URL.canParse(url, PLACEHOLDER_ORIGIN) ? new URL(url, PLACEHOLDER_ORIGIN).host : url;
    if (host !== new URL(PLACEHOLDER_ORIGIN).host && !ownHosts.includes(host))
      report('foreign-host', path, `<${tag}> from ${url}`, 'only files of this site');
  }
}

/** Checks what else applies to pages for people. `policy` is the policy in the server's header, if there is one. */
export function checkPage(markup: Markup, path: string, report: FaultReporter, policy?: string): void {
  if (!markup.doctype) report('html-whole', path, 'no doctype', '<!DOCTYPE html>');
  else if (!markup.closed) report('html-whole', path, 'another ending', '</html>');
  if ((markup.lang ?? '') === '' || markup.title === '')
    report('page-lang', path, `lang ${markup.lang ?? 'missing'}, title ${markup.title}`, 'both');
  const repeatedId = markup.repeatedIds[0];
  if (repeatedId !== undefined) report('page-ids', path, `id ${repeatedId} more than once`, 'each id once');
  checkPolicy([markup.metas.get('content-security-policy'), policy], path, report);
  for (const { url } of markup.references) {
    const fragment = /^#(.+)$/.exec(url)?.[1];
    if (fragment !== undefined && !markup.ids.has(decodeLeniently(fragment)) && fragment !== 'top')
      report('link-fragment', path, url, 'an id in this page');
  }
}

/** Checks a page's policies. A browser applies all of them, so one strict policy is enough. */
function checkPolicy(candidates: readonly (string | undefined)[], path: string, report: FaultReporter): void {
  const policies = candidates.filter((candidate): candidate is string => (candidate?.trim() ?? '') !== '');
  if (policies.length === 0)
    report('csp-missing', path, 'no Content-Security-Policy', "default-src 'none'; …");
  else if (!policies.some((policy) => isStrict(policy)))
    report('csp-weak', path, policies[0] ?? '', "default-src 'none' or 'self', and neither unsafe-… nor *");
}

function isStrict(policy: string): boolean {
  const directives = policy.split(';').map((directive) => directive.trim().toLowerCase().split(/\s+/));
  const defaultSrc = directives.find(([name]) => name === 'default-src');
  const isDefaultStrict =
    defaultSrc?.slice(1).every((source) => source === "'none'" || source === "'self'") === true;
  return (
    isDefaultStrict &&
    !directives.some((words) => words.some((word) => word === '*' || word.startsWith("'unsafe-")))
  );
}

/** Yields the decoded paths that a page's links lead to within the site, each once, e.g. `/simple/`. */
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

/** Decodes a URL component; returns it as it is if it is not validly encoded. */
export function decodeLeniently(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
