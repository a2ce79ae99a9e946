import { PiwError } from '../errors.js';
import type { LeaseState } from '../model/lease-state.js';
import type { FileState } from '../model/file-state.js';
import { isPackageName, normalise } from './names.js';
import { parseTarget, parseWheelName, pyVersionTagOf, type WheelName } from './tags.js';
import { sameVersion } from './versions.js';

/** Why there is nobody who could build for what a slave says that it is; undefined where there may be. */
export function targetRefusal(tags: {
  readonly abi_tag: string;
  readonly platform_tag: string;
  readonly py_version_tag: string;
}): string | undefined {
  try {
    const target = parseTarget(tags.abi_tag, tags.platform_tag);
    const isPossible =
      target.major === 3 && target.minor < 100 && /^[a-z0-9_]{1,60}$/.test(tags.platform_tag);
    if (isPossible && pyVersionTagOf(target) === tags.py_version_tag) return undefined;
  } catch (error) {
    if (!(error instanceof PiwError)) throw error;
  }
  return `there is no Python ${tags.py_version_tag} with the ABI ${tags.abi_tag} on ${tags.platform_tag}`;
}

/**
 * Why a file that a slave announces can't be the result of its lease; undefined when it can. It must
 * be a wheel of that package and version, for the slave's platform or any and for nobody's ABI but the slave's,
 * and not over `maxBytes`.
 */
export function fileRefusal(
  file: FileState,
  lease: LeaseState,
  platform: string,
  maxBytes: number,
): string | undefined {
  const name = parseAnnouncedName(file);
  if (typeof name === 'string') return name;
  if (!isPackageName(name.distribution) || normalise(name.distribution) !== lease.package) {
    return `${file.filename} is not of ${lease.package}`;
  }
  if (!sameVersion(name.version.replaceAll('_', '-'), lease.version))
    return `${file.filename} is not of version ${lease.version}`;
  const foreignPlatform = name.platform.split('.').find((tag) => tag !== 'any' && tag !== platform);
  if (foreignPlatform !== undefined)
    return `${file.filename} is for ${foreignPlatform}, and the slave is ${platform}`;
  const unbuiltTag = findForeignTag(name, lease);
  if (unbuiltTag !== undefined)
    return `${file.filename} is for ${unbuiltTag}, and it was built for ${lease.abi}`;
  if (file.filesize > maxBytes)
    return `${file.filename} has ${String(file.filesize)} bytes, more than ${String(maxBytes)}`;
  return undefined;
}

/**
 * A tag that a slave of the lease's ABI has not built for. `none` and a stable ABI are anybody's, but of a
 * Python of another kind it knows nothing, and of a later one only what `py3…` says.
 */
function findForeignTag({ py, abi }: WheelName, lease: LeaseState): string | undefined {
  const target = parseTarget(lease.abi, lease.platform);
  const foreignAbi = abi.split('.').find((one) => one !== lease.abi && !SHARED_ABIS.has(one));
  if (foreignAbi !== undefined) return foreignAbi;
  const isStableAbi = abi.split('.').every((one) => SHARED_ABIS.has(one) && one !== 'none');
  return py.split('.').find((pyTag) => {
    if (/^py[23]\d*$/.test(pyTag)) return false;
    const [, kind = '', major = '', minor = ''] = /^(cp|pp)(\d)(\d*)$/.exec(pyTag) ?? [];
    if (kind !== target.implementation || Number(major) !== target.major) return true;
    return minor !== '' && (isStableAbi ? Number(minor) > target.minor : Number(minor) !== target.minor);
  });
}

const SHARED_ABIS: ReadonlySet<string> = new Set(['none', 'abi3', 'abi3t']);

/** Why a file can't be imported. Its name and version may be another package's (the seeds say why). */
export function importRefusal(file: FileState): string | undefined {
  const name = parseAnnouncedName(file);
  return typeof name === 'string' ? name : undefined;
}

/** The parts of the filename, which must be what the file's state says of them; or why not. */
function parseAnnouncedName(file: FileState): WheelName | string {
  try {
    const name = parseWheelName(file.filename);
    const matches =
      name.distribution === file.package_tag &&
      name.version === file.package_version_tag &&
      name.py === file.py_version_tag &&
      name.abi === file.abi_tag &&
      name.platform === file.platform_tag;
    return matches ? name : `${file.filename}: its tags are not those of its name`;
  } catch (error) {
    if (error instanceof PiwError) return error.message;
    throw error;
  }
}
