import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { createGunzip, gunzip } from 'node:zlib';
import { promisify } from 'node:util';
import { reason } from '../../errors.js';
import { FILES_LINK, PACKED, notFoundPath, robotsPath, sitemapPath, statisticsPath } from '../layout.js';
import type { Tell } from './faults.js';
import { objectOf } from './listing-json.js';
import { readMarkup } from './markup.js';
import { PAGES_OF_EACH_SITE, holdPage, holdQuiet, innerLinks } from './people.js';
import { textOf, type Place } from './place.js';
import { Moved, type Unit } from './rounds.js';
import { holdRobots, holdSitemap } from './sitemap.js';

const unpack = promisify(gunzip);
const OF_EACH_SITE = [...PAGES_OF_EACH_SITE, notFoundPath, statisticsPath];
/** Folders that have units of their own. */
const ELSEWHERE = ['simple', 'project', 'logs', 'pypi', FILES_LINK];

/** A page for people on the disk: that it is quiet, and that its links lead somewhere. */
export async function lookAtPage(place: Place, path: string, tell: Tell): Promise<void> {
  const before = place.mark([path]);
  const stats = place.stat(path);
  const text = place.text(path, tell);
  if (stats && text !== undefined) {
    await place.holdPacked(path, tell);
    // Its log is written by another request, at about the same time.
    holdMarkup(place, path, text, place.isYoung(stats), tell);
  }
  if (place.mark([path]) !== before) throw new Moved();
}

function holdMarkup(place: Place, path: string, text: string, young: boolean, tell: Tell): void {
  const markup = readMarkup(text);
  holdQuiet(markup, path, tell);
  holdPage(markup, path, tell);
  // The page for what isn't there is shown at any address.
  for (const address of innerLinks(markup, path)) {
    if (place.serves(address)) continue;
    const log = address.startsWith('/logs/');
    if (log && young) continue;
    tell(log ? 'log-missing' : 'link-broken', `${path} ${address}`, 'nothing', 'something that is there');
  }
}

/** What stands at the top of the output path, and in folders that are neither projects nor logs. */
export function* siteUnits(place: Place): Generator<Unit> {
  yield {
    look: async (tell) => {
      lookAtEachSite(place, tell);
      await holdSitemap(
        (path) => place.text(path, tell),
        (address) => place.serves(address),
        tell,
      );
    },
  };
  yield* folderUnits(place, '');
}

function* folderUnits(place: Place, folder: string): Generator<Unit> {
  for (const entry of place.list(folder)) {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
    yield {
      look: async (tell) => {
        if (place.holdEntry(folder, entry, tell)) return;
        if (path.endsWith('.html')) await lookAtPage(place, path, tell);
        else if (path.endsWith('.json') && path !== statisticsPath) holdData(place, path, tell);
        else if (path.endsWith(PACKED)) await place.holdPacked(path.slice(0, -PACKED.length), tell);
      },
    };
    const hidden = entry.name.startsWith('.');
    if (entry.isDirectory() && !hidden && !ELSEWHERE.includes(path)) yield* folderUnits(place, path);
  }
}

/** The search's data, mostly. */
function holdData(place: Place, path: string, tell: Tell): void {
  const text = place.text(path, tell);
  try {
    if (text !== undefined) JSON.parse(text);
  } catch (error) {
    tell('data-json', path, reason(error), 'JSON');
  }
}

function lookAtEachSite(place: Place, tell: Tell): void {
  for (const path of OF_EACH_SITE) if (!place.isFile(path)) tell('site-page', path, 'nothing', 'a page');
  for (const path of [sitemapPath, robotsPath])
    if (!place.isFile(path)) tell('site-extra', path, 'nothing', 'a file');
  const statistics = place.text(statisticsPath, tell);
  if (statistics !== undefined)
    objectOf(statistics, statisticsPath, (_rule, path, found) => {
      tell('statistics-json', path, found, 'an object');
    });
  const robots = place.text(robotsPath, tell);
  if (robots !== undefined) holdRobots(robots, place.isFile(sitemapPath), tell);
}

/** Each log as it is stored. `whole`: it is unpacked, too. */
export async function* logUnits(place: Place, whole: boolean): AsyncGenerator<Unit> {
  for (const folder of place.list('logs')) {
    const path = `logs/${folder.name}`;
    yield {
      look: (tell) => {
        if (place.holdEntry('logs', folder, tell)) return;
        if (!folder.isDirectory()) tell('stray-file', path, 'a file', 'folders');
      },
    };
    if (!folder.isDirectory() || folder.name.startsWith('.')) continue;
    for await (const entry of place.walk(path)) {
      yield {
        look: async (tell) => {
          if (place.holdEntry(path, entry, tell)) return;
          await lookAtLog(place, `${path}/${entry.name}`, whole, tell);
        },
      };
    }
  }
}

async function lookAtLog(place: Place, path: string, whole: boolean, tell: Tell): Promise<void> {
  if (!path.endsWith(PACKED)) {
    const log = /\.(txt|html)$/.test(path);
    tell(log ? 'log-plain' : 'stray-file', path, 'a file', log ? `${path}${PACKED}` : 'nothing');
    return;
  }
  if (!whole) return;
  if (path.endsWith(`.html${PACKED}`)) {
    const bytes = place.bytes(path);
    const page = bytes && (await unpack(bytes).catch(() => undefined));
    if (bytes && !page) tell('gzip-broken', path, 'it does not unpack', 'gzip');
    const text = page && textOf(page, path, tell);
    if (text !== undefined) holdMarkup(place, path.slice(0, -PACKED.length), text, false, tell);
    return;
  }
  try {
    await pipeline(
      createReadStream(place.at(path)),
      createGunzip(),
      async (unpacked: AsyncIterable<Buffer>) => {
        for await (const piece of unpacked) if (piece.length === 0) break;
      },
    );
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return;
    if (!code.startsWith('Z_') && code !== 'ERR_BUFFER_TOO_LARGE') throw error;
    tell('gzip-broken', path, code, 'gzip');
  }
}
