import { rethrowUnexpected } from '../errors.js';
import { isPackageName, normalise, type PackageName } from '../wheels/names.js';
import { parseWheelName } from '../wheels/tags.js';

const SDIST_FILENAME = /^(.+)\.(?:tar\.gz|zip|tar\.bz2|tgz|tar\.xz|tar\.Z|tar)$/;

/**
 * Returns the kind and the version of a project's file, judged by its name; `other` has no version. The name of an old
 * sdist may contain further hyphens: it is split where the part before the version normalises to the project's name.
 */
export function classifyFile(
  filename: string,
  project: PackageName,
): { kind: 'sdist' | 'wheel' | 'other'; version: string | null } {
  if (filename.endsWith('.whl')) {
    try {
      const wheel = parseWheelName(filename);
      return { kind: 'wheel', version: wheel.version.replaceAll('_', '-') };
    } catch (error) {
      rethrowUnexpected(error);
      return { kind: 'other', version: null };
    }
  }
  const stem = SDIST_FILENAME.exec(filename)?.[1] ?? '';
  // If several splits are possible, prefer the one whose version looks like a version.
  const versions = splits(stem)
    .filter(([name]) => isPackageName(name) && normalise(name) === project)
    .map(([, version]) => version)
    // A "dumb" binary distribution looks like an sdist with an odd version.
    .filter((version) => version !== '' && !/\.(linux|win|macosx)-/.test(version));
  const version = versions.find((candidate) => /^v?\d/.test(candidate)) ?? versions[0];
  return version === undefined ? { kind: 'other', version: null } : { kind: 'sdist', version };
}

/** Returns every way to split a file's stem in two at a `-`. */
function splits(stem: string): readonly (readonly [string, string])[] {
  const parts = stem.split('-');
  return parts
    .slice(1)
    .map((_, i) => [parts.slice(0, i + 1).join('-'), parts.slice(i + 1).join('-')] as const);
}
