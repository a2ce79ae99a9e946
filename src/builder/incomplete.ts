import { describeCompileFailure, type Evidence } from './failure.js';
import type { FileState } from '../model/file-state.js';

/** A wheel of a build that succeeded, and whether it contains a compiled file. */
export interface BuiltWheel {
  readonly file: Pick<FileState, 'filename' | 'abi_tag' | 'platform_tag'>;
  readonly compiled: boolean;
}

/** setuptools's message when an optional extension (Extension(optional=True)) did not compile. */
const OPTIONAL_EXTENSION_FAILED = /\bbuilding extension "([^"\n]{1,200})" failed: /;

/**
 * Returns what the result of a successful build lacks, in a sentence with the compiler's first error; null if it does
 * not seem to lack anything. Three cases: a platform wheel without a compiled file; an optional extension that did
 * not compile; a pure wheel of a build in which something did not compile. A setup.py that falls back to pure Python
 * causes the first or the last case.
 */
export function describeMissingParts(wheels: readonly BuiltWheel[], evidence: Evidence): string | null {
  const withCause = (cause: string | undefined): string => (cause === undefined ? '' : `: ${cause}`);
  const empty = wheels.find(({ file, compiled }) => isNative(file) && !compiled);
  if (empty)
    return `its wheel is tagged ${empty.file.abi_tag}-${empty.file.platform_tag}, but contains no compiled file${withCause(describeCompileFailure(evidence))}`;
  const optional = OPTIONAL_EXTENSION_FAILED.exec(evidence.output)?.[1];
  if (optional !== undefined)
    return `its optional extension ${optional} is missing${withCause(describeCompileFailure(evidence))}`;
  // Missing libraries do not count: many pure packages look for libraries, too.
  const compileFailure = describeCompileFailure(evidence, ['compiler', 'missing-header']);
  const allPure = wheels.every(({ file }) => !isNative(file));
  return allPure && compileFailure !== undefined
    ? `it was built without its compiled part: ${compileFailure}`
    : null;
}

const isNative = ({ abi_tag, platform_tag }: BuiltWheel['file']): boolean =>
  platform_tag !== 'any' || abi_tag !== 'none';
