import type { FailureClass } from '../failures/classes.js';
import { findCause, lineAt, findBuildError, type FailureCause } from '../failures/cause.js';
import type { SignCondition } from '../failures/signs.js';
import { stripTerminalSequences } from '../failures/terminal-sequences.js';
import { isPackageName, normalise, type PackageName } from '../wheels/names.js';
import { sameVersion } from '../wheels/versions.js';
import { findDebianPackage } from './system-packages.js';

/** Why a build failed: its class, which decides what happens next, and a sentence for people. */
export interface Failure {
  readonly failureClass: FailureClass;
  readonly sentence: string;
}

/** The facts by which a failure is diagnosed: the package, the version, and the log of the build. */
export interface Evidence {
  readonly name: PackageName;
  readonly version: string;
  readonly output: string;
  /** Whether the package's code ran without network access, while pip had it. */
  readonly offline?: boolean;
  /** The interpreter's implementation: `CPython`, `PyPy`. */
  readonly implementation?: string;
  /** Whether the kernel killed a process for lack of memory during the build; undefined if unknown. */
  readonly oomKilled?: boolean | undefined;
}

/** pip found no file of the package or of one of its build requirements. */
const DISTRIBUTION_NOT_FOUND =
  /No matching distribution found for|Could not install packages due to an (?:OS|Environment)Error/;

const isPackageOf = (candidate: string | undefined, { name }: Evidence): boolean =>
  candidate !== undefined && isPackageName(candidate) && normalise(candidate) === name;

/** Returns whether a list like `1.0 Requires-Python >=3.12; 1.1 Requires-Python >=3.13` includes the version. */
const includesVersion = (list: string | undefined, { version }: Evidence): boolean =>
  (list ?? '').split(';').some((item) => sameVersion(item.trim().split(' ')[0] ?? '', version));

/** Programs that builds run, except compilers. */
const PROGRAM =
  /^(?:a(?:clocal|utoconf|utomake|utoreconf)|bison|cmake|flex|go|gperf|libtool(?:ize)?|m4|make|meson|msgfmt|nasm|ninja|patch|pkg-config|pkgconf|protoc|qmake|swig[\d.]*|xgettext|yasm)$/;

/** How each condition of a sign is checked against a match and the evidence of its build. */
const CONDITIONS: Readonly<
  Record<SignCondition, (match: RegExpExecArray, evidence: Evidence, nothingFound: boolean) => boolean>
> = {
  'about-package': ([line], evidence) => isPackageOf(/for package (\S+)/.exec(line)?.[1], evidence),
  'is-package': (match, evidence) => isPackageOf(match[1], evidence),
  'known-program': (match) => PROGRAM.test(match.slice(1).find((group) => group) ?? ''),
  'lists-version': (match, evidence) => includesVersion(match[1], evidence),
  'no-oom-kill': (_match, { oomKilled }) => oomKilled !== true,
  'nothing-found': (_match, _evidence, nothingFound) => nothingFound,
  offline: (_match, { offline }) => offline === true,
  'possible-oom-kill': (_match, { oomKilled }) => oomKilled !== false,
};

/** Only this much of a longer line is searched. */
const MAX_LINE_CHARS = 100_000;

/**
 * Returns why a build failed, by its log; for builds that the builder did not end. If the log has no known sign, the
 * sentence quotes the build's own last error.
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
    return {
      failureClass: 'memory',
      sentence: 'the kernel killed a process for lack of memory during the build',
    };
  const lastError = findBuildError(output);
  if (!lastError) return { failureClass: 'other', sentence: 'it ended with an error and printed nothing' };
  return {
    failureClass: 'other',
    sentence: `no known cause; the build's last ${lastError.kind} was "${toSingleLine(lastError.text)}"`,
  };
}

/** The classes of failures to compile. */
const COMPILE_FAILURES: readonly FailureClass[] = ['compiler', 'missing-header', 'missing-library'];

/**
 * Returns why something did not compile in a build that succeeded all the same, by its log; undefined if the log does
 * not say so. Only signs of `classes` count.
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

/** Replaces control characters, so that text from a log fits into one line. */
function toSingleLine(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u001f\u007f]+/g, ' ');
}
