import type { Answer } from '../../src/protocols/protocol.js';
import type { SlaveAnswer, SlaveVerbs } from '../../src/protocols/slave-driver.js';
import type { SlaveActivity, SlaveState } from './slave-state.js';

/**
 * The requests within a session that may change it. HELLO begins it as `idle`, or changes nothing; BYE ends it; OUTPUT
 * changes nothing.
 */
export type SessionRequest = Exclude<keyof SlaveVerbs, 'HELLO' | 'BYE' | 'OUTPUT'>;
type Activities = readonly (SlaveActivity | 'unchanged')[];
type SessionTransitions = {
  readonly [R in SessionRequest]: Readonly<Record<Answer<SlaveVerbs, R>['verb'], Activities>>;
};

/**
 * The transitions of a session: for each request and each of its answers, what the slave is doing afterwards.
 * The slaves take the initiative, so a request may arrive in any state. `unchanged`: the request was about a
 * lease that the slave no longer holds.
 */
const TRANSITIONS: SessionTransitions = {
  IDLE: { BUILD: ['building'], SLEEP: ['waiting', 'resting'], BYE: ['gone'] },
  REST: { SLEEP: ['resting'], BYE: ['gone'] },
  BUSY: { CONT: ['building', 'sending'], DONE: ['idle', 'unchanged'], BYE: ['gone'] },
  BUILT: { SEND: ['sending'], WAIT: ['sending'], DONE: ['idle', 'unchanged'], BYE: ['gone'] },
  SENT: { SEND: ['sending'], WAIT: ['sending'], DONE: ['idle'], BYE: ['gone'] },
};

/**
 * Throws if the session is not in a state that this answer to this request leads to. Throws also if the slave
 * holds a lease while it neither builds nor sends, or builds or sends without a lease. `before` is what the slave
 * was doing when the request arrived.
 */
export function assertTransition(
  request: SessionRequest,
  answer: SlaveAnswer['verb'],
  before: SlaveActivity,
  { activity, lease }: SlaveState,
): void {
  const answers: Partial<Record<SlaveAnswer['verb'], Activities>> = TRANSITIONS[request];
  const activities = answers[answer] ?? [];
  const isAllowed =
    activities.includes(activity) || (activity === before && activities.includes('unchanged'));
  const needsLease = activity === 'building' || activity === 'sending';
  if (!isAllowed || needsLease !== (lease !== undefined))
    throw new Error(
      `${request} was answered with ${answer}, and its slave went from ${before} to ${activity} ${lease ? 'with' : 'without'} a lease`,
    );
}
