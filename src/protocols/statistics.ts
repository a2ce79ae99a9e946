import { Condition, MAX_CONDITIONS } from './conditions.js';
import { Type, type Static } from './schema.js';
import { Count, Tag, Time, listOf, orNull } from './fields.js';

/**
 * The one list of statistics, shown alike on the home page, in its JSON, in the monitor and in the
 * metrics. All of them are exact as of `counted`. What is of a time is of the whole minutes (an hour, a day), hours
 * (a day's downloads) or days (a month's) up to now, the one under way included; days are UTC's.
 */
export const STATISTICS_FIELDS = {
  /** When all this was so. */
  counted: Time,
  packages: Count,
  /** Packages that have a wheel. */
  packages_built: Count,
  versions: Count,
  /** Builds that have ended, however, since the farm began: also those that were removed since. */
  builds: Count,
  /** Of all builds those that failed for good. */
  builds_failed: Count,
  /** Of all builds those that failed in a way that may pass: they are tried again. The rest have succeeded. */
  builds_retried: Count,
  /** Builds that have ended in 60 minutes. */
  builds_last_hour: Count,
  /** Builds that have ended in 24 hours. */
  builds_last_day: Count,
  /** Of these, those that have succeeded. */
  builds_succeeded_last_day: Count,
  /** Builds that slaves are at now. */
  building: Count,
  /** Wheels. */
  files: Count,
  /** Bytes of all wheels. */
  files_bytes: Count,
  /** Downloads of wheels since the farm began, also of those that were removed since. */
  downloads: Count,
  /** Downloads in 24 hours. */
  downloads_last_day: Count,
  /** Downloads in 30 days. */
  downloads_last_month: Count,
  /** [abi, platform, builds that wait], the lowest ABI first. What is held back after a failure waits as well. */
  queue: listOf(Type.Tuple([Tag, Tag, Count]), 1000),
  /** When the oldest of the new releases that wait to be built came out; null: none waits. */
  oldest_release: orNull(Time),
  /** [state, slaves], of those that the Slave Driver has heard of lately. */
  slaves: listOf(Type.Tuple([Type.String({ maxLength: 20 }), Count]), 20),
  /** Bytes of the file system of the output path; 0 while nobody can tell. */
  disk_total: Count,
  /** Bytes of it that the farm can still fill. */
  disk_free: Count,
  /** Bytes of the database on its disk, with its indexes. */
  database_bytes: Count,
  /**
   * When the index has last told something that was new to the farm, by the farm's own clock, to a second: an event
   * of its changelog, or a page of a project that had changed. null: it never has.
   */
  last_event: orNull(Time),
  /** What keeps parts of the farm from their work now, the oldest first. */
  conditions: listOf(Condition, MAX_CONDITIONS),
} as const;

export const Statistics = Type.Object(STATISTICS_FIELDS, { additionalProperties: false });
export type Statistics = Static<typeof Statistics>;
