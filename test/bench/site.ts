import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Script, createContext } from 'node:vm';
import { gzipSync } from 'node:zlib';
import { startWebServer } from '../../src/web/web-server.js';
import type { SearchRow } from '../../src/model/project.js';
import { ASSETS } from '../../src/site/pages/assets.js';
import { Site } from '../../src/site/site.js';
import { startBrowser } from '../helpers/browser.js';
import type { Benchmark, BenchFigures } from './bench.js';
import { packageNames, seededNumbers, searchRows, sampleNames } from './pypi-names.js';
import { measureRoot } from './root.js';

/** Names that are searched for, typed letter by letter. */
const SEARCH_COUNT = 2000;
/** Names that are searched for in the browser. */
const BROWSER_SEARCH_COUNT = 40;

/**
 * Measures the root of the simple index (root.ts), and the search over as many names as PyPI has: the time and memory
 * to write it, the bytes that a visitor loads for one search, and the time to the first result in a real browser.
 */
export const site: Benchmark = {
  name: 'site',
  summary: 'writing the root index and the search over all names, and searching in a browser',
  options: { names: 700_000, root: 500_000 },
  async run({ names = 700_000, root = 500_000 }, say) {
    const folder = mkdtempSync(join(tmpdir(), 'piw-bench-site-'));
    try {
      const rootResult = await measureRoot(root, 5, say);
      const limits = { ...rootResult.limits, write_rename_per_s: writesPerSecond(folder) };
      return { figures: { ...rootResult.figures, ...(await searchFigures(folder, names, say)) }, limits };
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
};

async function searchFigures(
  folder: string,
  names: number,
  say: (line: string) => void,
): Promise<BenchFigures> {
  say(`generating ${names} names`);
  packageNames(names);
  say('writing the search over all names');
  const searchSite = new Site({ outputPath: folder, publicUrl: null });
  searchSite.setUp();
  let peakRss = 0;
  const memorySampler = setInterval(() => {
    peakRss = Math.max(peakRss, process.memoryUsage.rss());
  }, 20);
  const before = process.memoryUsage.rss();
  const writeStart = performance.now();
  await searchSite.writeSearch(paged(searchRows(names)));
  const writeMs = performance.now() - writeStart;
  const rewriteStart = performance.now();
  await searchSite.writeSearch(paged(searchRows(names)));
  const rewriteMs = performance.now() - rewriteStart;
  clearInterval(memorySampler);
  say(`measuring what ${SEARCH_COUNT} searches load`);
  const loads: SearchLoad[] = [];
  for (const name of sampleNames(names, SEARCH_COUNT)) loads.push(await typedSearchLoad(folder, name));
  say(`measuring what ${SEARCH_COUNT} searches with a typo load`);
  const random = seededNumbers(17);
  const mistyped: Awaited<ReturnType<typeof mistypedSearchLoad>>[] = [];
  for (const name of sampleNames(names, SEARCH_COUNT))
    if (name.length > 5) mistyped.push(await mistypedSearchLoad(folder, name, random));
  const browserFigures = await firstResults(folder, [...sampleNames(names, BROWSER_SEARCH_COUNT)], say);
  return {
    search_write_ms: writeMs,
    // Of the whole process; rss_before_mb is the share of Node and of the generated names.
    search_write_rss_mb: peakRss / 1e6,
    rss_before_mb: before / 1e6,
    search_write_unchanged_ms: rewriteMs,
    // Uncompressed, and as sent by servers that compress.
    search_bytes_largest: Math.max(...loads.map(({ plain }) => plain)),
    search_bytes_largest_compressed: Math.max(...loads.map(({ packed }) => packed)),
    search_bytes_mean: loads.reduce((sum, { plain }) => sum + plain, 0) / loads.length,
    // The share of names that are still found with one letter left out, and the bytes that such a search loads.
    search_mistyped_found_share: mistyped.filter(({ found }) => found).length / mistyped.length,
    search_mistyped_bytes_largest: Math.max(...mistyped.map(({ plain }) => plain)),
    search_mistyped_bytes_largest_compressed: Math.max(...mistyped.map(({ packed }) => packed)),
    ...browserFigures,
  };
}

/** Returns the files per second, as large as those of the search, that can be written and renamed. */
function writesPerSecond(folder: string): number {
  const content = Buffer.alloc(5000, 1);
  mkdirSync(join(folder, 'limit'));
  const startedAt = performance.now();
  for (let i = 0; i < 5000; i += 1) {
    writeFileSync(join(folder, 'limit/new'), content);
    renameSync(join(folder, 'limit/new'), join(folder, `limit/${i}`));
  }
  const elapsedMs = performance.now() - startedAt;
  rmSync(join(folder, 'limit'), { recursive: true });
  return 5000 / (elapsedMs / 1000);
}

async function* paged(rows: Iterable<SearchRow>): AsyncGenerator<readonly SearchRow[]> {
  let page: SearchRow[] = [];
  for (const row of rows) {
    page.push(row);
    if (page.length < 5000) continue;
    await Promise.resolve();
    yield page;
    page = [];
  }
  yield page;
}

/** The part of site.js that is used. */
interface SearchScript {
  search(query: string): Promise<{ readonly rows: readonly (readonly [name: string])[] }>;
}

const searchScript = new Script(ASSETS.script.content.toString());

/** Runs the pages' own script, without a page, on the files below `folder`; `sizes` gets the bytes of each that it loads. */
function startSearchScript(folder: string, sizes: Map<string, SearchLoad>): SearchScript {
  const fetch = (url: URL): Promise<object> => {
    const file = join(folder, url.pathname);
    if (!existsSync(file)) return Promise.resolve({ status: 404 });
    const content = readFileSync(file);
    sizes.set(url.pathname, { plain: content.length, packed: gzipSync(content).length });
    return Promise.resolve({ ok: true, json: () => JSON.parse(content.toString()) as unknown });
  };
  const document = {
    documentElement: { dataset: {} },
    baseURI: 'http://localhost/',
    querySelectorAll: () => [],
    addEventListener: () => undefined,
  };
  const context = createContext({ document, fetch, navigator: {}, URL });
  searchScript.runInContext(context);
  return context as unknown as SearchScript;
}

interface SearchLoad {
  readonly plain: number;
  readonly packed: number;
}

/** Searches for these texts one after the other; returns the bytes that they load, and whether the last finds `name`. */
async function searchLoad(
  folder: string,
  texts: readonly string[],
  name: string,
): Promise<SearchLoad & { readonly found: boolean }> {
  const sizes = new Map<string, SearchLoad>();
  const script = startSearchScript(folder, sizes);
  let found = false;
  for (const text of texts) {
    const { rows } = await script.search(text);
    found = rows.some(([result]) => result === name);
  }
  const loads = [...sizes.values()];
  return {
    found,
    plain: loads.reduce((sum, { plain }) => sum + plain, 0),
    packed: loads.reduce((sum, { packed }) => sum + packed, 0),
  };
}

/** Returns what a search loads while a name is typed letter by letter. Throws if the search doesn't find the name. */
async function typedSearchLoad(folder: string, name: string): Promise<SearchLoad> {
  const texts = Array.from(name, (_, i) => name.slice(0, i + 1));
  const load = await searchLoad(folder, texts, name);
  if (!load.found) throw new Error(`the search for ${name} doesn't find it`);
  return load;
}

/** Returns what a search loads for a name with one letter left out, and whether it finds the name. */
function mistypedSearchLoad(
  folder: string,
  name: string,
  random: () => number,
): Promise<SearchLoad & { readonly found: boolean }> {
  const key = name.replaceAll('-', '');
  const omitted = 1 + Math.floor(random() * (key.length - 2));
  return searchLoad(folder, [key.slice(0, omitted) + key.slice(omitted + 1)], name);
}

/** The part of playwright's API that is used; playwright may not be installed, so its types can't be imported. */
interface HeadlessBrowser {
  newPage(): Promise<BrowserPage>;
  close(): Promise<void>;
}
interface BrowserPage {
  goto(url: string): Promise<unknown>;
  evaluate<T>(script: string): Promise<T>;
  close(): Promise<void>;
}

/**
 * Measures the time from a key press to the first result in the page, by the page's clock: for one letter, whole names,
 * mistyped names and parts of names.
 */
async function firstResults(
  folder: string,
  names: readonly string[],
  say: (line: string) => void,
): Promise<BenchFigures> {
  const server = await startWebServer({ root: folder, host: '127.0.0.1', port: 0 });
  const browser = (await startBrowser()) as HeadlessBrowser;
  const base = `http://127.0.0.1:${server.port}/packages.html`;
  const measure = async (text: string): Promise<number> => {
    const page = await browser.newPage();
    await page.goto(base);
    const elapsedMs = await page.evaluate<number>(`new Promise((resolve) => {
      const input = document.querySelector('form[data-live] input');
      const began = performance.now();
      new MutationObserver(() => {
        if (document.querySelector('.results .found li') || document.querySelector('.results p').textContent) resolve(performance.now() - began);
      }).observe(document.querySelector('.results'), { childList: true, subtree: true });
      input.value = ${JSON.stringify(text)};
      input.dispatchEvent(new Event('input'));
    })`);
    await page.close();
    return elapsedMs;
  };
  try {
    say(`searching for ${names.length} names in a browser`);
    const first: number[] = [];
    const whole: number[] = [];
    const mistyped: number[] = [];
    const middle: number[] = [];
    for (const name of names) {
      first.push(await measure(name.charAt(0)));
      whole.push(await measure(name));
      // The name without its fifth letter, and a part from its middle.
      const key = name.replaceAll('-', '');
      if (key.length < 8) continue;
      mistyped.push(await measure(key.slice(0, 4) + key.slice(5)));
      middle.push(await measure(key.slice(2, 7)));
    }
    const median = (values: number[]): number =>
      values.sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
    return {
      search_first_result_ms: median(first),
      search_first_result_longest_ms: Math.max(...first),
      search_whole_name_ms: median(whole),
      search_whole_name_longest_ms: Math.max(...whole),
      search_mistyped_ms: median(mistyped),
      search_mistyped_longest_ms: Math.max(...mistyped),
      search_middle_ms: median(middle),
      search_middle_longest_ms: Math.max(...middle),
    };
  } finally {
    await browser.close();
    await server.close();
  }
}
