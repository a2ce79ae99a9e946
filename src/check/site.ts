import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { createGunzip, gunzip } from 'node:zlib';
import { promisify } from 'node:util';
import { errorMessage } from '../errors.js';
import { GZIP_SUFFIX } from '../files/atomic.js';
import { FILES_LINK, notFoundPath, robotsPath, sitemapPath, statisticsPath } from '../site/layout.js';
import type { FaultReporter } from './faults.js';
import { parseObject } from './listing-json.js';
import { readMarkup } from './markup.js';
import { REQUIRED_PAGES, checkPage, checkSelfContained, internalLinks } from './people.js';
import { decodeText, type OutputTree } from './place.js';
import { Changed, type CheckUnit } from './rounds.js';
import { checkRobots, checkSitemap } from './sitemap.js';

const unpack = promisify(gunzip);
const REQUIRED_FILES = [...REQUIRED_PAGES, notFoundPath, statisticsPath];
/** Folders that are checked by units of their own. */
const CHECKED_SEPARATELY = ['simple', 'project', 'logs', 'pypi', FILES_LINK];

/** Checks a page for people on the disk: its markup and its links. */
export async function checkSitePage(tree: OutputTree, path: string, report: FaultReporter): Promise<void> {
  const initialFingerprint = tree.fingerprint([path]);
  const stats = tree.stat(path);
  const text = tree.readText(path, report);
  if (stats && text !== undefined) {
    await tree.checkCompressed(path, report);
    // The log of a build is written at about the same time by another request.
    checkMarkup(tree, path, text, tree.isRecent(stats), report);
  }
  if (tree.fingerprint([path]) !== initialFingerprint) throw new Changed();
}

/** Checks a page's markup and links. A log that a recent page links to may still be missing. */
function checkMarkup(
  tree: OutputTree,
  path: string,
  text: string,
  isRecent: boolean,
  report: FaultReporter,
): void {
  const markup = readMarkup(text);
  checkSelfContained(markup, path, report);
  checkPage(markup, path, report);
  for (const address of internalLinks(markup, path)) {
    if (tree.serves(address)) continue;
    const isLog = address.startsWith('/logs/');
    if (isLog && isRecent) continue;
    report(isLog ? 'log-missing' : 'link-broken', `${path} ${address}`, 'missing', 'a file that exists');
  }
}

/** Yields units for the top of the output path, and for the folders in it that are not in CHECKED_SEPARATELY. */
export function* siteUnits(tree: OutputTree): Generator<CheckUnit> {
  yield {
    check: async (report) => {
      checkRequiredFiles(tree, report);
      await checkSitemap(
        (path) => tree.readText(path, report),
        (address) => tree.serves(address),
        report,
      );
    },
  };
  yield* folderUnits(tree, '');
}

function* folderUnits(tree: OutputTree, folder: string): Generator<CheckUnit> {
  for (const entry of tree.list(folder)) {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
    yield {
      check: async (report) => {
        if (tree.checkEntry(folder, entry, report)) return;
        if (path.endsWith('.html')) await checkSitePage(tree, path, report);
        else if (path.endsWith('.json') && path !== statisticsPath) checkJsonFile(tree, path, report);
        else if (path.endsWith(GZIP_SUFFIX))
          await tree.checkCompressed(path.slice(0, -GZIP_SUFFIX.length), report);
      },
    };
    const hidden = entry.name.startsWith('.');
    if (entry.isDirectory() && !hidden && !CHECKED_SEPARATELY.includes(path)) yield* folderUnits(tree, path);
  }
}

/** Checks a JSON file, which is mostly the search's data. */
function checkJsonFile(tree: OutputTree, path: string, report: FaultReporter): void {
  const text = tree.readText(path, report);
  try {
    if (text !== undefined) JSON.parse(text);
  } catch (error) {
    report('data-json', path, errorMessage(error), 'valid JSON');
  }
}

function checkRequiredFiles(tree: OutputTree, report: FaultReporter): void {
  for (const path of REQUIRED_FILES) if (!tree.isFile(path)) report('site-page', path, 'missing', 'a page');
  for (const path of [sitemapPath, robotsPath])
    if (!tree.isFile(path)) report('site-extra', path, 'missing', 'a file');
  const statistics = tree.readText(statisticsPath, report);
  if (statistics !== undefined)
    parseObject(statistics, statisticsPath, (_rule, path, found) => {
      report('statistics-json', path, found, 'a JSON object');
    });
  const robots = tree.readText(robotsPath, report);
  if (robots !== undefined) checkRobots(robots, tree.isFile(sitemapPath), report);
}

/** Yields a unit for each stored log. `readContents`: it is unpacked as well. */
export async function* logUnits(tree: OutputTree, readContents: boolean): AsyncGenerator<CheckUnit> {
  for (const folder of tree.list('logs')) {
    const path = `logs/${folder.name}`;
    yield {
      check: (report) => {
        if (tree.checkEntry('logs', folder, report)) return;
        if (!folder.isDirectory()) report('stray-file', path, 'a file', 'only folders');
      },
    };
    if (!folder.isDirectory() || folder.name.startsWith('.')) continue;
    for await (const entry of tree.walk(path)) {
      yield {
        check: async (report) => {
          if (tree.checkEntry(path, entry, report)) return;
          await checkLog(tree, `${path}/${entry.name}`, readContents, report);
        },
      };
    }
  }
}

async function checkLog(
  tree: OutputTree,
  path: string,
  readContents: boolean,
  report: FaultReporter,
): Promise<void> {
  if (!path.endsWith(GZIP_SUFFIX)) {
    const isLog = /\.(txt|html)$/.test(path);
    report(
      isLog ? 'log-plain' : 'stray-file',
      path,
      isLog ? 'an uncompressed log' : 'an unknown file',
      isLog ? `${path}${GZIP_SUFFIX}` : 'no such file',
    );
    return;
  }
  if (!readContents) return;
  if (path.endsWith(`.html${GZIP_SUFFIX}`)) {
    const bytes = tree.readBytes(path);
    const page = bytes && (await unpack(bytes).catch(() => undefined));
    if (bytes && !page) report('gzip-broken', path, 'it can’t be unpacked', 'valid gzip data');
    const text = page && decodeText(page, path, report);
    if (text !== undefined) checkMarkup(tree, path.slice(0, -GZIP_SUFFIX.length), text, false, report);
    return;
  }
  try {
    await pipeline(
      createReadStream(tree.resolve(path)),
      createGunzip(),
      async (unpacked: AsyncIterable<Buffer>) => {
        for await (const chunk of unpacked) if (chunk.length === 0) break;
      },
    );
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return;
    if (!code.startsWith('Z_') && code !== 'ERR_BUFFER_TOO_LARGE') throw error;
    report('gzip-broken', path, code, 'valid gzip data');
  }
}
