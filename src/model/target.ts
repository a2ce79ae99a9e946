import { Type, type Static } from './schema.js';
import { Tag } from './fields.js';
import { Reason } from './release.js';

/** The states of a version on a target. */
export const TARGET_STATES = ['built', 'failed', 'building', 'waiting', 'none'] as const;

export const Target = Type.Object({
  abi: Tag,
  platform: Tag,
  py_version_tag: Tag,
  skip: Reason,
});
export type Target = Static<typeof Target>;

/**
 * The phases of a target. `active`: its builds are queued; `filling`, `emptying`: builds are being added to the queue,
 * or removed from it, in the background; `skipped`: nothing is built for it; `leaving`: it is being removed.
 */
const TARGET_PHASES = ['active', 'filling', 'emptying', 'skipped', 'leaving'] as const;

export const RegisteredTarget = Type.Object({
  abi: Tag,
  platform: Tag,
  py_version_tag: Tag,
  skip: Reason,
  phase: Type.Union(TARGET_PHASES.map((phase) => Type.Literal(phase))),
  /** The share of all versions that have been processed, from 0 to 1. */
  done: Type.Number({ minimum: 0, maximum: 1 }),
});
export type RegisteredTarget = Static<typeof RegisteredTarget>;
