import { Type, type Static } from './schema.js';
import { Count, Tag, Time, listOf, orNull } from './fields.js';

/**
 * The one list of statistics, shown alike on the home page, in its JSON, in the monitor and in the
 * metrics.
 */
export const STATISTICS = {
  packages: Count,
  versions: Count,
  builds: Count,
  builds_failed: Count,
  builds_last_hour: Count,
  builds_last_day: Count,
  files: Count,
  files_bytes: Count,
  downloads: Count,
  downloads_last_day: Count,
  downloads_last_month: Count,
  /** [abi, platform, builds that wait]. */
  queue: listOf(Type.Tuple([Tag, Tag, Count]), 1000),
  /** [state, slaves]. */
  slaves: listOf(Type.Tuple([Type.String({ maxLength: 20 }), Count]), 20),
  disk_total: Count,
  disk_free: Count,
  database_bytes: Count,
  /** When the newest event came from the index. */
  last_event: orNull(Time),
} as const;

export const Statistics = Type.Object(STATISTICS, { additionalProperties: false });
export type Statistics = Static<typeof Statistics>;
