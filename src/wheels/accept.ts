import { PiwError } from '../errors.js';
import type { LeaseState } from '../states/build-state.js';
import type { FileState } from '../states/file-state.js';
import { isPackageName, normalise } from './names.js';
import { parseWheelName, type WheelName } from './tags.js';
import { sameVersion } from './versions.js';

/**
 * Why a file that a slave announces can't be the result of its lease; undefined when it can. It must
 * be a wheel of that package and version, for the slave's platform or any, and not over `maxBytes`.
 */
export function refuseFile(
  file: FileState,
  lease: LeaseState,
  platform: string,
  maxBytes: number,
): string | undefined {
  const name = agreeing(file);
  if (typeof name === 'string') return name;
  if (!isPackageName(name.distribution) || normalise(name.distribution) !== lease.package) {
    return `${file.filename} is not of ${lease.package}`;
  }
  if (!sameVersion(name.version.replaceAll('_', '-'), lease.version))
    return `${file.filename} is not of version ${lease.version}`;
  const foreign = name.platform.split('.').find((tag) => tag !== 'any' && tag !== platform);
  if (foreign !== undefined) return `${file.filename} is for ${foreign}, and the slave is ${platform}`;
  if (file.filesize > maxBytes)
    return `${file.filename} has ${String(file.filesize)} bytes, more than ${String(maxBytes)}`;
  return undefined;
}

/** Why a file can't be imported. Its name and version may be another package's (the seeds say why). */
export function refuseImport(file: FileState): string | undefined {
  const name = agreeing(file);
  return typeof name === 'string' ? name : undefined;
}

/** The parts of the filename, which must be what the file's state says of them; or why not. */
function agreeing(file: FileState): WheelName | string {
  try {
    const name = parseWheelName(file.filename);
    const same =
      name.distribution === file.package_tag &&
      name.version === file.package_version_tag &&
      name.py === file.py_version_tag &&
      name.abi === file.abi_tag &&
      name.platform === file.platform_tag;
    return same ? name : `${file.filename}: its tags are not those of its name`;
  } catch (error) {
    if (error instanceof PiwError) return error.message;
    throw error;
  }
}
