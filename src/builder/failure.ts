import type { FailureClass } from '../states/failure.js';
import { findCause, lineAt, ownError, type Cause } from '../states/failure-cause.js';
import type { Condition } from '../states/failure-signs.js';
import { withoutSequences } from '../states/sequences.js';
import { isPackageName, normalise, type PackageName } from '../wheels/names.js';
import { sameVersion } from '../wheels/versions.js';
import { debianPackage } from './system-packages.js';

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
  readonly cutOff?: boolean;
  /** Of the interpreter: `CPython`, `PyPy`. */
  readonly implementation?: string;
  /** Whether the kernel killed a process for want of memory meanwhile; undefined where nothing tells. */
  readonly starved?: boolean | undefined;
}

/** pip found none of the files that it wanted: of the package, or of something that it needs to be built. */
const UNFOUND =
  /No matching distribution found for|Could not install packages due to an (?:OS|Environment)Error/;

const isItself = (found: string | undefined, { name }: Evidence): boolean =>
  found !== undefined && isPackageName(found) && normalise(found) === name;

/** `1.0 Requires-Python >=3.12; 1.1 Requires-Python >=3.13`, in which the version is one. */
const isListed = (list: string | undefined, { version }: Evidence): boolean =>
  (list ?? '').split(';').some((item) => sameVersion(item.trim().split(' ')[0] ?? '', version));

/** Programs that builds run, other than compilers. */
const PROGRAM =
  /^(?:a(?:clocal|utoconf|utomake|utoreconf)|bison|cmake|flex|go|gperf|libtool(?:ize)?|m4|make|meson|msgfmt|nasm|ninja|patch|pkg-config|pkgconf|protoc|qmake|swig[\d.]*|xgettext|yasm)$/;

/** What must be true of a match, and of its build. */
const CONDITIONS: Readonly<
  Record<Condition, (match: RegExpExecArray, evidence: Evidence, unfound: boolean) => boolean>
> = {
  'cut-off': (_match, { cutOff }) => cutOff === true,
  'for-itself': ([line], evidence) => isItself(/for package (\S+)/.exec(line)?.[1], evidence),
  itself: (match, evidence) => isItself(match[1], evidence),
  listed: (match, evidence) => isListed(match[1], evidence),
  'not-starved': (_match, { starved }) => starved !== true,
  'perhaps-starved': (_match, { starved }) => starved !== false,
  program: (match) => PROGRAM.test(match.slice(1).find((group) => group) ?? ''),
  unfound: (_match, _evidence, unfound) => unfound,
};

/** Longer lines are looked at in their first part. */
const MAX_LINE = 100_000;

/**
 * Returns why a build that failed by itself did so, by its log. Where no sign is known, the sentence quotes the
 * build's own last error.
 */
export function diagnose(evidence: Evidence): Failure {
  const output = withoutSequences(evidence.output)
    .split('\n')
    .map((line) => line.slice(0, MAX_LINE))
    .join('\n');
  const unfound = UNFOUND.test(output);
  const cause = findCause(
    output,
    ({ when }, match) => when === undefined || CONDITIONS[when](match, evidence, unfound),
  );
  if (cause) {
    const { sign, match } = cause;
    const { failureClass } = sign;
    const quote = failureClass === 'other' ? `: "${onOneLine(lineAt(output, match.index))}"` : '';
    return { failureClass, sentence: `${sentenceOf(cause, evidence)}${quote}` };
  }
  if (evidence.starved === true)
    return { failureClass: 'memory', sentence: 'the system killed a process for want of memory meanwhile' };
  const own = ownError(output);
  if (!own) return { failureClass: 'other', sentence: 'it ended with an error and printed nothing' };
  return {
    failureClass: 'other',
    sentence: `no known cause; the build's last ${own.kind} was "${onOneLine(own.text)}"`,
  };
}

/** The classes that say that something did not compile. */
const NOT_COMPILED: readonly FailureClass[] = ['compiler', 'missing-header', 'missing-library'];

/**
 * Returns why something did not compile in a build that succeeded all the same, by its log; undefined where nothing
 * says so. `classes`: which signs count.
 */
export function compilerTrouble(
  evidence: Evidence,
  classes: readonly FailureClass[] = NOT_COMPILED,
): string | undefined {
  const output = withoutSequences(evidence.output);
  const cause = findCause(
    output,
    ({ failureClass, when }, match) =>
      classes.includes(failureClass) && (when === undefined || CONDITIONS[when](match, evidence, false)),
  );
  return cause && sentenceOf(cause, evidence);
}

function sentenceOf({ sign: { sentence, wanted }, match }: Cause, { implementation }: Evidence): string {
  const detail = onOneLine(match.groups?.['detail'] ?? match.slice(1).find((group) => group) ?? '');
  const found = wanted && debianPackage(wanted, detail);
  const debian = found === 'python3-dev' && implementation === 'PyPy' ? 'pypy3-dev' : found;
  const advice = debian === undefined ? '' : ` (on Debian: apt install ${debian})`;
  return `${sentence.replace('$1', () => detail)}${advice}`;
}

/** What a log says becomes part of one line of ours. */
function onOneLine(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u001f\u007f]+/g, ' ');
}
