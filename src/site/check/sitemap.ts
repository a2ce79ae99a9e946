import { Parser } from 'htmlparser2';
import type { Tell } from './faults.js';

/** The limits of one sitemap. */
const MOST = 50_000;
const LARGEST = 50 * 1024 * 1024;

export interface Sitemap {
  /** `sitemapindex` names further sitemaps, `urlset` pages. */
  readonly kind: 'sitemapindex' | 'urlset' | undefined;
  readonly addresses: readonly string[];
}

/** Reads a sitemap, and holds what it may be. */
export function readSitemap(text: string, path: string, tell: Tell): Sitemap {
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

/** Holds robots.txt, and gives the addresses of the sitemaps that it names. */
export function holdRobots(text: string, path: string, tell: Tell): readonly string[] {
  const lines = text.split(/\r?\n/).map((line) => line.replace(/#.*/, '').trim());
  const fields = lines.flatMap((line) => {
    const match = /^([A-Za-z-]+)\s*:\s*(.*)$/.exec(line);
    return match ? [[(match[1] ?? '').toLowerCase(), match[2] ?? ''] as const] : [];
  });
  if (!fields.some(([name]) => name === 'user-agent')) tell('robots', path, 'no User-agent', 'User-agent: *');
  if (fields.some(([name, value]) => name === 'disallow' && value === '/'))
    tell('robots', path, 'Disallow: /', 'what is to be found is allowed');
  const maps = fields.filter(([name]) => name === 'sitemap').map(([, value]) => value);
  const bad = maps.find((map) => !URL.canParse(map) || !/^https?:/.test(map));
  if (bad !== undefined) tell('robots', path, `Sitemap: ${bad}`, 'its whole address');
  return maps;
}
