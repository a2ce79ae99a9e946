import { randomBytes } from 'node:crypto';
import { ProtocolClient } from '../actor/client.js';
import type { Bus } from '../bus/bus.js';
import { PiwError } from '../errors.js';
import { chase } from '../protocols/chase.js';
import { isPackageName, normalise, type PackageName } from '../wheels/names.js';

export type ChaseClient = ProtocolClient<typeof chase.verbs>;

/** A conversation of its own with Mr Chase. */
export function createChaseClient(bus: Bus): ChaseClient {
  const session = randomBytes(8).toString('hex');
  return new ProtocolClient(bus, chase, [chase.name, session], { timeoutMs: 30_000, patienceMs: 35_000 });
}

/** The normalised name of what was typed. Raises PIW_BAD_REQUIREMENT. */
export function parsePackageName(input: string): PackageName {
  if (!isPackageName(input))
    throw new PiwError('PIW_BAD_REQUIREMENT', `${JSON.stringify(input)} is no name of a package`);
  return normalise(input);
}
