import type { Test } from 'tap';
import type { ActorContext } from '../../src/actor/actor.js';
import type { Bus } from '../../src/bus/bus.js';
import { systemClock } from '../../src/concurrency/clock.js';
import { createLog } from '../../src/log.js';

/** Returns the context of an actor that runs within a test: it logs nothing, and a crash fails the test. */
export const actorContext = (
  t: Test,
  bus: Bus,
  task: string,
  overrides: Partial<ActorContext> = {},
): ActorContext => ({
  task,
  bus,
  log: createLog('test', 'error', () => undefined),
  clock: systemClock,
  pausing: 'ignores',
  assertLeader: () => 0,
  crash: (error) => t.fail(String(error)),
  ...overrides,
});
