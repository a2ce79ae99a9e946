import { PiwError } from '../errors.js';

/** The parts of a wheel's filename. Tags are verbatim: several are joined with dots. */
export interface WheelName {
  readonly filename: string;
  readonly distribution: string;
  readonly version: string;
  readonly build: string | null;
  readonly py: string;
  readonly abi: string;
  readonly platform: string;
}

/** No part is longer than a message allows (FileTuple in model/fields.ts). */
const WHEEL_NAME_PATTERN =
  /^(?<distribution>[A-Za-z0-9](?:[A-Za-z0-9._]{0,198}[A-Za-z0-9])?)-(?<version>[A-Za-z0-9_.+!]{1,200})(?:-(?<build>\d[A-Za-z0-9_.]*))?-(?<py>[A-Za-z0-9_.]{1,200})-(?<abi>[A-Za-z0-9_.]{1,200})-(?<platform>[A-Za-z0-9_.]+)\.whl$/;

/**
 * Maximum characters of a wheel's filename: a file system takes 255, and its metadata's filename is longer.
 */
export const MAX_WHEEL_NAME_LENGTH = 255 - '.metadata'.length;

/** Parses `{distribution}-{version}(-{build})?-{python}-{abi}-{platform}.whl`. Throws PIW_BAD_WHEEL. */
export function parseWheelName(filename: string): WheelName {
  const groups =
    filename.length <= MAX_WHEEL_NAME_LENGTH ? WHEEL_NAME_PATTERN.exec(filename)?.groups : undefined;
  const { distribution, version, build, py, abi, platform } = groups ?? {};
  if (
    distribution === undefined ||
    version === undefined ||
    py === undefined ||
    abi === undefined ||
    platform === undefined
  ) {
    throw new PiwError(
      'PIW_BAD_WHEEL',
      `${JSON.stringify(filename.slice(0, 100))} is not a wheel's filename`,
    );
  }
  return { filename, distribution, version, build: build ?? null, py, abi, platform };
}

/** A parsed target: an ABI on a platform. */
export interface ParsedTarget {
  readonly abi: string;
  readonly platform: string;
  readonly implementation: 'cp' | 'pp';
  readonly major: number;
  readonly minor: number;
  /** Built without the GIL. */
  readonly freeThreaded: boolean;
}

/**
 * Parses an ABI, e.g. `cp311`, `cp37m`, `cp313t`, `pypy39_pp73`. Throws PIW_UNKNOWN_TARGET for any other
 * form.
 */
export function parseTarget(abi: string, platform: string): ParsedTarget {
  const match = /^(?:cp(\d)(\d+)([a-z]*)|pypy(\d)(\d+)_pp\d+)$/.exec(abi);
  if (!match)
    throw new PiwError(
      'PIW_UNKNOWN_TARGET',
      `${JSON.stringify(abi.slice(0, 40))} is not a known form of ABI: write e.g. cp311, cp313t or pypy39_pp73`,
    );
  const [, cpMajor, cpMinor, suffix = '', ppMajor, ppMinor] = match;
  return {
    abi,
    platform,
    implementation: cpMajor === undefined ? 'pp' : 'cp',
    major: Number(cpMajor ?? ppMajor),
    minor: Number(cpMinor ?? ppMinor),
    freeThreaded: suffix.includes('t'),
  };
}

/** Returns the rank of a target's ABI: CPython with a GIL by version, then free-threaded, then PyPy. */
export function targetRank({ implementation, major, minor, freeThreaded }: ParsedTarget): number {
  return (implementation === 'pp' ? 2_000_000 : freeThreaded ? 1_000_000 : 0) + major * 1000 + minor;
}

/** Which of these built a pure wheel decides which other Pythons it serves. */
type PythonKind = 'cpython' | 'free-threaded' | 'pypy';

const pythonKindOf = ({ implementation, freeThreaded }: ParsedTarget): PythonKind =>
  implementation === 'pp' ? 'pypy' : freeThreaded ? 'free-threaded' : 'cpython';

/** The reach of a wheel that serves every target that its tags admit. */
const REACH_ALL = 'all';

/**
 * Returns which kinds of Python a wheel serves among those that its tags admit: `all`, or their names, joined
 * with dots.
 *
 * A package with an extension often falls back to pure Python where it doesn't compile: on PyPy (markupsafe,
 * multidict), or without a GIL, for which it isn't ready yet. Its wheel is `none-any` there, and says nothing
 * about CPython with a GIL, for which an extension has to be built. So such a wheel serves only the kind of
 * Python that built it. A pure wheel that was built by CPython with a GIL, as nearly all are, is pure
 * everywhere and serves them all; so does a wheel of unknown origin (undefined), and any wheel whose tags
 * name an ABI or a platform.
 */
