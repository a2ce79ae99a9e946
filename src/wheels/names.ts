import { PiwError } from '../errors.js';

/** A project's name in the one spelling that PEP 503 gives it. It can be a folder's name. */
export type PackageName = string & { readonly __brand: 'PackageName' };

const PROJECT_NAME_PATTERN = /^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$/;
/** No name on PyPI is longer than 80; a folder's may be 255. */
const MAX_NAME_LENGTH = 200;
/** What a version may look like before PEP 440 has been asked; no path, no space, no control character. */
// eslint-disable-next-line no-control-regex
const VERSION_PATTERN = /^[^/\\\s\0-\x1f]{1,200}$/;

/** Whether this is a project's name, in any spelling (PEP 508's rule). */
export function isPackageName(text: string): boolean {
  return text.length <= MAX_NAME_LENGTH && PROJECT_NAME_PATTERN.test(text);
}

/** PEP 503: lower case, and each run of `-`, `_` and `.` one `-`. Raises PIW_BAD_REQUIREMENT. */
export function normalise(text: string): PackageName {
  if (!isPackageName(text)) {
    throw new PiwError(
      'PIW_BAD_REQUIREMENT',
      `${JSON.stringify(text.slice(0, 100))} is no name of a package`,
    );
  }
  return text.replace(/[-_.]+/g, '-').toLowerCase() as PackageName;
}

/** `NAME` or `NAME==VERSION`. Raises PIW_BAD_REQUIREMENT for anything else. */
export function parseRequirement(text: string): {
  readonly name: PackageName;
  readonly version: string | undefined;
} {
  const match = /^\s*([^\s=<>!~;[\]@]+)\s*(?:={2,3}\s*(\S+)\s*)?$/.exec(text);
  const [, name = '', version] = match ?? [];
  const isValid =
    match &&
    isPackageName(name) &&
    (version === undefined || (VERSION_PATTERN.test(version) && !version.includes('*')));
  if (!isValid) {
    throw new PiwError(
      'PIW_BAD_REQUIREMENT',
      `${JSON.stringify(text.slice(0, 100))} is no requirement that can be built`,
    );
  }
  return { name: normalise(name), version };
}

/**
 * The part of a wheel's filename that names its project and version, in one spelling: what wheels that could take
 * each other's place have in common. The SQL function wheel_stem does the same.
 */
export function wheelStem(filename: string): string {
  const [distribution = '', version = ''] = filename.split('-');
  return `${distribution.replace(/[-_.]+/g, '-').toLowerCase()} ${version.toLowerCase()}`;
}
