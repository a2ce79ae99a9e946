import { PiwError } from '../errors.js';
import { isPackageName, normalise, type PackageName } from '../wheels/names.js';
import { parseWheelName } from '../wheels/tags.js';

const SDIST = /^(.+)\.(?:tar\.gz|zip|tar\.bz2|tgz|tar\.xz|tar\.Z|tar)$/;

/**
 * What a file of a project is, by its name, and of which version; `other` has none. An old sdist's
 * name may hold `-` itself: the part before the version is the one that normalises to the project's.
 */
export function classify(
  filename: string,
  project: PackageName,
): { kind: 'sdist' | 'wheel' | 'other'; version: string | null } {
  if (filename.endsWith('.whl')) {
    try {
      const wheel = parseWheelName(filename);
      return { kind: 'wheel', version: wheel.version.replaceAll('_', '-') };
    } catch (error) {
      if (!(error instanceof PiwError)) throw error;
      return { kind: 'other', version: null };
    }
  }
  const stem = SDIST.exec(filename)?.[1];
  for (let at = stem?.indexOf('-') ?? -1; stem !== undefined && at > 0; at = stem.indexOf('-', at + 1)) {
    const name = stem.slice(0, at);
    const version = stem.slice(at + 1);
    // A folder of platform builds ("dumb" distributions) looks like an sdist of an odd version.
    if (
      isPackageName(name) &&
      normalise(name) === project &&
      /^v?\d/.test(version) &&
      !/\.(linux|win|macosx)-/.test(version)
    ) {
      return { kind: 'sdist', version };
    }
  }
  return { kind: 'other', version: null };
}
