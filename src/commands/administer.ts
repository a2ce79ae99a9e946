import { randomBytes } from 'node:crypto';
import { ProtocolClient } from '../actor/client.js';
import type { Bus } from '../bus/bus.js';
import { PiwError } from '../errors.js';
import { BuildOutput, Seconds, ShortText, Tag, Text, Time, Version } from '../model/fields.js';
import type { Schema } from '../model/schema.js';
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

/** What an argument must be, by the schema of the field in which it is sent. */
const REQUIREMENTS: ReadonlyMap<Schema, string> = new Map<Schema, string>([
  [Version, 'a version such as 1.16.0'],
  [Tag, 'a tag such as cp311 or linux_aarch64'],
  [ShortText, 'at most 1024 characters'],
  [Text, 'at most 65536 characters'],
  [BuildOutput, 'at most 64 MB'],
  [Time, 'a time since 1970'],
  [Seconds, 'at most 30 years'],
]);

/** Longer values are not quoted in an error. */
const MAX_QUOTED_CHARS = 60;

/**
 * Throws PIW_USAGE for the first argument that doesn't fit the schema of its field: its name as in the help, the schema,
 * and the value, which is not checked if it is undefined or null.
 */
export function checkArguments(
  ...args: readonly (readonly [name: string, schema: Schema, value: unknown])[]
): void {
  for (const [name, schema, value] of args) {
    const quoted =
      typeof value === 'string' && value.length <= MAX_QUOTED_CHARS ? ` ${JSON.stringify(value)}` : '';
    if (value === undefined || value === null || schema.is(value)) continue;
    throw new PiwError(
      'PIW_USAGE',
      `${name}${quoted}: must be ${REQUIREMENTS.get(schema) ?? schema.description}`,
    );
  }
}
