import { Type, type Static } from './schema.js';
import { Count, Tag, Text, Time, Version, orNull } from './fields.js';
import { Priority } from './release.js';
import { TARGET_STATES } from './target.js';

/** [abi, platform, priority, waiting builds, when the oldest of them was released]. */
export const QueueLength = Type.Tuple([Tag, Tag, Priority, Count, orNull(Time)]);
export type QueueLength = Static<typeof QueueLength>;

/**
 * The state of a version on a target: [version, abi, platform, state, position, why]. The position in the queue counts
 * from 1; it is null if the version doesn't wait, or is too far back to be counted. `why` is a text for operators.
 */
export const QueuedVersion = Type.Tuple([
  Version,
  Tag,
  Tag,
  Type.Union(TARGET_STATES.map((state) => Type.Literal(state))),
  orNull(Count),
  Text,
]);
export type QueuedVersion = Static<typeof QueuedVersion>;
