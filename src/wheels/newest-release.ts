import { isPrerelease } from './versions.js';

export interface ReleaseWithFiles<File> {
  readonly version: string;
  readonly files: readonly File[];
}

/**
 * Returns the newest release that has files: a final, unyanked one if there is any. `releases` must be sorted
 * by version, oldest first.
 */
export function newestRelease<File extends { readonly yanked: string | null }>(
  releases: ReadonlyMap<string, readonly File[]>,
): ReleaseWithFiles<File> | undefined {
  const withFiles = [...releases]
    .map(([version, files]): ReleaseWithFiles<File> => ({ version, files }))
    .filter(({ files }) => files.length > 0);
  const unyanked = withFiles.filter(({ files }) => files.some(({ yanked }) => yanked === null));
  return unyanked.findLast(({ version }) => !isPrerelease(version)) ?? unyanked.at(-1) ?? withFiles.at(-1);
}
