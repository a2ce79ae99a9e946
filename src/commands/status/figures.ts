import { ProtocolClient } from '../../actor/client.js';
import type { Bus } from '../../bus/bus.js';
import { rethrowUnexpected } from '../../errors.js';
import { bigBrother } from '../../protocols/big-brother.js';
import type { Condition } from '../../protocols/conditions.js';
import type { Statistics } from '../../protocols/statistics.js';

const BIG_BROTHER_TIMEOUT_MS = 4000;

/** Returns null for an actor that does not answer, so that the other answers are shown. Rethrows other errors. */
export function nullIfUnanswered(error: unknown): null {
  rethrowUnexpected(error);
  return null;
}

const askBigBrother = (bus: Bus) =>
  new ProtocolClient(bus, bigBrother, undefined, { timeoutMs: BIG_BROTHER_TIMEOUT_MS });

/** Returns all statistics; null if Big Brother doesn't answer, or has none because the database is down. */
export async function fetchStatistics(bus: Bus): Promise<Statistics | null> {
  return await askBigBrother(bus)
    .request('GATHER', {})
    .then(({ statistics }) => statistics, nullIfUnanswered);
}

/** Returns the conditions that keep parts of the farm from working; null if Big Brother doesn't answer. */
export async function fetchConditions(bus: Bus): Promise<readonly Condition[] | null> {
  return await askBigBrother(bus)
    .request('CONDITIONS', {})
    .then(({ conditions }) => conditions, nullIfUnanswered);
}
