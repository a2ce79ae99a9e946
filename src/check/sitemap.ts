import { Parser } from 'htmlparser2';
import { robotsPath, sitemapPath } from '../site/layout.js';
import type { FaultReporter } from './faults.js';
import { decodeLeniently } from './people.js';
import { formatQuantity } from '../units.js';

/** The limits of sitemaps.org for one sitemap. */
const MAX_ADDRESSES = 50_000;
const MAX_BYTES = 50 * 1024 * 1024;

interface Sitemap {
  /** A `sitemapindex` lists sitemaps, a `urlset` lists pages. */
  readonly kind: 'sitemapindex' | 'urlset' | undefined;
  readonly addresses: readonly string[];
}

/** Checks a sitemap and its parts. `read` returns the content of a path; `serves` returns true if it has a page. */
export async function checkSitemap(
  read: (path: string) => Promise<string | undefined> | string | undefined,
  serves: (path: string) => boolean,
  report: FaultReporter,
): Promise<void> {
  const text = await read(sitemapPath);
  if (text === undefined) return;
  const hosts = new Set<string>();
  const checkPages = (addresses: readonly string[], path: string): void => {
    for (const address of pathsOf(addresses, path, hosts, report))
      if (!serves(address)) report('sitemap-link', path, `/${address}`, 'a page that exists');
  };
  const { kind, addresses } = readSitemap(text, sitemapPath, report);
  if (kind === 'urlset') checkPages(addresses, sitemapPath);
  if (kind !== 'sitemapindex') return;
  for (const part of pathsOf(addresses, sitemapPath, hosts, report)) {
    const inner = await read(part);
    if (inner === undefined) report('sitemap-link', sitemapPath, part, 'a sitemap that exists');
    else checkPages(readSitemap(inner, part, report).addresses, part);
  }
}

/** Returns the paths of URLs relative to the site. The site's own host is known only from the first of them. */
function pathsOf(
  addresses: readonly string[],
  path: string,
  hosts: Set<string>,
  report: FaultReporter,
): readonly string[] {
  return addresses.flatMap((address) => {
    const url = URL.canParse(address) ? new URL(address) : undefined;
    if (url) hosts.add(url.host);
    if (!url || hosts.size > 1) {
      report('sitemap-address', path, address, 'an absolute URL on the same host as the others');
      return [];
    }
    return [decodeLeniently(url.pathname).slice(1)];
  });
}

/** Parses a sitemap, and checks its form and its limits. */
function readSitemap(text: string, path: string, report: FaultReporter): Sitemap {
  const addresses: string[] = [];
  const open: string[] = [];
  const state = { kind: undefined as Sitemap['kind'], malformed: false, address: '' };
  const parser = new Parser(
    {
      onopentagname: (tag) => {
        open.push(tag);
        if (open.length === 1 && (tag === 'sitemapindex' || tag === 'urlset')) state.kind = tag;
        if (tag === 'loc') state.address = '';
      },
      ontext: (data) => {
        if (open.at(-1) === 'loc') state.address += data;
      },
      onclosetag: (tag, implied) => {
        if (open.pop() !== tag || implied) state.malformed = true;
        if (tag === 'loc') addresses.push(state.address.trim());
      },
    },
    { xmlMode: true },
  );
  parser.end(text);
  const { kind, malformed } = state;
  if (kind === undefined || malformed || open.length > 0)
    report(
      'sitemap-xml',
      path,
      malformed ? 'elements that are not closed' : 'incomplete, or not a sitemap',
      'a complete sitemap',
    );
  if (addresses.length > MAX_ADDRESSES || Buffer.byteLength(text) > MAX_BYTES)
    report(
      'sitemap-xml',
      path,
      `${formatQuantity(addresses.length, 'URL')} in ${formatQuantity(Buffer.byteLength(text), 'byte')}`,
      'at most 50,000 URLs and 50 MB',
    );
  return { kind, addresses };
}

/** Checks robots.txt. If `hasSitemap`, it has to name the sitemap. */
export function checkRobots(text: string, hasSitemap: boolean, report: FaultReporter): void {
  const lines = text.split(/\r?\n/).map((line) => line.replace(/#.*/, '').trim());
  const fields = lines.flatMap((line) => {
    const match = /^([A-Za-z-]+)\s*:\s*(.*)$/.exec(line);
    return match ? [[(match[1] ?? '').toLowerCase(), match[2] ?? ''] as const] : [];
  });
  const reportRobots = (found: string, expected: string): void => {
    report('robots', robotsPath, found, expected);
  };
  if (!fields.some(([name]) => name === 'user-agent')) reportRobots('no User-agent', 'User-agent: *');
  if (fields.some(([name, value]) => name === 'disallow' && value === '/'))
    reportRobots('Disallow: /', 'all crawlers are admitted');
  const sitemapUrls = fields.filter(([name]) => name === 'sitemap').map(([, value]) => value);
  const invalidUrl = sitemapUrls.find((url) => !URL.canParse(url) || !/^https?:/.test(url));
  if (invalidUrl !== undefined) reportRobots(`Sitemap: ${invalidUrl}`, 'an absolute URL');
  if (hasSitemap && !sitemapUrls.some((url) => url.endsWith(`/${sitemapPath}`)))
    reportRobots('no Sitemap', `Sitemap: https://…/${sitemapPath}`);
}
