import { parseRequirement, type PackageName } from '../wheels/names.js';
import { compareVersions, sameVersion } from '../wheels/versions.js';
import { newestBuildable, type ProjectRelease } from './releases.js';

/** A project that is followed, and what of it. */
export interface WatchedProject {
  readonly name: PackageName;
  /** The versions that were named. */
  readonly versions: readonly string[];
  /** It is also watched without a version. */
  readonly follow: boolean;
  etag: string | undefined;
  /** The newest release at the first look, where only that and what comes after it is wanted. */
  from: string | undefined;
}

export interface WantedRelease {
  readonly release: ProjectRelease;
  /** An administrator named it, or it is the newest of one that was named without a version. */
  readonly requested: boolean;
}

/** The entries of a watch list, NAME or NAME==VERSION, by project. Raises PIW_BAD_REQUIREMENT. */
export function parseWatchEntries(entries: readonly string[]): readonly WatchedProject[] {
  const byName = new Map<PackageName, { versions: string[]; follow: boolean }>();
  for (const entry of entries) {
    const { name, version } = parseRequirement(entry);
    const group = byName.get(name) ?? { versions: [], follow: false };
    if (version === undefined) group.follow = true;
    else group.versions.push(version);
    byName.set(name, group);
  }
  return [...byName].map(([name, its]) => ({ name, ...its, etag: undefined, from: undefined }));
}

/**
 * The releases that are wanted of a project: those that were named, and, where it is followed, all of
 * them or (`newest`) the newest and those after it. `missing` are named versions that it doesn't have.
 */
export function selectReleases(
  watched: WatchedProject,
  available: readonly ProjectRelease[],
  history: 'all' | 'newest',
): { readonly wanted: readonly WantedRelease[]; readonly missing: readonly string[] } {
  const isNamed = (release: ProjectRelease) =>
    watched.versions.some((version) => sameVersion(version, release.version));
  if (watched.follow) watched.from ??= newestBuildable(available)?.version;
  const { from, follow } = watched;
  const isRecent = (release: ProjectRelease) =>
    history === 'all' ||
    (from !== undefined && release.hasSdist && compareVersions(release.version, from) >= 0);
  return {
    wanted: available
      .filter((release) => isNamed(release) || (follow && isRecent(release)))
      .map((release) => ({ release, requested: isNamed(release) || release.version === from })),
    missing: watched.versions.filter(
      (version) => !available.some((release) => sameVersion(release.version, version)),
    ),
  };
}
