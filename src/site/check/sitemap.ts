import { Parser } from 'htmlparser2';
import { robotsPath, sitemapPath } from '../layout.js';
import type { Tell } from './faults.js';
import { decoded } from './people.js';

/** The limits of one sitemap. */
const MOST = 50_000;
const LARGEST = 50 * 1024 * 1024;

interface Sitemap {
  /** `sitemapindex` names further sitemaps, `urlset` pages. */
  readonly kind: 'sitemapindex' | 'urlset' | undefined;
  readonly addresses: readonly string[];
}

/** Holds a sitemap and its parts. `read` gives what is at a path, `serves` says whether a page is at one. */
export async function holdSitemap(
  read: (path: string) => Promise<string | undefined> | string | undefined,
  serves: (path: string) => boolean,
  tell: Tell,
): Promise<void> {
  const text = await read(sitemapPath);
  if (text === undefined) return;
  const hosts = new Set<string>();
  const holdPages = (addresses: readonly string[], path: string): void => {
    for (const address of pathsOf(addresses, path, hosts, tell))
      if (!serves(address)) tell('sitemap-link', path, `/${address}`, 'a page that is there');
  };
  const { kind, addresses } = readSitemap(text, sitemapPath, tell);
  if (kind === 'urlset') holdPages(addresses, sitemapPath);
  if (kind !== 'sitemapindex') return;
  for (const part of pathsOf(addresses, sitemapPath, hosts, tell)) {
    const inner = await read(part);
    if (inner === undefined) tell('sitemap-link', sitemapPath, part, 'a sitemap that is there');
    else holdPages(readSitemap(inner, part, tell).addresses, part);
  }
}

/** Where the addresses lead below the site, whose own address only they tell. */
function pathsOf(
  addresses: readonly string[],
  path: string,
  hosts: Set<string>,
  tell: Tell,
): readonly string[] {
  return addresses.flatMap((address) => {
    const url = URL.canParse(address) ? new URL(address) : undefined;
    if (url) hosts.add(url.host);
    if (!url || hosts.size > 1) {
      tell('sitemap-address', path, address, 'a whole address, of the same host as the others');
      return [];
    }
    return [decoded(url.pathname).slice(1)];
  });
}

/** Reads a sitemap, and holds what it may be. */
function readSitemap(text: string, path: string, tell: Tell): Sitemap {
  const addresses: string[] = [];
  const open: string[] = [];
  const seen = { kind: undefined as Sitemap['kind'], torn: false, address: '' };
  const parser = new Parser(
    {
      onopentagname: (tag) => {
        open.push(tag);
        if (open.length === 1 && (tag === 'sitemapindex' || tag === 'urlset')) seen.kind = tag;
        if (tag === 'loc') seen.address = '';
      },
      ontext: (piece) => {
        if (open.at(-1) === 'loc') seen.address += piece;
      },
      onclosetag: (tag, implied) => {
        if (open.pop() !== tag || implied) seen.torn = true;
        if (tag === 'loc') addresses.push(seen.address.trim());
      },
    },
    { xmlMode: true },
  );
  parser.end(text);
  const { kind, torn } = seen;
  if (kind === undefined || torn || open.length > 0)
    tell('sitemap-xml', path, torn ? 'elements that are not closed' : 'another document', 'a whole sitemap');
  if (addresses.length > MOST || Buffer.byteLength(text) > LARGEST)
    tell('sitemap-xml', path, `${String(addresses.length)} addresses`, '50,000 and 50 MB at most');
  return { kind, addresses };
}

/** Holds robots.txt; `mapped`: there is a sitemap, which it has to name. */
export function holdRobots(text: string, mapped: boolean, tell: Tell): void {
  const lines = text.split(/\r?\n/).map((line) => line.replace(/#.*/, '').trim());
  const fields = lines.flatMap((line) => {
    const match = /^([A-Za-z-]+)\s*:\s*(.*)$/.exec(line);
    return match ? [[(match[1] ?? '').toLowerCase(), match[2] ?? ''] as const] : [];
  });
  const wrong = (found: string, expected: string): void => {
    tell('robots', robotsPath, found, expected);
  };
  if (!fields.some(([name]) => name === 'user-agent')) wrong('no User-agent', 'User-agent: *');
  if (fields.some(([name, value]) => name === 'disallow' && value === '/'))
    wrong('Disallow: /', 'what is to be found is allowed');
  const maps = fields.filter(([name]) => name === 'sitemap').map(([, value]) => value);
  const bad = maps.find((map) => !URL.canParse(map) || !/^https?:/.test(map));
  if (bad !== undefined) wrong(`Sitemap: ${bad}`, 'its whole address');
  if (mapped && !maps.some((map) => map.endsWith(`/${sitemapPath}`)))
    wrong('no Sitemap', `Sitemap: https://…/${sitemapPath}`);
}
