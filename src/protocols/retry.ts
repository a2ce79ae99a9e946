import { Type, type Static } from '../model/schema.js';
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
} from '../model/fields.js';

const REQUEUE_REASONS = ['retry', 'unconfirmed'] as const;
/**
 * Why a failure is not final: an administrator has requeued its build, or its slave was set aside and no other slave
 * has confirmed the failure.
 */
export const RequeueReason = Type.Union(REQUEUE_REASONS.map((reason) => Type.Literal(reason)));
export type RequeueReason = Static<typeof RequeueReason>;

/** Selects the failures that match every field that is not null. */
export const FailureFilter = Type.Object({
  package: orNull(Package),
  version: orNull(Version),
  /** Failure classes, any of which matches; an empty list matches all. */
  classes: listOf(FailureClassName, 100),
  /** The id, the user or the label of the slave. */
  slave: orNull(ShortText),
  /** The build ended at this time or later. */
  since: orNull(Time),
  /** The build ended before this time. */
  until: orNull(Time),
  abi: orNull(Tag),
  platform: orNull(Tag),
  /** Text that the log contains, case-sensitive; with `regexp`, a PostgreSQL regular expression. */
  text: orNull(ShortText),
  /** Whether `text` is a regular expression. */
  regexp: Flag,
});
export type FailureFilter = Static<typeof FailureFilter>;

/** A failed build: [build_id, package, version, abi, platform, class, when it ended]. */
export const FailedBuild = Type.Tuple([Id, Package, Version, Tag, Tag, orNull(FailureClassName), Time]);
export type FailedBuild = Static<typeof FailedBuild>;

/**
 * Requeues failures (with `dry_run`, only counts them), a few hundred per request: those with a build_id above `after`
 * and up to `upto`, which is null in the first request of a run. Each answer says where the next request starts; null
 * at the end. A repeated request finds nothing more to requeue.
 */
export const RETRY = {
  fields: { filter: FailureFilter, dry_run: Flag, after: Count, upto: orNull(Count) },
  answers: {
    RETRIED: {
      /** `after` of the next request; null: this was the last one. */
      next: orNull(Count),
      /** `upto` of the next request. */
      upto: Count,
      /** Requeued failures by class. */
      classes: listOf(Type.Tuple([FailureClassName, Count]), 1000),
      examples: listOf(FailedBuild, 20),
    },
  },
} as const;
