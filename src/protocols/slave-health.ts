import { Type, type Static } from './schema.js';
import {
  Count,
  FailureClassName,
  Flag,
  Id,
  Package,
  Seconds,
  Sentence,
  Tag,
  Time,
  listOf,
  orNull,
} from './fields.js';

/** A slave that is set aside: [the session that was, since when, why]. */
export const SetAside = Type.Tuple([Id, Time, Sentence]);
export type SetAside = Static<typeof SetAside>;

/** How a build of a slave has ended: [slave_id, abi, platform, package, whether it failed, class, when, duration_s]. */
export const SlaveOutcome = Type.Tuple([
  Id,
  Tag,
  Tag,
  Package,
  Flag,
  orNull(FailureClassName),
  Time,
  Seconds,
]);
export type SlaveOutcome = Static<typeof SlaveOutcome>;

/**
 * What has become of the failures of a slave that is set aside: [slave_id, how many were put back just now, whether
 * there are more, how many another slave has confirmed, how many another slave has built].
 */
export const SlaveReview = Type.Tuple([Id, Count, Flag, Count, Count]);
export type SlaveReview = Static<typeof SlaveReview>;

/** What the Slave Driver asks of the Oracle about sick slaves. */
export const HEALTH_VERBS = {
  /** How the newest builds have ended, by which slaves are compared. */
  OUTCOMES: {
    fields: {},
    answers: { OUTCOMES: { outcomes: listOf(SlaveOutcome, 10_000) } },
    reads: true,
  },
  /** Sets a slave aside, whose failures since then do not stand alone; without a reason, takes that back. */
  SETASIDE: {
    fields: { slave_id: Id, reason: orNull(Sentence), since: Time },
    answers: { DONE: {} },
  },
  /** Puts back what these slaves, and others that were set aside lately, have failed with and nobody has confirmed. */
  REVIEW: {
    fields: { slave_ids: listOf(Id, 100_000) },
    answers: { REVIEWED: { slaves: listOf(SlaveReview, 100_000) } },
  },
} as const;
