import { compilerTrouble, type Evidence } from './failure.js';
import type { FileState } from '../states/file-state.js';

/** A wheel of a build that succeeded, and whether it holds a compiled file. */
export interface MadeWheel {
  readonly file: Pick<FileState, 'filename' | 'abi_tag' | 'platform_tag'>;
  readonly compiled: boolean;
}

/** What setuptools prints where an optional extension (Extension(optional=True)) did not compile. */
const OPTIONAL = /\bbuilding extension "([^"\n]{1,200})" failed: /;

/**
 * Returns what a build that succeeded lacks, in a sentence with the compiler's first error; null where nothing tells
 * that it lacks anything. Three cases: a wheel for one platform without a compiled file in it; an optional extension
 * that did not compile; a pure wheel of a build in which something did not compile. A setup.py that falls back to
 * pure Python brings about the first or the last.
 */
export function missingParts(wheels: readonly MadeWheel[], evidence: Evidence): string | null {
  const because = (why: string | undefined): string => (why === undefined ? '' : `: ${why}`);
  const empty = wheels.find(({ file, compiled }) => isNative(file) && !compiled);
  if (empty)
    return `its wheel is tagged ${empty.file.abi_tag}-${empty.file.platform_tag}, but holds no compiled file${because(compilerTrouble(evidence))}`;
  const optional = OPTIONAL.exec(evidence.output)?.[1];
  if (optional !== undefined)
    return `its optional extension ${optional} is missing${because(compilerTrouble(evidence))}`;
  // Libraries are asked after by many a pure package, too, and not found.
  const trouble = compilerTrouble(evidence, ['compiler', 'missing-header']);
  const pure = wheels.every(({ file }) => !isNative(file));
  return pure && trouble !== undefined ? `it was built without its compiled part: ${trouble}` : null;
}

const isNative = ({ abi_tag, platform_tag }: MadeWheel['file']): boolean =>
  platform_tag !== 'any' || abi_tag !== 'none';
