/**
 * Takes the pictures for docs/: pages of a sample farm in a real browser. `node dist/test/site/screenshots.js
 * [FOLDER]`, after `npm test` or `node src/setup.mjs prepare`. `--all` (or `--all=PAGE,…`) takes full pages for review:
 * light and dark, as wide as a desktop and a phone. `--share` takes the picture for link previews
 * (src/site/static/share.png).
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { startWebServer } from '../../src/web/web-server.js';
import { startBrowser } from '../helpers/browser.js';
import { PAGES, writeSampleSite } from './sample-site.js';

/** The pictures in docs/: [file, page, width, height, colour scheme, search query]. */
const PICTURES = [
  ['site-home', 'home', 1280, 1000, 'light', ''],
  ['site-home-dark', 'home', 1280, 1000, 'dark', ''],
  ['site-search', 'packages', 1280, 900, 'light', 'rest'],
  ['site-project', 'project', 1280, 1000, 'light', ''],
  ['site-log', 'log', 1280, 760, 'dark', ''],
  ['site-farm', 'farm', 1280, 900, 'light', ''],
  ['site-faq', 'faq', 1280, 900, 'dark', ''],
  ['site-phone', 'project', 390, 844, 'light', ''],
] as const;

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

async function takePicture(
  page: Page,
  url: string,
  path: string,
  query: string,
  fullPage: boolean,
): Promise<void> {
  await page.goto(url);
  if (query !== '') {
    await page.fill('form[data-live] input', query);
    await page.waitForSelector('.results .found li');
  }
  await page.waitForLoadState('networkidle');
  await page.screenshot({ path, fullPage });
}

async function takeDocsPictures(browser: Browser, base: string, folder: string): Promise<void> {
  for (const [file, name, width, height, colorScheme, query] of PICTURES) {
    const page = await browser.newPage({ viewport: { width, height }, colorScheme });
    const fragment = name === 'log' ? '#why' : '';
    await takePicture(page, `${base}${PAGES[name]}${fragment}`, join(folder, `${file}.png`), query, false);
    await page.close();
  }
}

async function takeAllPictures(
  browser: Browser,
  base: string,
  folder: string,
  onlyPages: readonly string[],
): Promise<void> {
  for (const colorScheme of ['light', 'dark'] as const)
    for (const [width, height] of [
      [1280, 900],
      [360, 740],
    ] as const) {
      const page = await browser.newPage({ viewport: { width, height }, colorScheme });
      for (const [name, path] of Object.entries(PAGES)) {
        if (onlyPages.length > 0 && !onlyPages.includes(name)) continue;
        const file = join(folder, `${name}-${colorScheme}-${width}.png`);
        await takePicture(page, `${base}${path}`, file, '', true);
      }
      if (onlyPages.length === 0)
        await takePicture(
          page,
          `${base}${PAGES.packages}`,
          join(folder, `search-${colorScheme}-${width}.png`),
          'rest',
          true,
        );
      await page.close();
    }
}

/** Takes the picture for link previews, with the logo and the slogan: 1200 by 630 pixels, as other sites expect. */
async function takeSharePicture(browser: Browser, base: string): Promise<void> {
  const page = await browser.newPage({ viewport: { width: 1200, height: 630 }, colorScheme: 'light' });
  await page.goto(base);
  await page.addStyleTag({ url: `${base}share.css` });
  await page.screenshot({ path: join(ROOT, 'src/site/static/share.png') });
  await page.close();
}

const SHARE_CSS = `.top,.figures,.two,main>section:not(.hero),footer,.search,.for{display:none!important}
main{max-width:none!important;padding:0 80px!important;display:grid;align-items:center;height:630px}
.hero{grid-template-columns:1fr 460px!important;padding:0!important;margin:0!important}
.hero h1{font-size:57px!important}.hero .lead{font-size:27px!important}.wheel{width:460px!important}`;

const args = process.argv.slice(2);
const allOption = args.find((word) => word.startsWith('--all'));
const folder = mkdtempSync(join(tmpdir(), 'piw-pictures-'));
try {
  const now = Date.now();
  await writeSampleSite(folder, null, now);
  writeFileSync(join(folder, 'share.css'), SHARE_CSS);
  const server = await startWebServer({ root: folder, host: '127.0.0.1', port: 0 });
  const base = `http://127.0.0.1:${server.port}/`;
  const browser = (await startBrowser()) as Browser;
  try {
    const output = args.find((word) => !word.startsWith('-')) ?? join(ROOT, 'docs');
    mkdirSync(output, { recursive: true });
    if (args.includes('--share')) await takeSharePicture(browser, base);
    else if (allOption !== undefined)
      await takeAllPictures(browser, base, output, allOption.split('=')[1]?.split(',') ?? []);
    else await takeDocsPictures(browser, base, output);
  } finally {
    await browser.close();
    await server.close();
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
