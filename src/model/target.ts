import { Type, type Static } from './schema.js';
import { Tag } from './fields.js';
import { Reason } from './release.js';

/**
 * The states of a version on a target. `built`: a file serves the target; `failed`: its last build failed for good;
 * `building`: a slave is building it; `waiting`: it is queued; `none`: nothing is to be done.
 */
export const TARGET_STATES = ['built', 'failed', 'building', 'waiting', 'none'] as const;

/** An ABI on a platform for which the farm builds. */
export const Target = Type.Object({
  abi: Tag,
  platform: Tag,
  py_version_tag: Tag,
  skip: Reason,
});
export type Target = Static<typeof Target>;

const TARGET_PHASES = ['active', 'filling', 'emptying', 'skipped', 'leaving'] as const;

/** A target that is in the database. */
export const RegisteredTarget = Type.Object({
  abi: Tag,
  platform: Tag,
  py_version_tag: Tag,
  skip: Reason,
  /**
   * `active`: its builds are queued; `filling`, `emptying`: builds are being added to the queue, or removed from it, in
   * the background; `skipped`: nothing is built for it; `leaving`: it is being removed.
   */
  phase: Type.Union(TARGET_PHASES.map((phase) => Type.Literal(phase))),
  /** The share of all versions that have been processed, from 0 to 1. */
  done: Type.Number({ minimum: 0, maximum: 1 }),
});
export type RegisteredTarget = Static<typeof RegisteredTarget>;
