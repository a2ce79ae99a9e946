import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { SearchRow } from '../protocols/oracle.js';
import { guarded, removeFiles, writeAtomic } from './atomic.js';
import { escape } from './html.js';
import {
  faqPath,
  farmPath,
  packagesPath,
  projectPath,
  robotsPath,
  sitemapPart,
  sitemapPath,
  sitemapsPath,
} from './layout.js';

/** No sitemap may name more addresses (sitemaps.org). */
const IN_A_PART = 50_000;
const XML = '<?xml version="1.0" encoding="UTF-8"?>\n';
const NAMESPACE = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"';

/**
 * Writes robots.txt and the sitemap: an index, and parts that name every project's page; only where it is known under
 * which address people reach the site, for a sitemap names whole addresses. One part is in memory at a time. Raises
 * PIW_DISK_FULL, PIW_NOT_WRITABLE.
 */
export async function writeSitemap(
  outputPath: string,
  publicUrl: string | null,
  pages: AsyncIterable<readonly SearchRow[]>,
): Promise<void> {
  const parts: string[] = [];
  if (publicUrl !== null) {
    const place = (path: string): string => `<url><loc>${escape(publicUrl + path)}</loc></url>\n`;
    let places = ['', packagesPath, farmPath, faqPath].map(place);
    const finish = (): void => {
      const path = sitemapPart(parts.length + 1);
      writeAtomic(join(outputPath, path), `${XML}<urlset ${NAMESPACE}>\n${places.join('')}</urlset>\n`);
      parts.push(path);
      places = [];
    };
    for await (const page of pages)
      for (const [name] of page) {
        places.push(place(`${projectPath(name)}/`));
        if (places.length === IN_A_PART) finish();
      }
    if (places.length > 0) finish();
    const index = parts.map((path) => `<sitemap><loc>${escape(publicUrl + path)}</loc></sitemap>\n`).join('');
    writeAtomic(
      join(outputPath, sitemapPath),
      `${XML}<sitemapindex ${NAMESPACE}>\n${index}</sitemapindex>\n`,
    );
    writeAtomic(
      join(outputPath, robotsPath),
      `User-agent: *\nDisallow: /search/\nSitemap: ${publicUrl}${sitemapPath}\n`,
    );
  } else
    guarded(outputPath, () => {
      for (const path of [robotsPath, sitemapPath]) rmSync(join(outputPath, path), { force: true });
    });
  const folder = join(outputPath, sitemapsPath);
  if (!existsSync(folder)) return;
  const others = guarded(folder, () => readdirSync(folder)).filter(
    (name) =>
      !name.startsWith('.') &&
      !parts.some((part) => part.startsWith(`${sitemapsPath}/${name.replace(/\.gz$/, '')}`)),
  );
  if (others.length > 0) removeFiles(folder, others);
}
