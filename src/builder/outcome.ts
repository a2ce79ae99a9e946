import type { FailureClass } from '../failures/classes.js';
import { toSentence } from '../model/build-details.js';
import type { BuildDetails, Provenance } from '../model/fields.js';
import type { BuiltFile, SuccessfulBuild } from './built-wheels.js';
import type { Failure } from './failure.js';
import { failureForTermination, type BuildLimits } from './limits.js';
import type { RunResult } from './run.js';
import { MISSING_TOOL_MESSAGES, type MissingTool } from './toolchain.js';

/** The outcome of a build: its wheels, or why it failed. */
type BuildOutcome = Failure | SuccessfulBuild;

/** The outcome as a slave sends it to the master. */
export interface BuildResult {
  readonly status: boolean;
  readonly failureClass: FailureClass | null;
  readonly durationS: number;
  /** The log; after a failure, its last line begins with `piw: ` and says why in a sentence. */
  readonly output: string;
  readonly details: BuildDetails;
  readonly files: readonly BuiltFile[];
}

/**
 * Returns the failure that the end of a build's process shows; undefined if it shows none. `oomKilled` says whether
 * the kernel killed a process for lack of memory during the build; undefined if unknown.
 */
export function failureFromExit(
  { termination, signal }: RunResult,
  limits: BuildLimits,
  timeoutMs: number,
  oomKilled: boolean | undefined,
): Failure | undefined {
  if (termination !== undefined) return failureForTermination(termination, limits, timeoutMs);
  if (signal === 'SIGKILL' && oomKilled !== false) {
    const certainty = oomKilled ? '' : ', most likely';
    return { failureClass: 'memory', sentence: `the kernel killed it${certainty} for lack of memory` };
  }
  return signal === null ? undefined : { failureClass: 'killed', sentence: `${signal} ended it` };
}

/** Returns the outcome; blames the slave if the build failed for lack of a tool that the slave is known to lack. */
export function attributeToMissingTool(
  outcome: BuildOutcome,
  missingTools: readonly MissingTool[],
): BuildOutcome {
  if (!('failureClass' in outcome)) return outcome;
  const { failureClass, sentence } = outcome;
  const missingTool = missingTools.find((tool) =>
    tool === 'compiler'
      ? ['compiler', 'missing-header'].includes(failureClass)
      : failureClass === 'missing-header' && sentence.includes(' Python.h'),
  );
  if (missingTool === undefined) return outcome;
  return {
    failureClass: 'no-compiler',
    sentence: `the slave is at fault: ${MISSING_TOOL_MESSAGES[missingTool]}`,
  };
}

/** Returns the result of a request; a failure's sentence becomes the last line of the log. */
export function toBuildResult(
  request: { readonly package: string; readonly version: string },
  durationS: number,
  output: string,
  outcome: BuildOutcome,
  provenance: Provenance | null = null,
): BuildResult {
  if (!('failureClass' in outcome))
    return {
      status: true,
      failureClass: null,
      durationS,
      output,
      files: outcome.files,
      details: {
        reason: null,
        provenance,
        remark: outcome.remark === null ? null : toSentence(outcome.remark),
      },
    };
  const lastLine = `piw: ${request.package} ${request.version} was not built: ${outcome.sentence}`;
  return {
    status: false,
    failureClass: outcome.failureClass,
    durationS,
    output: `${output.trim() === '' ? '' : `${output.trimEnd()}\n`}${lastLine}\n`,
    details: { remark: null, provenance, reason: toSentence(outcome.sentence) },
    files: [],
  };
}
