import { readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { ensureSymlink, removeFiles, replaceFile, writeIfChanged } from '../../files/atomic.js';
import { undefinedIfMissing, withDiskErrors } from '../../files/disk.js';
import { pypiPath } from '../layout.js';

const LINK_NAME = 'json';
const PAGE_NAME = /^\d+\.json$/;

/**
 * Writes a project's page of PyPI's JSON API. The page is named after its serial, and `json` is a link to it: mirrors
 * want the serial in a header, which nginx can take from the target of a link but not from the content of a file. The
 * previous page stays until removeStalePypi(), for readers that have already followed the link to it. Throws
 * PIW_DISK_FULL or PIW_NOT_WRITABLE.
 */
export function writePypi(outputPath: string, name: string, serial: number, page: Uint8Array): void {
  const folder = join(outputPath, pypiPath(name));
  const file = `${serial}.json`;
  const previous = linkTarget(folder);
  if (previous === file) {
    writeIfChanged(join(folder, file), page);
    return;
  }
  replaceFile(join(folder, file), page);
  ensureSymlink(folder, LINK_NAME, file);
  if (previous !== undefined) removePagesExcept(folder, [file, previous]);
}

/** Removes the pages that the link no longer points to. */
export function removeStalePypi(outputPath: string, name: string): void {
  const folder = join(outputPath, pypiPath(name));
  const target = linkTarget(folder);
  if (target !== undefined) removePagesExcept(folder, [target]);
}

/** Removes the link and then all pages of a project. */
export function removePypi(outputPath: string, name: string): void {
  const folder = join(outputPath, pypiPath(name));
  removeFiles(folder, [LINK_NAME, ...pageNames(folder)]);
}

function removePagesExcept(folder: string, kept: readonly (string | undefined)[]): void {
  const others = pageNames(folder).filter((page) => !kept.includes(page));
  if (others.length > 0) removeFiles(folder, others);
}

const pageNames = (folder: string): readonly string[] =>
  withDiskErrors(
    folder,
    () => undefinedIfMissing(() => readdirSync(folder))?.filter((name) => PAGE_NAME.test(name)) ?? [],
  );

const linkTarget = (folder: string): string | undefined =>
  withDiskErrors(folder, () => undefinedIfMissing(() => readlinkSync(join(folder, LINK_NAME))));
