import { PiwError, rethrowUnexpected } from '../errors.js';
import type { BuildLease } from '../model/lease-state.js';
import type { FileState } from '../model/file-state.js';
import { isPackageName, normalise } from './names.js';
import { parseTarget, parseWheelName, pyVersionTagOf, type WheelName } from './tags.js';
import { sameVersion } from './versions.js';

/** Returns why the target that a slave claims can't exist; undefined if it may exist. */
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
    rethrowUnexpected(error);
  }
  return `there is no Python ${tags.py_version_tag} with the ABI ${tags.abi_tag} on ${tags.platform_tag}`;
}

/**
 * Returns why a file that a slave announces can't be the result of its lease; undefined if it can. It must be
 * a wheel of that package and version, for the slave's platform or `any`, for no other ABI than the slave's,
 * and of at most `maxBytes` bytes.
 */
export function fileRefusal(
  file: FileState,
  lease: BuildLease,
  platform: string,
  maxBytes: number,
): string | undefined {
  const name = parseAnnouncedName(file);
  if (typeof name === 'string') return name;
  if (!isPackageName(name.distribution) || normalise(name.distribution) !== lease.package) {
    return `${file.filename} is not a wheel of ${lease.package}`;
  }
  if (!sameVersion(name.version.replaceAll('_', '-'), lease.version))
    return `${file.filename} is not a wheel of version ${lease.version}`;
  const foreignPlatform = name.platform.split('.').find((tag) => tag !== 'any' && tag !== platform);
  if (foreignPlatform !== undefined)
    return `${file.filename} is for ${foreignPlatform}, but the slave builds for ${platform}`;
  const unbuiltTag = findForeignTag(name, lease);
  if (unbuiltTag !== undefined)
    return `${file.filename} is for ${unbuiltTag}, but the lease is for ${lease.abi}`;
  if (file.filesize > maxBytes)
    return `${file.filename} has ${file.filesize} bytes, above the limit of ${maxBytes}`;
  return undefined;
}

/**
 * Returns a tag that a slave of the lease's ABI can't have built for. `none` and the stable ABIs are open to
 * every slave, but not for another Python implementation, and for a later Python only as far as `py3…` covers
 * it.
 */
function findForeignTag({ py, abi }: WheelName, lease: BuildLease): string | undefined {
  const target = parseTarget(lease.abi, lease.platform);
  const foreignAbi = abi.split('.').find((tag) => tag !== lease.abi && !SHARED_ABIS.has(tag));
  if (foreignAbi !== undefined) return foreignAbi;
  const isStableAbi = abi.split('.').every((tag) => SHARED_ABIS.has(tag) && tag !== 'none');
  return py.split('.').find((pyTag) => {
    if (/^py[23]\d*$/.test(pyTag)) return false;
    const [, kind = '', major = '', minor = ''] = /^(cp|pp)(\d)(\d*)$/.exec(pyTag) ?? [];
    if (kind !== target.implementation || Number(major) !== target.major) return true;
    return minor !== '' && (isStableAbi ? Number(minor) > target.minor : Number(minor) !== target.minor);
  });
}

const SHARED_ABIS: ReadonlySet<string> = new Set(['none', 'abi3', 'abi3t']);

/**
 * Returns why a file can't be imported; undefined if it can. Its name and version may be another package's
 * (the seeds say why).
 */
export function importRefusal(file: FileState): string | undefined {
  const name = parseAnnouncedName(file);
  return typeof name === 'string' ? name : undefined;
}

/**
 * Returns the parts of the filename, which must agree with the file's state, or else the reason for a
 * refusal.
 */
function parseAnnouncedName(file: FileState): WheelName | string {
  try {
    const name = parseWheelName(file.filename);
    const matches =
      name.distribution === file.package_tag &&
      name.version === file.package_version_tag &&
      name.py === file.py_version_tag &&
      name.abi === file.abi_tag &&
      name.platform === file.platform_tag;
    return matches ? name : `${file.filename}: its announced tags differ from those in its filename`;
  } catch (error) {
    if (error instanceof PiwError) return error.message;
    throw error;
  }
}
