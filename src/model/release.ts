import { Type, type Static } from './schema.js';
import { Flag, Sha256, ShortText, Time, Version, orNull } from './fields.js';

export const ORIGINS = ['feed', 'add', 'import'] as const;
export type Origin = (typeof ORIGINS)[number];

/** How a package or version was added. Only what the feed added can be removed by the feed. */
export const Origin = Type.Union(ORIGINS.map((origin) => Type.Literal(origin)));

/** The priority of a build in the queue: the backlog, a new release, an administrator's request. */
export const PRIORITY = { backlog: 0, release: 1, request: 2 } as const;

/** The number of a priority: see PRIORITY. */
export const Priority = Type.Integer({ minimum: 0, maximum: 2 });

/** Why something is skipped or yanked; null: it is not. */
export const Reason = orNull(ShortText);

/** A release, as an index lists it. */
export const Release = Type.Object({
  version: Version,
  /** When its first file was uploaded; null if the index doesn't say. */
  released: orNull(Time),
  /** The reason, which may be empty, if the whole release is yanked; null if it is not. */
  yanked: Reason,
  has_sdist: Flag,
  /** The address of the source distribution; null if the index doesn't say. */
  sdist_url: orNull(Type.String({ maxLength: 4096 })),
  sdist_sha256: orNull(Sha256),
  requires_python: orNull(ShortText),
  priority: Priority,
});
export type Release = Static<typeof Release>;
