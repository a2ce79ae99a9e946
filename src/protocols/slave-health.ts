import { Type, type Static } from '../model/schema.js';
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
} from '../model/fields.js';

/** A slave that is set aside: [the slave_id of the session that was set aside, since when, why]. */
export const SetAside = Type.Tuple([Id, Time, Sentence]);
export type SetAside = Static<typeof SetAside>;

/** The outcome of a slave's build: [slave_id, abi, platform, package, failed, failure class, ended, duration_s]. */
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
 * The review of the failures of a slave that is set aside: [slave_id, how many were requeued just now, whether there
 * are more, how many another slave has confirmed, how many another slave has built].
 */
export const SlaveReview = Type.Tuple([Id, Count, Flag, Count, Count]);
export type SlaveReview = Static<typeof SlaveReview>;

/** The Slave Driver's requests to the Oracle about unhealthy slaves. */
export const HEALTH_VERBS = {
  /** The outcomes of the newest builds, by which slaves are compared. */
  OUTCOMES: {
    fields: {},
    answers: { OUTCOMES: { outcomes: listOf(SlaveOutcome, 10_000) } },
  },
  /** Sets a slave aside for a `reason`, whose failures since `since` need confirmation; without a reason, readmits it. */
  SETASIDE: {
    fields: { slave_id: Id, reason: orNull(Sentence), since: Time },
    answers: { DONE: {} },
  },
  /** Requeues the unconfirmed failures of the slaves `slave_ids`, and of others that were set aside recently. */
  REVIEW: {
    fields: { slave_ids: listOf(Id, 100_000) },
    answers: { REVIEWED: { slaves: listOf(SlaveReview, 100_000) } },
  },
} as const;
