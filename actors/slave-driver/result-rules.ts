import { toSentence } from '../../src/model/build-details.js';
import type { BuiltMessage } from '../../src/protocols/slave-driver.js';

/**
 * Returns the failure that is recorded for a build, which need not be what its slave reported; undefined if the
 * build succeeded and its files are wanted. In this order:
 *
 *   reported by the slave as failed                               its own failure class
 *   the wheel is incomplete, and another slave can do better      no-compiler: the slave is at fault
 *   there is no wheel                                             no-wheel
 *   the wheel is incomplete, and such wheels are refused          incomplete
 *
 * A wheel is incomplete if the build has a remark, which says what the wheel lacks. `lacks` is what the slave
 * lacks and another slave of its target has.
 */
export function failureOf(
  built: BuiltMessage,
  lacks: readonly string[],
  refuseIncomplete: boolean,
): BuiltMessage | undefined {
  if (!built.status) return { ...built, files: [] };
  const { remark } = built.details;
  if (remark !== null && lacks.length > 0)
    return asFailed(built, 'no-compiler', {
      reason: toSentence(`the slave is at fault: ${lacks.join('; ')}`),
      remark: null,
    });
  if (built.files.length === 0)
    return asFailed(built, 'no-wheel', { reason: 'the build succeeded but produced no wheel' });
  if (remark !== null && refuseIncomplete)
    return asFailed(built, 'incomplete', { reason: remark, remark: null });
  return undefined;
}

/** Returns the failure that is recorded for a build whose files are unacceptable, with the reason in its log. */
export function refusedResult(built: BuiltMessage, reason: string): BuiltMessage {
  const text = `the master refused the result: ${reason}`;
  return {
    ...asFailed(built, 'wrong-wheel', { reason: toSentence(text) }),
    output: `${built.output}\npiw: ${text}\n`,
  };
}

const asFailed = (
  built: BuiltMessage,
  failure_class: string,
  details: Partial<BuiltMessage['details']>,
): BuiltMessage => ({
  ...built,
  status: false,
  failure_class,
  details: { ...built.details, ...details },
  files: [],
});
