import { PiwError } from '../errors.js';
import { isPackageName, normalise, type PackageName } from '../wheels/names.js';
import { parseWheelName } from '../wheels/tags.js';

const SDIST_FILENAME = /^(.+)\.(?:tar\.gz|zip|tar\.bz2|tgz|tar\.xz|tar\.Z|tar)$/;

/**
 * What a file of a project is, by its name, and of which version; `other` has none. An old sdist's
 * name may hold `-` itself: the part before the version is the one that normalises to the project's.
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
      if (!(error instanceof PiwError)) throw error;
      return { kind: 'other', version: null };
    }
  }
  const stem = SDIST_FILENAME.exec(filename)?.[1] ?? '';
  // Where the name itself may end in digits, the part that looks like a version is the version.
  const versions = splits(stem)
    .filter(([name]) => isPackageName(name) && normalise(name) === project)
    .map(([, version]) => version)
    // A folder of platform builds ("dumb" distributions) looks like an sdist of an odd version.
    .filter((version) => version !== '' && !/\.(linux|win|macosx)-/.test(version));
  const version = versions.find((one) => /^v?\d/.test(one)) ?? versions[0];
  return version === undefined ? { kind: 'other', version: null } : { kind: 'sdist', version };
}

/** Each way to cut a file's stem in two at a `-`. */
function splits(stem: string): readonly (readonly [string, string])[] {
  const parts = stem.split('-');
  return parts
    .slice(1)
    .map((_, at) => [parts.slice(0, at + 1).join('-'), parts.slice(at + 1).join('-')] as const);
}
