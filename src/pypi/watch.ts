import { parseRequirement, type PackageName } from '../wheels/names.js';
import { compareVersions, sameVersion } from '../wheels/versions.js';
import { newest, type Release } from './releases.js';

/** A project that is followed, and what of it. */
export interface Watched {
  readonly name: PackageName;
  /** The versions that were named. */
  readonly versions: readonly string[];
  /** It is also watched without a version. */
  readonly follow: boolean;
  etag: string | undefined;
  /** The newest release at the first look, where only that and what comes after it is wanted. */
  from: string | undefined;
}

export interface Wanted {
  readonly release: Release;
  /** An administrator named it, or it is the newest of one that was named without a version. */
  readonly requested: boolean;
}

/** The entries of a watch list, NAME or NAME==VERSION, by project. Raises PIW_BAD_REQUIREMENT. */
export function watchList(entries: readonly string[]): readonly Watched[] {
  const byName = new Map<PackageName, { versions: string[]; follow: boolean }>();
  for (const entry of entries) {
    const { name, version } = parseRequirement(entry);
    const known = byName.get(name) ?? { versions: [], follow: false };
    if (version === undefined) known.follow = true;
    else known.versions.push(version);
    byName.set(name, known);
  }
  return [...byName].map(([name, its]) => ({ name, ...its, etag: undefined, from: undefined }));
}

/**
 * The releases that are wanted of a project: those that were named, and, where it is followed, all of
 * them or (`newest`) the newest and those after it. `missing` are named versions that it doesn't have.
 */
export function select(
  watched: Watched,
  found: readonly Release[],
  history: 'all' | 'newest',
): { readonly wanted: readonly Wanted[]; readonly missing: readonly string[] } {
  const named = (release: Release) =>
    watched.versions.some((version) => sameVersion(version, release.version));
  if (watched.follow) watched.from ??= newest(found)?.version;
  const { from, follow } = watched;
  const since = (release: Release) =>
    history === 'all' ||
    (from !== undefined && release.hasSdist && compareVersions(release.version, from) >= 0);
  return {
    wanted: found
      .filter((release) => named(release) || (follow && since(release)))
      .map((release) => ({ release, requested: named(release) || release.version === from })),
    missing: watched.versions.filter(
      (version) => !found.some((release) => sameVersion(release.version, version)),
    ),
  };
}
