import { Type, type Static } from './schema.js';
import {
  Count,
  FailureClass,
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

/** [when the step began, builds that ended in it, of them failed, downloads]: what it all came to. */
const Step = Type.Tuple([Time, Count, Count, Count]);

/** Builds and downloads by hour (the last two days), by day (a year) and by month; the oldest first, the last one unfinished. */
export const History = Type.Object({
  hours: listOf(Step, 100),
  days: listOf(Step, 400),
  months: listOf(Step, 1200),
});
export type History = Static<typeof History>;

/** A build that has ended. */
export const EndedBuild = Type.Object({
  build_id: Id,
  package: Package,
  version: Version,
  abi: Tag,
  platform: Tag,
  status: Flag,
  failure_class: orNull(FailureClass),
  built: Time,
  duration_s: Seconds,
});
export type EndedBuild = Static<typeof EndedBuild>;

/** What the home page shows beside the statistics. */
export const Front = Type.Object({
  history: History,
  /** The newest first. */
  latest: listOf(EndedBuild, 50),
  /** [package, downloads of 30 days], the most first. */
  popular: listOf(Type.Tuple([Package, Count]), 100),
});
export type Front = Static<typeof Front>;
