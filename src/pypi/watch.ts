import { parseRequirement, type PackageName } from '../wheels/names.js';
import { compareVersions, sameVersion } from '../wheels/versions.js';
import { newestBuildable, type ProjectRelease } from './releases.js';

/** A project to follow, and which of its releases. */
export interface WatchedProject {
  readonly name: PackageName;
  /** The versions that entries name. */
  readonly versions: readonly string[];
  /** An entry names the project without a version. */
  readonly follow: boolean;
  etag: string | undefined;
  /** The newest release at the first visit; with history = newest only it and later ones are wanted. */
  from: string | undefined;
}

export interface WantedRelease {
  readonly release: ProjectRelease;
  /** An entry names this version, or it is the newest release of a project that is named without a version. */
  readonly requested: boolean;
}

/** Parses the entries of a watch list, NAME or NAME==VERSION, and groups them by project. Throws PIW_BAD_REQUIREMENT. */
export function parseWatchEntries(entries: readonly string[]): readonly WatchedProject[] {
  const byName = new Map<PackageName, { versions: string[]; follow: boolean }>();
  for (const entry of entries) {
    const { name, version } = parseRequirement(entry);
    const group = byName.get(name) ?? { versions: [], follow: false };
    if (version === undefined) group.follow = true;
    else group.versions.push(version);
    byName.set(name, group);
  }
  return [...byName].map(([name, group]) => ({ name, ...group, etag: undefined, from: undefined }));
}

/**
 * Selects the wanted releases of a project: the named ones, and, if the project is followed, all of them or (`newest`)
 * the newest and later ones. `missing` are named versions that the project doesn't have.
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
