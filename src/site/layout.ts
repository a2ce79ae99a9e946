/** The layout of the output path; all paths are relative to it. Names have been validated and contain no slashes. */

export const homePath = 'index.html';
export const simplePath = (name?: string): string => (name === undefined ? 'simple' : `simple/${name}`);
/** A project's folder: the page is `index.html`, its JSON is `json/index.json`. */
export const projectPath = (name: string): string => `project/${name}`;
/** A project's folder for PyPI's JSON API: `json` is a link to `SERIAL.json` in the same folder. */
export const pypiPath = (name: string): string => `pypi/${name}`;
/** A link to the simple index. The paths of file URLs in PyPI's JSON API have to begin with it. */
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
/** The list of packages that begin with `prefix`, for visitors without JavaScript; in the search folder. */
export const browsePath = (prefix: string): string => `search/names/${prefix}.html`;
export const sitemapPath = 'sitemap.xml';
/** The folder of the sitemap's parts. */
export const sitemapsPath = 'sitemaps';
export const robotsPath = 'robots.txt';
/** A part of the sitemap, counted from 1. */
export const sitemapPart = (part: number): string => `sitemaps/${String(part).padStart(4, '0')}.xml`;

const BUILDS_PER_FOLDER = 1_000_000;
/** Folders whose names have four digits. A build beyond them is filed by the first four digits of its number. */
const MAX_FOLDERS = 10_000;
/** The folder whose path was formatted last: a project's page has thousands of logs from a few folders. */
let lastFolder = { number: NaN, path: '' };

/**
 * Returns the path of a build's log, as a page (`html`) or as plain text (`txt`). A folder holds the logs of a million
 * builds: `logs/0001/234567.html` belongs to build 1234567. This is the path in URLs; on the disk there is only the
 * compressed file, with `.gz` appended.
 */
export function logPath(buildId: number, form: 'html' | 'txt' = 'html'): string {
  if (buildId >= MAX_FOLDERS * BUILDS_PER_FOLDER) {
    const digits = String(buildId);
    return `logs/${digits.slice(0, 4)}/${digits.slice(4)}.${form}`;
  }
  const number = Math.floor(buildId / BUILDS_PER_FOLDER);
  if (number !== lastFolder.number) lastFolder = { number, path: `logs/${String(number).padStart(4, '0')}/` };
  return `${lastFolder.path}${String(BUILDS_PER_FOLDER + (buildId % BUILDS_PER_FOLDER)).slice(1)}.${form}`;
}

/**
 * The forms of a page of the simple index. A static server chooses by the client's Accept header, with index.html as
 * the default. index.v1_html is a symbolic link to index.html.
 */
export const SIBLINGS = ['index.html', 'index.v1_html', 'index.v1_json'] as const;
