import { PiwError } from '../errors.js';

/** A project's name, normalized as in PEP 503. It is safe as a folder's name. */
export type PackageName = string & { readonly __brand: 'PackageName' };

const PROJECT_NAME_PATTERN = /^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$/;
/** No name on PyPI is longer than 80 characters; a folder's may have 255. */
const MAX_NAME_LENGTH = 200;
/** What a version may look like before it is parsed by PEP 440; no path, no space, no control character. */
// eslint-disable-next-line no-control-regex
const VERSION_PATTERN = /^[^/\\\s\0-\x1f]{1,200}$/;

/** Returns whether this is a project's name, in any spelling (PEP 508's rule). */
export function isPackageName(text: string): boolean {
  return text.length <= MAX_NAME_LENGTH && PROJECT_NAME_PATTERN.test(text);
}

/**
 * Normalizes a name (PEP 503): lower case, and each run of `-`, `_` and `.` becomes one `-`. Throws
 * PIW_BAD_REQUIREMENT.
 */
export function normalise(text: string): PackageName {
  if (!isPackageName(text)) {
    throw new PiwError(
      'PIW_BAD_REQUIREMENT',
      `${JSON.stringify(text.slice(0, 100))} is not a valid package name`,
    );
  }
  return text.replace(/[-_.]+/g, '-').toLowerCase() as PackageName;
}

/** Parses `NAME` or `NAME==VERSION`. Throws PIW_BAD_REQUIREMENT for anything else. */
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
      `${JSON.stringify(text.slice(0, 100))} is not a requirement that can be built`,
    );
  }
  return { name: normalise(name), version };
}

/**
 * Returns the project and version in a wheel's filename, normalized: what wheels that can replace each other
 * have in common. The SQL function wheel_stem does the same.
 */
export function wheelStem(filename: string): string {
  const [distribution = '', version = ''] = filename.split('-');
  return `${distribution.replace(/[-_.]+/g, '-').toLowerCase()} ${version.toLowerCase()}`;
}
