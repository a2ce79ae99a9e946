import { isPackageName, normalise } from '../wheels/names.js';
import { parseWheelName, type WheelName } from '../wheels/tags.js';
import { compareVersions, sortKey } from '../wheels/versions.js';
import { PiwError } from '../errors.js';
import pep440 from '@renovatebot/pep440';
import { format, type FaultReporter } from './faults.js';
import { formatQuantity } from '../units.js';

/** A file in a page of the simple index, in any form. */
export interface ListedFile {
  readonly filename: string;
  /** As in the page, without its fragment. */
  readonly url: string;
  readonly sha256: string | null;
  readonly requiresPython: string | null;
  /** The reason, which may be empty; null if the file is not yanked. */
  readonly yanked: string | null;
  /** The SHA-256 of its metadata. */
  readonly metadata: string | null;
  /** In bytes; only in JSON. */
  readonly size: number | null;
}

/** A project's page of the simple index. */
export interface Listing {
  readonly status: string;
  readonly reason: string | null;
  readonly files: readonly ListedFile[];
  /** Only in JSON. */
  readonly versions: readonly string[] | null;
  readonly serial: number | null;
}

export const SHA256 = /^[0-9a-f]{64}$/;
const STATUSES: readonly string[] = ['active', 'archived', 'quarantined', 'deprecated'];

/** Parses a wheel's filename; returns undefined if it is not valid. */
export function wheelNameOf(filename: string): WheelName | undefined {
  try {
    return parseWheelName(filename);
  } catch (error) {
    if (error instanceof PiwError) return undefined;
    throw error;
  }
}

const versionOf = (wheel: WheelName): string => wheel.version.replaceAll('_', '-');

/** Checks what applies to a project's page in any form. */
export function checkListing(listing: Listing, name: string, path: string, report: FaultReporter): void {
  const { status, files } = listing;
  if (!STATUSES.includes(status)) report('status-known', path, status, `one of ${STATUSES.join(', ')}`);
  if (status === 'quarantined' && files.length > 0)
    report('quarantined-files', path, formatQuantity(files.length, 'file'), 'no files');
  const seen = new Set<string>();
  let previous: WheelName | undefined;
  for (const { filename, requiresPython } of files) {
    const filePath = `${path} ${format(filename)}`;
    if (seen.has(filename)) report('filename-twice', filePath, 'listed more than once', 'listed once');
    seen.add(filename);
    if (requiresPython !== null && !isSpecifier(requiresPython))
      report('requires-python-valid', filePath, requiresPython, 'version specifiers, separated by commas');
    const wheel = wheelNameOf(filename);
    if (!wheel) {
      report('filename-wheel', filePath, filename, 'NAME-VERSION(-BUILD)?-PYTHON-ABI-PLATFORM.whl');
      continue;
    }
    if (!isPackageName(wheel.distribution) || normalise(wheel.distribution) !== name)
      report('filename-project', filePath, wheel.distribution, name);
    if (previous && compareVersions(versionOf(previous), versionOf(wheel)) > 0)
      report('files-order', path, `${filename} after ${previous.filename}`, 'the older version first');
    previous = wheel;
  }
  if (listing.versions) checkVersions(listing.versions, files, path, report);
}

function checkVersions(
  versions: readonly string[],
  files: readonly ListedFile[],
  path: string,
  report: FaultReporter,
): void {
  const keys = new Set(versions.map((version) => sortKey(version)));
  for (const { filename } of files) {
    const wheel = wheelNameOf(filename);
    if (wheel && !keys.has(sortKey(versionOf(wheel))))
      report(
        'versions-complete',
        path,
        `${versionOf(wheel)} of ${filename} is not in versions`,
        'the version of every file',
      );
  }
  for (const [i, version] of versions.entries()) {
    const previous = versions[i - 1];
    if (previous === undefined) continue;
    if (compareVersions(previous, version) > 0)
      report('versions-order', path, `${version} after ${previous}`, `${version} before ${previous}`);
  }
  if (new Set(versions).size < versions.length) {
    const repeated = versions.find((version, i) => versions.indexOf(version) !== i) ?? '';
    report('versions-unique', path, `${repeated} more than once`, 'each version once');
  }
}

/** Returns true for a valid set of version specifiers (PEP 440). An empty set admits every version. */
function isSpecifier(text: string): boolean {
  const cached = specifierCache.get(text);
  if (cached !== undefined) return cached;
  const valid = text.split(',').every((part) => part.trim() === '' || pep440.validRange(part.trim()));
  if (specifierCache.size >= MAX_CACHED_SPECIFIERS) specifierCache.clear();
  specifierCache.set(text, valid);
  return valid;
}

/** Results by specifier: millions of files have only a few thousand different ones. */
const specifierCache = new Map<string, boolean>();
const MAX_CACHED_SPECIFIERS = 10_000;

/** Compares two forms of a page. `path` is that of the second. */
export function checkSameListing(
  first: Listing,
  second: Listing,
  path: string,
  firstPath: string,
  report: FaultReporter,
): void {
  const [a, b] = [first.files, second.files];
  if (first.status !== second.status || (first.reason ?? '') !== (second.reason ?? ''))
    report('siblings-status', path, statusText(second), `${statusText(first)}, as in ${firstPath}`);
  const differenceIndex = Math.max(a.length, b.length) > 0 ? firstDifference(a, b) : undefined;
  if (differenceIndex !== undefined) {
    const [actual, expected] = [
      b[differenceIndex]?.filename ?? 'the end of the list',
      a[differenceIndex]?.filename ?? 'the end of the list',
    ];
    report('siblings-files', path, actual, `${expected}, as in ${firstPath}`);
  }
  const filesByName = new Map(a.map((file) => [file.filename, file]));
  for (const file of b) {
    const other = filesByName.get(file.filename);
    if (!other) continue;
    const filePath = `${path} ${format(file.filename)}`;
    if (file.sha256 !== other.sha256)
      report('siblings-hash', filePath, format(file.sha256), `${format(other.sha256)}, as in ${firstPath}`);
    if (file.yanked !== other.yanked)
      report(
        'siblings-yanked',
        filePath,
        yankedText(file.yanked),
        `${yankedText(other.yanked)}, as in ${firstPath}`,
      );
    if (file.requiresPython !== other.requiresPython)
      report(
        'siblings-requires-python',
        filePath,
        format(file.requiresPython),
        `${format(other.requiresPython)}, as in ${firstPath}`,
      );
    if (file.metadata !== other.metadata)
      report(
        'siblings-metadata',
        filePath,
        format(file.metadata),
        `${format(other.metadata)}, as in ${firstPath}`,
      );
  }
}

function firstDifference(a: readonly ListedFile[], b: readonly ListedFile[]): number | undefined {
  for (let i = 0; i < Math.max(a.length, b.length); i += 1) if (a[i]?.filename !== b[i]?.filename) return i;
  return undefined;
}

const statusText = ({ status, reason }: Listing): string =>
  reason === null ? status : `${status}: ${reason}`;
const yankedText = (yanked: string | null): string => (yanked === null ? 'not yanked' : `yanked: ${yanked}`);
