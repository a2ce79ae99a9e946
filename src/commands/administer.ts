import { randomBytes } from 'node:crypto';
import { Client } from '../actor/client.js';
import type { Bus } from '../bus/bus.js';
import { PiwError } from '../errors.js';
import { chase } from '../protocols/chase.js';
import { isPackageName, normalise, type PackageName } from '../wheels/names.js';

export type Chase = Client<typeof chase.verbs>;

/** A conversation of its own with Mr Chase. */
export function chaseOf(bus: Bus): Chase {
  const session = randomBytes(8).toString('hex');
  return new Client(bus, chase, [chase.name, session], { timeoutMs: 30_000, patienceMs: 35_000 });
}

/** The normalised name of what was typed. Raises PIW_BAD_REQUIREMENT. */
export function packageName(typed: string): PackageName {
  if (!isPackageName(typed))
    throw new PiwError('PIW_BAD_REQUIREMENT', `${JSON.stringify(typed)} is no name of a package`);
  return normalise(typed);
}
