/** Where everything stands below the output path. Names come validated; none holds a path. */

export const homePath = 'index.html';
export const simplePath = (name?: string): string => (name === undefined ? 'simple' : `simple/${name}`);
/** A project's folder: `index.html`, and the same as JSON in `json/index.json`. */
export const projectPath = (name: string): string => `project/${name}`;
/** A project's folder for PyPI's JSON API: `json` is a link to `SERIAL.json` beside it. */
export const pypiPath = (name: string): string => `pypi/${name}`;
/** A link to the simple index: the path that file addresses have to begin with in PyPI's JSON API. */
export const FILES_LINK = 'packages';
/** All packages, with the search. */
export const packagesPath = 'packages.html';
/** The queue and the slaves. */
export const farmPath = 'farm.html';
export const faqPath = 'faq.html';
export const notFoundPath = '404.html';
export const statisticsPath = 'statistics.json';
/** The search's files. */
export const searchPath = 'search';
/** The list of the packages that begin so, for whoever has no script; below the search's folder. */
export const browsePath = (prefix: string): string => `search/names/${prefix}.html`;
export const sitemapPath = 'sitemap.xml';
/** The sitemap's parts. */
export const sitemapsPath = 'sitemaps';
export const robotsPath = 'robots.txt';
/** The parts of the sitemap, from 1. */
export const sitemapPart = (part: number): string => `sitemaps/${String(part).padStart(4, '0')}.xml`;

/**
 * A build's log, as a page for people (`html`) and as it is (`txt`): by build, a
 * million to a folder. `logs/0001/234567.html` is of build 1234567. This is the address; it is stored
 * compressed only, under the same name with `.gz` behind it.
 */
export function logPath(buildId: number, form: 'html' | 'txt' = 'html'): string {
  const digits = String(buildId).padStart(10, '0');
  return `logs/${digits.slice(0, 4)}/${digits.slice(4)}.${form}`;
}

/**
 * The forms of one page of the simple index: a static server gives one of them by what the client
 * accepts, and index.html to one that asks for nothing in particular. index.v1_html is a symbolic link to it.
 */
export const SIBLINGS = ['index.html', 'index.v1_html', 'index.v1_json'] as const;

/**
 * Behind a page's name: the same compressed, for clients that take it so. It is taken away before the page is
 * replaced, and made again when the page has stood still for a while; so where it is, it is the page.
 */
export const GZIP_SUFFIX = '.gz';
