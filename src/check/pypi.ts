import type { Dirent } from 'node:fs';
import { pypiPath, simplePath } from '../site/layout.js';
import { format, type FaultReporter } from './faults.js';
import { isObject, parseObject, type JsonObject } from './listing-json.js';
import type { Listing } from './listing.js';
import type { OutputTree } from './place.js';
import { formatQuantity } from '../units.js';

/** Checks a project's page of PyPI's JSON API on the disk. An index without serials is not piw's, and has none. */
export function checkPypiPage(tree: OutputTree, name: string, listing: Listing, report: FaultReporter): void {
  if (listing.serial === null) return;
  const path = `${pypiPath(name)}/json`;
  const text = tree.readText(path, report);
  if (text === undefined) report('pypi-json', path, 'missing', 'the project in PyPI’s JSON API');
  else checkPypiJson(text, name, listing, path, report);
}

/** Checks that an entry in the folder of PyPI's JSON API belongs to a project of the index. */
export function checkPypiOrphan(tree: OutputTree, entry: Dirent, report: FaultReporter): void {
  const path = pypiPath(entry.name);
  const stats = tree.stat(path);
  if (tree.checkEntry('pypi', entry, report, stats) || !stats) return;
  if (!entry.isDirectory()) report('stray-file', path, 'a file', 'only project folders');
  else if (!tree.stat(simplePath(entry.name)) && !tree.isRecent(stats))
    report('pypi-orphan', path, 'a project that is not in the simple index', 'no such folder');
}

/** Checks that PyPI's JSON has the serial of the simple index's page, and the same files and hashes. */
export function checkPypiJson(
  text: string,
  name: string,
  listing: Listing,
  path: string,
  report: FaultReporter,
): void {
  const json = parseObject(text, path, report);
  if (!json) return;
  const { info, last_serial: serial, releases } = json;
  const infoName = isObject(info) ? info['name'] : undefined;
  if (infoName !== name) report('pypi-json', `${path} info.name`, format(infoName), name);
  if (listing.serial !== null && serial !== listing.serial)
    report('pypi-json', `${path} last_serial`, format(serial), String(listing.serial));
  const files = new Map(
    (isObject(releases) ? Object.values(releases) : [])
      .flatMap((release): readonly JsonObject[] => (Array.isArray(release) ? release.filter(isObject) : []))
      .map((file) => [file['filename'], file] as const),
  );
  for (const { filename, sha256 } of listing.files) {
    const file = files.get(filename);
    const digests = file?.['digests'];
    const digest = isObject(digests) ? digests['sha256'] : undefined;
    if (digest !== sha256 && sha256 !== null)
      report('pypi-json', `${path} ${format(filename)}`, format(digest), sha256);
    const url = file?.['url'];
    const expectedPath = `/packages/${name}/${encodeURIComponent(filename)}`;
    if (file && !(typeof url === 'string' && url.endsWith(expectedPath)))
      report('pypi-json', `${path} ${format(filename)}`, format(url), expectedPath);
  }
  if (files.size > listing.files.length)
    report(
      'pypi-json',
      `${path} files`,
      formatQuantity(files.size, 'file'),
      formatQuantity(listing.files.length, 'file'),
    );
}
