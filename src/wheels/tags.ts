import { PiwError } from '../errors.js';

/** The parts of a wheel's filename; tags are as they stand, several joined with dots. */
export interface WheelName {
  readonly filename: string;
  readonly distribution: string;
  readonly version: string;
  readonly build: string | null;
  readonly py: string;
  readonly abi: string;
  readonly platform: string;
}

/** No part is longer than a message may have it (FileTuple in model/fields.ts). */
const WHEEL_NAME_PATTERN =
  /^(?<distribution>[A-Za-z0-9](?:[A-Za-z0-9._]{0,198}[A-Za-z0-9])?)-(?<version>[A-Za-z0-9_.+!]{1,200})(?:-(?<build>\d[A-Za-z0-9_.]*))?-(?<py>[A-Za-z0-9_.]{1,200})-(?<abi>[A-Za-z0-9_.]{1,200})-(?<platform>[A-Za-z0-9_.]+)\.whl$/;

/** The longest name of a wheel, characters: a file system takes 255, and its metadata has a name like it. */
export const MAX_WHEEL_NAME_LENGTH = 255 - '.metadata'.length;

/** `{distribution}-{version}(-{build})?-{python}-{abi}-{platform}.whl`. Raises PIW_BAD_WHEEL. */
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
    throw new PiwError('PIW_BAD_WHEEL', `${JSON.stringify(filename.slice(0, 100))} is no wheel's filename`);
  }
  return { filename, distribution, version, build: build ?? null, py, abi, platform };
}

/** An ABI on a platform, taken apart. */
export interface ParsedTarget {
  readonly abi: string;
  readonly platform: string;
  readonly implementation: 'cp' | 'pp';
  readonly major: number;
  readonly minor: number;
  /** Built without the GIL. */
  readonly freeThreaded: boolean;
}

/** `cp311`, `cp37m`, `cp313t`, `pypy39_pp73`. Raises PIW_UNKNOWN_TARGET for another form. */
export function parseTarget(abi: string, platform: string): ParsedTarget {
  const match = /^(?:cp(\d)(\d+)([a-z]*)|pypy(\d)(\d+)_pp\d+)$/.exec(abi);
  if (!match)
    throw new PiwError(
      'PIW_UNKNOWN_TARGET',
      `${JSON.stringify(abi.slice(0, 40))} is no ABI that can be built for`,
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

/** Where an ABI stands among the others: CPython with a GIL by version, then free-threaded, then PyPy. */
export function targetRank({ implementation, major, minor, freeThreaded }: ParsedTarget): number {
  return (implementation === 'pp' ? 2_000_000 : freeThreaded ? 1_000_000 : 0) + major * 1000 + minor;
}

/** What a pure wheel tells of other Pythons depends on which of these it was built by. */
type PythonKind = 'cpython' | 'free-threaded' | 'pypy';

const pythonKindOf = ({ implementation, freeThreaded }: ParsedTarget): PythonKind =>
  implementation === 'pp' ? 'pypy' : freeThreaded ? 'free-threaded' : 'cpython';

/** The reach of a wheel that serves every target that its tags admit. */
export const REACH_ALL = 'all';

/**
 * Which kinds of Python a wheel serves, of those that its tags admit: `all`, or their names, joined with dots.
 *
 * A package with an extension often falls back to pure Python where it doesn't compile it: on PyPy (markupsafe,
 * multidict), or without a GIL, for which it isn't ready yet. Its wheel is `none-any` there, and says nothing of
 * CPython with a GIL, for which there is an extension to be built. So such a wheel serves only the kind of
 * Python that it was built by. One that CPython with a GIL has built is pure everywhere, as nearly all are, and
 * serves them all; so does one of an unknown origin (undefined), and any whose own tags name its ABI or platform.
 */
export function reachOf(
  tags: { readonly abi: string; readonly platform: string },
  builtBy?: ParsedTarget,
): string {
  const pure = tags.abi === 'none' && tags.platform === 'any';
  const kind = builtBy && pure ? pythonKindOf(builtBy) : 'cpython';
  return kind === 'cpython' ? REACH_ALL : kind;
}

/** The reach of one wheel that several builds have yielded. */
export function widerReach(a: string, b: string): string {
  if (a === REACH_ALL || b === REACH_ALL) return REACH_ALL;
  return [...new Set([...a.split('.'), ...b.split('.')])].sort().join('.');
}

interface AbiOnPlatform {
  readonly abi: string;
  readonly platform: string;
}

/** Lowest first, and alike by platform. */
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

/** `X.Y` */
export const pythonVersionOf = ({ major, minor }: ParsedTarget): string =>
  `${String(major)}.${String(minor)}`;

/** `cp311`, also of `cp311t`; `pp39` */
export const pyVersionTagOf = ({ implementation, major, minor }: ParsedTarget): string =>
  `${implementation}${String(major)}${String(minor)}`;

/** Of a wheel: the tags of its name, each of them several joined with dots, and its reach; see reachOf. */
export interface WheelTags {
  readonly py: string;
  readonly abi: string;
  readonly platform: string;
  readonly reach: string;
}

/** Whether a target has no need of a build of its own: a wheel with these tags serves it. */
export function covers(tags: WheelTags, target: ParsedTarget): boolean {
  const reaches = tags.reach === REACH_ALL || tags.reach.split('.').includes(pythonKindOf(target));
  return reaches && canInstall(tags, target);
}

/**
 * Whether a wheel with these tags can be installed on the target: some member of their cross product
 * is one that an installer there accepts.
 *
 * The rules are those that pip follows (packaging.tags): an ABI of its own name; `abi3` of its own
 * version or an earlier one, for CPython with a GIL; `abi3t` likewise without one (PEP 803); `none` for
 * `py3` and for `py3Y` of its own version or an earlier one, of any implementation; and `none` for
 * `cpXY` of exactly its own version: pip on 3.12 doesn't take a cp311-none wheel.
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
 * `any`, the target's own, or one of the manylinux platforms of a glibc target's architecture: what a
 * slave has built there runs there, whichever glibc it was tagged for.
 */
function platformServes(platform: string, target: string): boolean {
  if (platform === 'any' || platform === target) return true;
  const manylinux = /^manylinux(?:1|2010|2014|_\d+_\d+)_(.+)$/.exec(platform);
  return manylinux !== null && target === `linux_${manylinux[1] ?? ''}`;
}
