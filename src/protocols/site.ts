import { Type, type Static } from '../model/schema.js';
import {
  Count,
  FailureClassName,
  Flag,
  Id,
  Package,
  Seconds,
  Tag,
  Time,
  Version,
  listOf,
  orNull,
} from '../model/fields.js';

/** The contents of pages that are not about a project. */

/**
 * The totals of an hour, day or month, including what was removed since: [when it began, builds that ended in it, those
 * of them that failed (finally or transiently), downloads]. The other builds have succeeded.
 */
const HistoryPointTuple = Type.Tuple([Time, Count, Count, Count]);

/**
 * Builds and downloads by hour (the last 48), by day (the last 365) and by month (since the first with any data), all
 * in UTC; oldest first, without gaps, the last one still running.
 */
export const ActivityHistory = Type.Object({
  hours: listOf(HistoryPointTuple, 100),
  days: listOf(HistoryPointTuple, 400),
  months: listOf(HistoryPointTuple, 1200),
});
export type ActivityHistory = Static<typeof ActivityHistory>;

/** A build that has ended. */
export const EndedBuild = Type.Object({
  build_id: Id,
  package: Package,
  version: Version,
  abi: Tag,
  platform: Tag,
  status: Flag,
  failure_class: orNull(FailureClassName),
  /** When it ended. */
  built: Time,
  duration_s: Seconds,
  /** An administrator has imported its wheels; no slave has built it. */
  imported: Flag,
});
export type EndedBuild = Static<typeof EndedBuild>;

/** What the home page shows in addition to the statistics. */
export const HomePageData = Type.Object({
  history: ActivityHistory,
  /** The latest builds, newest first. */
  latest: listOf(EndedBuild, 50),
  /** [package, downloads in 30 days], most downloaded first. */
  popular: listOf(Type.Tuple([Package, Count]), 100),
});
export type HomePageData = Static<typeof HomePageData>;
