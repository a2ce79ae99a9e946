import { Type, type Static } from './schema.js';

/** When to say BYE to a slave: `now`, or `after` its current build. */
const KILL_MODES = ['now', 'after'] as const;

export const KillMode = Type.Union(KILL_MODES.map((kill) => Type.Literal(kill)));
export type KillMode = Static<typeof KillMode>;
