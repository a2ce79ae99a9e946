import { Type, type Static } from './schema.js';
import { Flag, Sha256, ShortText, Time, Version, orNull } from './fields.js';

/** How a package or version was added. Only what the feed added can be removed by the feed. */
export const ORIGINS = ['feed', 'add', 'import'] as const;
export type Origin = (typeof ORIGINS)[number];

export const Origin = Type.Union(ORIGINS.map((origin) => Type.Literal(origin)));

/** The priority of a build in the queue: the backlog, a new release, an administrator's request. */
export const PRIORITY = { backlog: 0, release: 1, request: 2 } as const;

export const Priority = Type.Integer({ minimum: 0, maximum: 2 });

export const Reason = orNull(ShortText);

/** A release, as an index lists it. */
export const Release = Type.Object({
  version: Version,
  /** When its first file was uploaded; null if the index doesn't say. */
  released: orNull(Time),
  /** The reason, which may be empty, if the whole release is yanked; null if it is not. */
  yanked: Reason,
  has_sdist: Flag,
  sdist_url: orNull(Type.String({ maxLength: 4096 })),
  sdist_sha256: orNull(Sha256),
  requires_python: orNull(ShortText),
  priority: Priority,
});
export type Release = Static<typeof Release>;
