import { randomBytes } from 'node:crypto';
import { ProtocolClient } from '../actor/client.js';
import type { Bus } from '../bus/bus.js';
import { PiwError } from '../errors.js';
import { chase } from '../protocols/chase.js';
import { isPackageName, normalise, type PackageName } from '../wheels/names.js';

export type ChaseClient = ProtocolClient<typeof chase.verbs>;

/** Returns a client with a session of its own with Mr Chase. A request times out after 30 s. */
export function createChaseClient(bus: Bus): ChaseClient {
  const session = randomBytes(8).toString('hex');
  return new ProtocolClient(bus, chase, [chase.name, session], { timeoutMs: 30_000, patienceMs: 35_000 });
}

/** Returns the normalised name of a package that the user typed. Throws PIW_BAD_REQUIREMENT if it is not valid. */
export function parsePackageName(input: string): PackageName {
  if (!isPackageName(input))
    throw new PiwError('PIW_BAD_REQUIREMENT', `${JSON.stringify(input)} is not a valid package name`);
  return normalise(input);
}
