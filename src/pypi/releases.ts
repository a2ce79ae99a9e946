import { compareVersions, isPrerelease, sortKey } from '../wheels/versions.js';
import type { IndexFile, IndexProject } from './index-reader.js';

/** A release of a project, put together from its files. */
export interface ProjectRelease {
  /** As its sdist spells it, else as its first file does. */
  readonly version: string;
  readonly released: Date | null;
  /** The reason, if all its files are yanked. */
  readonly yanked: string | null;
  readonly hasSdist: boolean;
  readonly sdistUrl: string | null;
  readonly sdistSha256: string | null;
  readonly requiresPython: string | null;
}

/** What a message or a database can hold of a version. */
// eslint-disable-next-line no-control-regex
export const STORABLE_VERSION = /^[^/\\\s\0-\x1f]{1,200}$/;

/** The releases of a project, lowest version first; files of versions that are no versions are left out. */
export function groupByRelease(project: IndexProject): readonly ProjectRelease[] {
  const groups = new Map<string, IndexFile[]>();
  for (const file of project.files) {
    if (file.version === null || !STORABLE_VERSION.test(file.version)) continue;
    const key = sortKey(file.version);
    groups.set(key, [...(groups.get(key) ?? []), file]);
  }
  return [...groups.values()].map(toRelease).sort((a, b) => compareVersions(a.version, b.version));
}

function toRelease(files: readonly IndexFile[]): ProjectRelease {
  const sdists = files.filter((file) => file.kind === 'sdist');
  // Of several archives pip prefers the .tar.gz too.
  const sdist = sdists.find(({ filename }) => filename.endsWith('.tar.gz')) ?? sdists[0];
  const times = files.flatMap(({ uploadTime }) => (uploadTime === null ? [] : [uploadTime.getTime()]));
  const allYanked = files.every(({ yanked }) => yanked !== null);
  const first = sdist ?? files[0];
  return {
    version: first?.version ?? '',
    released: times.length === 0 ? null : new Date(Math.min(...times)),
    yanked: allYanked ? (first?.yanked ?? '') : null,
    hasSdist: sdist !== undefined,
    sdistUrl: sdist?.url ?? null,
    sdistSha256: sdist?.sha256 ?? null,
    requiresPython: first?.requiresPython ?? null,
  };
}

/** The release that pip would choose to build: the newest final one, not yanked; else the newest of all. */
export function newestBuildable(candidates: readonly ProjectRelease[]): ProjectRelease | undefined {
  const buildable = candidates.filter(({ hasSdist, yanked }) => hasSdist && yanked === null);
  return buildable.findLast(({ version }) => !isPrerelease(version)) ?? buildable.at(-1);
}
