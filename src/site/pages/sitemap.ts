import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { SearchRow } from '../../model/project.js';
import { removeFiles, writeIfChanged } from '../../files/atomic.js';
import { withDiskErrors } from '../../files/disk.js';
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
} from '../layout.js';

/** The limit of sitemaps.org for one sitemap. */
const MAX_ADDRESSES_PER_PART = 50_000;
const XML = '<?xml version="1.0" encoding="UTF-8"?>\n';
const NAMESPACE = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"';

/**
 * Writes robots.txt and the sitemap: an index, and parts that list every project's page. A sitemap lists absolute URLs,
 * so without a public URL both are removed instead. Holds one part in memory at a time. Throws PIW_DISK_FULL or
 * PIW_NOT_WRITABLE.
 */
export async function writeSitemap(
  outputPath: string,
  publicUrl: string | null,
  pages: AsyncIterable<readonly SearchRow[]>,
): Promise<void> {
  const parts: string[] = [];
  if (publicUrl !== null) {
    const urlElement = (path: string): string => `<url><loc>${escape(publicUrl + path)}</loc></url>\n`;
    let urlElements = ['', packagesPath, farmPath, faqPath].map(urlElement);
    const finish = (): void => {
      const path = sitemapPart(parts.length + 1);
      writeIfChanged(
        join(outputPath, path),
        `${XML}<urlset ${NAMESPACE}>\n${urlElements.join('')}</urlset>\n`,
      );
      parts.push(path);
      urlElements = [];
    };
    for await (const page of pages)
      for (const [name] of page) {
        urlElements.push(urlElement(`${projectPath(name)}/`));
        if (urlElements.length === MAX_ADDRESSES_PER_PART) finish();
      }
    if (urlElements.length > 0) finish();
    const index = parts.map((path) => `<sitemap><loc>${escape(publicUrl + path)}</loc></sitemap>\n`).join('');
    writeIfChanged(
      join(outputPath, sitemapPath),
      `${XML}<sitemapindex ${NAMESPACE}>\n${index}</sitemapindex>\n`,
    );
    writeIfChanged(
      join(outputPath, robotsPath),
      `User-agent: *\nDisallow: /search/\nSitemap: ${publicUrl}${sitemapPath}\n`,
    );
  } else
    withDiskErrors(outputPath, () => {
      for (const path of [robotsPath, sitemapPath]) rmSync(join(outputPath, path), { force: true });
    });
  const folder = join(outputPath, sitemapsPath);
  if (!existsSync(folder)) return;
  const staleParts = withDiskErrors(folder, () => readdirSync(folder)).filter(
    (name) =>
      !name.startsWith('.') &&
      !parts.some((part) => part.startsWith(`${sitemapsPath}/${name.replace(/\.gz$/, '')}`)),
  );
  if (staleParts.length > 0) removeFiles(folder, staleParts);
}
