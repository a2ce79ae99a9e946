import type { Dirent } from 'node:fs';
import { pypiPath, simplePath } from '../layout.js';
import { quote, type Tell } from './faults.js';
import { isObject, objectOf, type Json } from './listing-json.js';
import type { Listing } from './listing.js';
import type { Place } from './place.js';

/** Checks a project's page of PyPI's JSON API on the disk. An index without serials is none of piw's, and has none. */
export function holdPypiPage(place: Place, name: string, listing: Listing, tell: Tell): void {
  if (listing.serial === null) return;
  const path = `${pypiPath(name)}/json`;
  const text = place.text(path, tell);
  if (text === undefined) tell('pypi-json', path, 'nothing', 'the project in PyPI’s JSON');
  else holdPypiJson(text, name, listing, path, tell);
}

/** Checks that there is a project for what stands in the folder of PyPI's JSON API. */
export function lookForPypiOrphan(place: Place, entry: Dirent, tell: Tell): void {
  const path = pypiPath(entry.name);
  const stats = place.stat(path);
  if (place.holdEntry('pypi', entry, tell, stats) || !stats) return;
  if (!entry.isDirectory()) tell('stray-file', path, 'a file', 'folders of projects');
  else if (!place.stat(simplePath(entry.name)) && !place.isYoung(stats))
    tell('pypi-orphan', path, 'nothing of it in the simple index', 'a page, or nothing');
}

/** Checks that PyPI's JSON names the files of the simple index, with their hashes, and has its serial. */
export function holdPypiJson(text: string, name: string, listing: Listing, path: string, tell: Tell): void {
  const json = objectOf(text, path, tell);
  if (!json) return;
  const { info, last_serial: serial, releases } = json;
  const its = isObject(info) ? info['name'] : undefined;
  if (its !== name) tell('pypi-json', `${path} info.name`, quote(its), name);
  if (listing.serial !== null && serial !== listing.serial)
    tell('pypi-json', `${path} last_serial`, quote(serial), String(listing.serial));
  const files = new Map(
    (isObject(releases) ? Object.values(releases) : [])
      .flatMap((release): readonly Json[] => (Array.isArray(release) ? release.filter(isObject) : []))
      .map((file) => [file['filename'], file] as const),
  );
  for (const { filename, sha256 } of listing.files) {
    const file = files.get(filename);
    const digests = file?.['digests'];
    const digest = isObject(digests) ? digests['sha256'] : undefined;
    if (digest !== sha256 && sha256 !== null)
      tell('pypi-json', `${path} ${quote(filename)}`, quote(digest), sha256);
    const url = file?.['url'];
    const place = `/packages/${name}/${encodeURIComponent(filename)}`;
    if (file && !(typeof url === 'string' && url.endsWith(place)))
      tell('pypi-json', `${path} ${quote(filename)}`, quote(url), place);
  }
  if (files.size > listing.files.length)
    tell(
      'pypi-json',
      `${path} files`,
      `${String(files.size)} files`,
      `${String(listing.files.length)} files`,
    );
}
