import { compareVersions, isPrerelease, sortKey } from '../wheels/versions.js';
import type { IndexFile, IndexProject } from './index-page.js';

/** A release of a project, derived from its files. */
export interface ProjectRelease {
  /** As its sdist spells it, or else its first file. */
  readonly version: string;
  readonly released: Date | null;
  /** The reason if all its files are yanked, otherwise null. */
  readonly yanked: string | null;
  readonly hasSdist: boolean;
  readonly sdistUrl: string | null;
  readonly sdistSha256: string | null;
  readonly requiresPython: string | null;
}

/** Versions that messages and the database can hold. */
// eslint-disable-next-line no-control-regex
export const STORABLE_VERSION = /^[^/\\\s\0-\x1f]{1,200}$/;

/** Returns the releases of a project, lowest version first, without files whose version can't be stored. */
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
  // pip, too, prefers .tar.gz among several archives.
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

/** Returns the release that pip would build: the newest final one with an sdist and not yanked, or else a pre-release. */
export function newestBuildable(candidates: readonly ProjectRelease[]): ProjectRelease | undefined {
  const buildable = candidates.filter(({ hasSdist, yanked }) => hasSdist && yanked === null);
  return buildable.findLast(({ version }) => !isPrerelease(version)) ?? buildable.at(-1);
}
