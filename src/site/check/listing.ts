import { isPackageName, normalise } from '../../wheels/names.js';
import { parseWheelName, type WheelName } from '../../wheels/tags.js';
import { compareVersions, sortKey } from '../../wheels/versions.js';
import { PiwError } from '../../errors.js';
import pep440 from '@renovatebot/pep440';
import { quote, type Tell } from './faults.js';

/** A file as a page of the simple index lists it, whichever form the page has. */
export interface ListedFile {
  readonly filename: string;
  /** As it stands, without its fragment. */
  readonly url: string;
  readonly sha256: string | null;
  readonly requiresPython: string | null;
  /** The reason, which may be empty; null: it isn't yanked. */
  readonly yanked: string | null;
  /** The SHA-256 of its metadata. */
  readonly metadata: string | null;
  /** Only JSON says it, bytes. */
  readonly size: number | null;
}

/** A project's page of the simple index. */
export interface Listing {
  readonly status: string;
  readonly reason: string | null;
  readonly files: readonly ListedFile[];
  /** Only JSON has them. */
  readonly versions: readonly string[] | null;
  readonly serial: number | null;
}

export const SHA256 = /^[0-9a-f]{64}$/;
export const STATUSES: readonly string[] = ['active', 'archived', 'quarantined', 'deprecated'];

/** The wheel that a filename stands for; undefined: none. */
export function wheelOf(filename: string): WheelName | undefined {
  try {
    return parseWheelName(filename);
  } catch (error) {
    if (error instanceof PiwError) return undefined;
    throw error;
  }
}

const versionOf = (wheel: WheelName): string => wheel.version.replaceAll('_', '-');

/** Holds what a page says of its project, whatever its form. */
export function holdListing(listing: Listing, name: string, path: string, tell: Tell): void {
  const { status, files } = listing;
  if (!STATUSES.includes(status)) tell('status-known', path, status, STATUSES.join(', '));
  if (status === 'quarantined' && files.length > 0)
    tell('quarantined-files', path, `${String(files.length)} files`, 'no files');
  const seen = new Set<string>();
  let before: WheelName | undefined;
  for (const { filename, requiresPython } of files) {
    const file = `${path} ${quote(filename)}`;
    if (seen.has(filename)) tell('filename-twice', file, 'it is listed twice', 'once');
    seen.add(filename);
    if (requiresPython !== null && !isSpecifier(requiresPython))
      tell('requires-python-valid', file, requiresPython, 'version specifiers, joined with commas');
    const wheel = wheelOf(filename);
    if (!wheel) {
      tell('filename-wheel', file, filename, 'NAME-VERSION(-BUILD)?-PYTHON-ABI-PLATFORM.whl');
      continue;
    }
    if (!isPackageName(wheel.distribution) || normalise(wheel.distribution) !== name)
      tell('filename-project', file, wheel.distribution, name);
    if (before && compareVersions(versionOf(before), versionOf(wheel)) > 0)
      tell('files-order', path, `${filename} after ${before.filename}`, 'the older version first');
    before = wheel;
  }
  if (listing.versions) holdVersions(listing.versions, files, path, tell);
}

function holdVersions(
  versions: readonly string[],
  files: readonly ListedFile[],
  path: string,
  tell: Tell,
): void {
  const keys = new Set(versions.map((version) => sortKey(version)));
  for (const { filename } of files) {
    const wheel = wheelOf(filename);
    if (wheel && !keys.has(sortKey(versionOf(wheel))))
      tell(
        'versions-complete',
        path,
        `${versionOf(wheel)} of ${filename} is not among versions`,
        'every one',
      );
  }
  for (const [i, version] of versions.entries()) {
    const before = versions[i - 1];
    if (before === undefined) continue;
    if (compareVersions(before, version) > 0)
      tell('versions-order', path, `${version} after ${before}`, `${version} before ${before}`);
  }
  if (new Set(versions).size < versions.length) {
    const twice = versions.find((version, i) => versions.indexOf(version) !== i) ?? '';
    tell('versions-unique', path, `${twice} more than once`, 'each version once');
  }
}

/** PEP 440's grammar of a set of specifiers; an empty one admits everything. */
export function isSpecifier(text: string): boolean {
  const known = specifiers.get(text);
  if (known !== undefined) return known;
  const valid = text.split(',').every((part) => part.trim() === '' || pep440.validRange(part.trim()));
  if (specifiers.size >= KNOWN) specifiers.clear();
  specifiers.set(text, valid);
  return valid;
}

/** Millions of files have a few thousand of them. */
const specifiers = new Map<string, boolean>();
const KNOWN = 10_000;

/** Holds two forms of one page against each other; `path` is that of the second. */
export function holdAlike(
  first: Listing,
  second: Listing,
  path: string,
  firstPath: string,
  tell: Tell,
): void {
  const [a, b] = [first.files, second.files];
  if (first.status !== second.status || (first.reason ?? '') !== (second.reason ?? ''))
    tell('siblings-status', path, state(second), `${state(first)}, as ${firstPath} says`);
  const different = Math.max(a.length, b.length) > 0 ? firstDifference(a, b) : undefined;
  if (different !== undefined) {
    const [its, other] = [b[different]?.filename ?? 'the end', a[different]?.filename ?? 'the end'];
    tell('siblings-files', path, its, `${other}, as ${firstPath} says`);
  }
  const known = new Map(a.map((file) => [file.filename, file]));
  for (const file of b) {
    const other = known.get(file.filename);
    if (!other) continue;
    const at = `${path} ${quote(file.filename)}`;
    if (file.sha256 !== other.sha256)
      tell('siblings-hash', at, quote(file.sha256), `${quote(other.sha256)}, as ${firstPath} says`);
    if (file.yanked !== other.yanked)
      tell('siblings-yanked', at, mark(file.yanked), `${mark(other.yanked)}, as ${firstPath} says`);
    if (file.requiresPython !== other.requiresPython)
      tell(
        'siblings-requires-python',
        at,
        quote(file.requiresPython),
        `${quote(other.requiresPython)}, as ${firstPath} says`,
      );
    if (file.metadata !== other.metadata)
      tell('siblings-metadata', at, quote(file.metadata), `${quote(other.metadata)}, as ${firstPath} says`);
  }
}

function firstDifference(a: readonly ListedFile[], b: readonly ListedFile[]): number | undefined {
  for (let i = 0; i < Math.max(a.length, b.length); i += 1) if (a[i]?.filename !== b[i]?.filename) return i;
  return undefined;
}

const state = ({ status, reason }: Listing): string => (reason === null ? status : `${status}: ${reason}`);
const mark = (yanked: string | null): string => (yanked === null ? 'not yanked' : `yanked: ${yanked}`);
