import { readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { codeOf } from '../wheels/disk.js';
import { alias, guarded, removeFiles, replace, writeAtomic } from './atomic.js';
import { pypiPath } from './layout.js';

const LINK = 'json';
const PAGE = /^\d+\.json$/;

/**
 * Writes a project's page of PyPI's JSON API. The page is named after its serial, and `json` is a link to it: mirrors
 * want the serial in a header, and nginx can tell it from where a link leads, but from no file's contents. The page
 * before it stays until `tidyPypi`, for who has read the link already. Throws PIW_DISK_FULL, PIW_NOT_WRITABLE.
 */
export function writePypi(outputPath: string, name: string, serial: number, page: Uint8Array): void {
  const folder = join(outputPath, pypiPath(name));
  const file = `${String(serial)}.json`;
  const before = targetOf(folder);
  if (before === file) {
    writeAtomic(join(folder, file), page);
    return;
  }
  replace(join(folder, file), page);
  alias(folder, LINK, file);
  if (before !== undefined) removeOthers(folder, [file, before]);
}

/** Removes the pages that the link doesn't lead to any more. */
export function tidyPypi(outputPath: string, name: string): void {
  const folder = join(outputPath, pypiPath(name));
  const target = targetOf(folder);
  if (target !== undefined) removeOthers(folder, [target]);
}

/** Removes all of it, the link first. */
export function removePypi(outputPath: string, name: string): void {
  const folder = join(outputPath, pypiPath(name));
  removeFiles(folder, [LINK, ...pagesIn(folder)]);
}

function removeOthers(folder: string, kept: readonly (string | undefined)[]): void {
  const others = pagesIn(folder).filter((page) => !kept.includes(page));
  if (others.length > 0) removeFiles(folder, others);
}

const pagesIn = (folder: string): readonly string[] =>
  guarded(folder, () => unlessAbsent(() => readdirSync(folder))?.filter((one) => PAGE.test(one)) ?? []);

const targetOf = (folder: string): string | undefined =>
  guarded(folder, () => unlessAbsent(() => readlinkSync(join(folder, LINK))));

function unlessAbsent<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
