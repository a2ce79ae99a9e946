import { Type, type Static } from './schema.js';
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
} from './fields.js';

/** What the pages show that is about no project. */

/**
 * [when the step began, builds that ended in it, of them failed (for good or to be tried again), downloads]: what it
 * all came to, whatever was removed since. The rest of the builds have succeeded.
 */
const HistoryPointTuple = Type.Tuple([Time, Count, Count, Count]);

/**
 * Builds and downloads by hour (the last 48), by day (365) and by month (since the first of which anything is known),
 * all of UTC; the oldest first, without a gap, the last one unfinished.
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
  built: Time,
  duration_s: Seconds,
  /** Its wheels were handed in by an administrator, and no slave has built it. */
  imported: Flag,
});
export type EndedBuild = Static<typeof EndedBuild>;

/** What the home page shows beside the statistics. */
export const HomePageData = Type.Object({
  history: ActivityHistory,
  /** The newest first. */
  latest: listOf(EndedBuild, 50),
  /** [package, downloads of 30 days], the most first. */
  popular: listOf(Type.Tuple([Package, Count]), 100),
});
export type HomePageData = Static<typeof HomePageData>;
