import { Condition, MAX_CONDITIONS } from './conditions.js';
import { Type, type Static } from '../model/schema.js';
import { Count, Tag, Time, listOf, orNull } from '../model/fields.js';

const STATISTICS_FIELDS = {
  /** The time of all these figures. */
  counted: Time,
  /** Packages that the farm knows. */
  packages: Count,
  /** Packages that have a wheel. */
  packages_built: Count,
  /** Their versions. */
  versions: Count,
  /** Builds that have ended, successfully or not, since the farm began, including those that were removed since. */
  builds: Count,
  /** Those of all builds that failed for good. */
  builds_failed: Count,
  /** Those of all builds that failed transiently and are retried. The others have succeeded. */
  builds_retried: Count,
  /** Builds that ended in the last 60 minutes. */
  builds_last_hour: Count,
  /** Those of builds_last_hour that succeeded. */
  builds_succeeded_last_hour: Count,
  /** Builds that ended in the last 24 hours. */
  builds_last_day: Count,
  /** Those of builds_last_day that succeeded. */
  builds_succeeded_last_day: Count,
  /** Builds that slaves are working on. */
  building: Count,
  /** Wheels. */
  files: Count,
  /** The size of all wheels, bytes. */
  files_bytes: Count,
  /** Downloads of wheels since the farm began, including wheels that were removed since. */
  downloads: Count,
  /** Downloads in the last 24 hours. */
  downloads_last_day: Count,
  /** Downloads in the last 30 days. */
  downloads_last_month: Count,
  /** [abi, platform, waiting builds], lowest ABI first. Includes builds that are held back after a failure. */
  queue: listOf(Type.Tuple([Tag, Tag, Count]), 1000),
  /** The release time of the oldest new release that waits to be built; null: none waits. */
  oldest_release: orNull(Time),
  /** [state, slaves], of the slaves that the Slave Driver has heard from recently. */
  slaves: listOf(Type.Tuple([Type.String({ maxLength: 20 }), Count]), 20),
  /** The size of the output path's file system, bytes; 0 while unknown. */
  disk_total: Count,
  /** Bytes of it that are available to the farm. */
  disk_free: Count,
  /** The size of the database on disk with its indexes, bytes. */
  database_bytes: Count,
  /**
   * When the index last sent something new, by the farm's own clock, to a second: an event of its changelog, or a
   * changed page of a project; null: never.
   */
  last_event: orNull(Time),
  /** Conditions that keep parts of the farm from working, oldest first. */
  conditions: listOf(Condition, MAX_CONDITIONS),
} as const;

/**
 * The list of all statistics, shown alike on the home page, in its JSON, in the monitor and in the metrics. All of them
 * are exact as of `counted`. A period consists of whole minutes (for an hour, and a day of builds), hours (for a day of
 * downloads) or days in UTC (for a month), including the current one.
 */
export const Statistics = Type.Object(STATISTICS_FIELDS, { additionalProperties: false });
export type Statistics = Static<typeof Statistics>;
