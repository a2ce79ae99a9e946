import { Type, type Static } from './schema.js';

const KILL_MODES = ['now', 'after'] as const;

/** When to say BYE to a slave: `now`, or `after` its current build. */
export const KillMode = Type.Union(KILL_MODES.map((kill) => Type.Literal(kill)));
export type KillMode = Static<typeof KillMode>;
