import { Type, type Static } from './schema.js';
import {
  Count,
  FailureClassName,
  Flag,
  Id,
  Package,
  ShortText,
  Tag,
  Time,
  Version,
  listOf,
  orNull,
} from './fields.js';

/**
 * Why a failure is not final: an administrator has put its build back into the queue, or its slave was set aside and no
 * other slave has confirmed it.
 */
export const REQUEUE_REASONS = ['retry', 'unconfirmed'] as const;
export const RequeueReason = Type.Union(REQUEUE_REASONS.map((why) => Type.Literal(why)));
export type RequeueReason = Static<typeof RequeueReason>;

/** Which failures are meant: those that agree with everything that is not null. */
export const FailureFilter = Type.Object({
  package: orNull(Package),
  version: orNull(Version),
  /** One of these; an empty list: any. */
  classes: listOf(FailureClassName, 100),
  /** The number, the user or the label of the slave. */
  slave: orNull(ShortText),
  /** Ended not before, and before. */
  since: orNull(Time),
  until: orNull(Time),
  abi: orNull(Tag),
  platform: orNull(Tag),
  /** What the log contains, case-sensitive; with `regexp` a regular expression of PostgreSQL's. */
  text: orNull(ShortText),
  regexp: Flag,
});
export type FailureFilter = Static<typeof FailureFilter>;

/** A failure: [build_id, package, version, abi, platform, class, when it ended]. */
export const FailedBuild = Type.Tuple([Id, Package, Version, Tag, Tag, orNull(FailureClassName), Time]);
export type FailedBuild = Static<typeof FailedBuild>;

/**
 * Puts failures back into the queue (`dry_run`: only counts them), a few hundred at a time: those whose build_id is
 * above `after` and not above `upto`, which is null in the first request of a run. Each answer says where the next
 * request begins, null at the end. A repeated request finds nothing more to put back.
 */
export const RETRY = {
  fields: { filter: FailureFilter, dry_run: Flag, after: Count, upto: orNull(Count) },
  answers: {
    RETRIED: {
      next: orNull(Count),
      upto: Count,
      /** How many of each class. */
      classes: listOf(Type.Tuple([FailureClassName, Count]), 1000),
      examples: listOf(FailedBuild, 20),
    },
  },
} as const;