export function reachOf(
  tags: { readonly abi: string; readonly platform: string },
  builtBy?: ParsedTarget,
): string {
  const pure = tags.abi === 'none' && tags.platform === 'any';
  const kind = builtBy && pure ? pythonKindOf(builtBy) : 'cpython';
  return kind === 'cpython' ? REACH_ALL : kind;
}

/** Returns the combined reach of one wheel that several builds have produced. */
export function widerReach(a: string, b: string): string {
  if (a === REACH_ALL || b === REACH_ALL) return REACH_ALL;
  return [...new Set([...a.split('.'), ...b.split('.')])].sort().join('.');
}

interface AbiOnPlatform {
  readonly abi: string;
  readonly platform: string;
}

/** Orders targets, lowest ABI first, then by platform. */
export function compareTargets(a: AbiOnPlatform, b: AbiOnPlatform): number {
  const rankDifference =
    targetRank(parseTarget(a.abi, a.platform)) - targetRank(parseTarget(b.abi, b.platform));
  return rankDifference !== 0
    ? rankDifference
    : a.platform < b.platform
      ? -1
      : a.platform > b.platform
        ? 1
        : 0;
}

/** Returns the version as `X.Y`. */
export const pythonVersionOf = ({ major, minor }: ParsedTarget): string => `${major}.${minor}`;

/** Returns the Python tag: `cp311`, also for `cp311t`; `pp39`. */
export const pyVersionTagOf = ({ implementation, major, minor }: ParsedTarget): string =>
  `${implementation}${major}${minor}`;

/** The tags in a wheel's filename, each possibly several joined with dots, and its reach; see reachOf. */
export interface WheelTags {
  readonly py: string;
  readonly abi: string;
  readonly platform: string;
  readonly reach: string;
}

/** Returns whether a wheel with these tags serves a target, so that the target needs no build of its own. */
export function covers(tags: WheelTags, target: ParsedTarget): boolean {
  const reaches = tags.reach === REACH_ALL || tags.reach.split('.').includes(pythonKindOf(target));
  return reaches && canInstall(tags, target);
}

/**
 * Returns whether a wheel with these tags can be installed on the target: whether some member of their cross
 * product is one that an installer there accepts.
 *
 * The rules are those of pip (packaging.tags): the target's own ABI; `abi3` of its own version or an earlier
 * one, for CPython with a GIL; `abi3t` likewise without a GIL (PEP 803); `none` for `py3`, and for `py3Y` of
 * its own version or an earlier one, on any implementation; and `none` for `cpXY` of exactly its own version:
 * pip on 3.12 doesn't accept a cp311-none wheel.
 */
function canInstall(tags: Omit<WheelTags, 'reach'>, target: ParsedTarget): boolean {
  const platforms = tags.platform.split('.').filter((platform) => platformServes(platform, target.platform));
  if (platforms.length === 0) return false;
  const pys = tags.py.split('.');
  return tags.abi.split('.').some((abi) => pys.some((py) => pythonServes(py, abi, target)));
}

function pythonServes(py: string, abi: string, target: ParsedTarget): boolean {
  const match = /^(py|cp|pp)(\d)(\d*)$/.exec(py);
  if (!match || Number(match[2]) !== target.major) return false;
  const [, kind, , minorDigits = ''] = match;
  const minor = minorDigits === '' ? undefined : Number(minorDigits);
  const isSameMinor = minor === target.minor;
  const isNotLater = minor === undefined || minor <= target.minor;
  if (abi === 'none') return kind === 'py' ? isNotLater : kind === target.implementation && isSameMinor;
  if (kind !== target.implementation) return false;
  if (abi === 'abi3') return target.implementation === 'cp' && !target.freeThreaded && isNotLater;
  if (abi === 'abi3t')
    return target.implementation === 'cp' && target.freeThreaded && target.minor >= 15 && isNotLater;
  return abi === target.abi && isSameMinor;
}

/**
 * Returns whether a platform tag serves a target's platform: `any`, the target's own, or a manylinux platform
 * of a glibc target's architecture, because what a slave has built there runs there, whichever glibc it was
 * tagged for.
 */
function platformServes(platform: string, target: string): boolean {
  if (platform === 'any' || platform === target) return true;
  const manylinux = /^manylinux(?:1|2010|2014|_\d+_\d+)_(.+)$/.exec(platform);
  return manylinux !== null && target === `linux_${manylinux[1] ?? ''}`;
}
