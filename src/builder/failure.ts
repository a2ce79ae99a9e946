import type { FailureClass } from '../states/failure.js';
import { findCause, lineAt, findBuildError, type FailureCause } from '../states/failure-cause.js';
import type { SignCondition } from '../states/failure-signs.js';
import { stripTerminalSequences } from '../states/sequences.js';
import { isPackageName, normalise, type PackageName } from '../wheels/names.js';
import { sameVersion } from '../wheels/versions.js';
import { findDebianPackage } from './system-packages.js';

/** Why a build failed: a class, which says what happens next, and a sentence for people. */
export interface Failure {
  readonly failureClass: FailureClass;
  readonly sentence: string;
}

/** What was to be built, and the log of it. */
export interface Evidence {
  readonly name: PackageName;
  readonly version: string;
  readonly output: string;
  /** Whether its code had no network, and pip had. */
  readonly offline?: boolean;
  /** Of the interpreter: `CPython`, `PyPy`. */
  readonly implementation?: string;
  /** Whether the kernel killed a process for want of memory meanwhile; undefined where nothing tells. */
  readonly oomKilled?: boolean | undefined;
}

/** pip found none of the files that it wanted: of the package, or of something that it needs to be built. */
const DISTRIBUTION_NOT_FOUND =
  /No matching distribution found for|Could not install packages due to an (?:OS|Environment)Error/;

const isPackageOf = (found: string | undefined, { name }: Evidence): boolean =>
  found !== undefined && isPackageName(found) && normalise(found) === name;

/** `1.0 Requires-Python >=3.12; 1.1 Requires-Python >=3.13`, in which the version is one. */
const includesVersion = (list: string | undefined, { version }: Evidence): boolean =>
  (list ?? '').split(';').some((item) => sameVersion(item.trim().split(' ')[0] ?? '', version));

/** Programs that builds run, other than compilers. */
const PROGRAM =
  /^(?:a(?:clocal|utoconf|utomake|utoreconf)|bison|cmake|flex|go|gperf|libtool(?:ize)?|m4|make|meson|msgfmt|nasm|ninja|patch|pkg-config|pkgconf|protoc|qmake|swig[\d.]*|xgettext|yasm)$/;

/** What must be true of a match, and of its build. */
const CONDITIONS: Readonly<
  Record<SignCondition, (match: RegExpExecArray, evidence: Evidence, unfound: boolean) => boolean>
> = {
  'cut-off': (_match, { offline }) => offline === true,
  'for-itself': ([line], evidence) => isPackageOf(/for package (\S+)/.exec(line)?.[1], evidence),
  itself: (match, evidence) => isPackageOf(match[1], evidence),
  listed: (match, evidence) => includesVersion(match[1], evidence),
  'not-starved': (_match, { oomKilled }) => oomKilled !== true,
  'perhaps-starved': (_match, { oomKilled }) => oomKilled !== false,
  program: (match) => PROGRAM.test(match.slice(1).find((group) => group) ?? ''),
  unfound: (_match, _evidence, unfound) => unfound,
};

/** Longer lines are looked at in their first part. */
const MAX_LINE_CHARS = 100_000;

/**
 * Returns why a build that failed by itself did so, by its log. Where no sign is known, the sentence quotes the
 * build's own last error.
 */
export function diagnose(evidence: Evidence): Failure {
  const output = stripTerminalSequences(evidence.output)
    .split('\n')
    .map((line) => line.slice(0, MAX_LINE_CHARS))
    .join('\n');
  const distributionNotFound = DISTRIBUTION_NOT_FOUND.test(output);
  const cause = findCause(
    output,
    ({ condition }, match) =>
      condition === undefined || CONDITIONS[condition](match, evidence, distributionNotFound),
  );
  if (cause) {
    const { sign, match } = cause;
    const { failureClass } = sign;
    const quote = failureClass === 'other' ? `: "${toSingleLine(lineAt(output, match.index))}"` : '';
    return { failureClass, sentence: `${formatSentence(cause, evidence)}${quote}` };
  }
  if (evidence.oomKilled === true)
    return { failureClass: 'memory', sentence: 'the system killed a process for want of memory meanwhile' };
  const lastError = findBuildError(output);
  if (!lastError) return { failureClass: 'other', sentence: 'it ended with an error and printed nothing' };
  return {
    failureClass: 'other',
    sentence: `no known cause; the build's last ${lastError.kind} was "${toSingleLine(lastError.text)}"`,
  };
}

/** The classes that say that something did not compile. */
const COMPILE_FAILURES: readonly FailureClass[] = ['compiler', 'missing-header', 'missing-library'];

/**
 * Returns why something did not compile in a build that succeeded all the same, by its log; undefined where nothing
 * says so. `classes`: which signs count.
 */
export function describeCompileFailure(
  evidence: Evidence,
  classes: readonly FailureClass[] = COMPILE_FAILURES,
): string | undefined {
  const output = stripTerminalSequences(evidence.output);
  const cause = findCause(
    output,
    ({ failureClass, condition }, match) =>
      classes.includes(failureClass) &&
      (condition === undefined || CONDITIONS[condition](match, evidence, false)),
  );
  return cause && formatSentence(cause, evidence);
}

function formatSentence(
  { sign: { sentence, dependencyKind }, match }: FailureCause,
  { implementation }: Evidence,
): string {
  const detail = toSingleLine(match.groups?.['detail'] ?? match.slice(1).find((group) => group) ?? '');
  const debianName = dependencyKind && findDebianPackage(dependencyKind, detail);
  const aptPackage = debianName === 'python3-dev' && implementation === 'PyPy' ? 'pypy3-dev' : debianName;
  const advice = aptPackage === undefined ? '' : ` (on Debian: apt install ${aptPackage})`;
  return `${sentence.replace('$1', () => detail)}${advice}`;
}

/** What a log says becomes part of one line of ours. */
function toSingleLine(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u001f\u007f]+/g, ' ');
}
