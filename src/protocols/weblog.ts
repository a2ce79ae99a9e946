import { Type, type Static } from '../model/schema.js';
import { Count, Id, ShortText, listOf, orNull } from '../model/fields.js';

/** Entries in one message at most. */
const MAX_ENTRIES = 100_000;

/** What a client's User-Agent says about it; see src/weblog/agents.ts. */
export const LogAgent = Type.Tuple([
  orNull(ShortText), // arch
  orNull(ShortText), // distro_name
  orNull(ShortText), // distro_version
  orNull(ShortText), // os_name
  orNull(ShortText), // os_version
  orNull(ShortText), // py_name
  orNull(ShortText), // py_version
  orNull(ShortText), // installer_name
  orNull(ShortText), // installer_version
  orNull(ShortText), // setuptools_version
]);
export type LogAgent = Static<typeof LogAgent>;

/** [address or name, country]: the client, as far as the settings keep it, and its location. */
export const LogHost = Type.Tuple([
  orNull(ShortText),
  orNull(Type.String({ minLength: 2, maxLength: 2, pattern: '^[A-Z]{2}$' })),
]);
export type LogHost = Static<typeof LogHost>;

/** The kinds of entries, in the order of their numbers. */
export const LOG_KINDS = ['downloads', 'index-pages', 'projects', 'json', 'pages'] as const;
export type LogKind = (typeof LOG_KINDS)[number];

/** The size of an entry: five 32-bit unsigned integers, little-endian. */
const LOG_ENTRY_BYTES = 20;

/** A stretch of a log, from byte offset `from` up to `to`, with all of its entries. */
const LOG_STRETCH_FIELDS = {
  /** The number of the log. */
  log: Id,
  /** The first byte. */
  from: Count,
  /** The byte after the last one. */
  to: Count,
  /** The digest of the last bytes before `to`. */
  mark: ShortText,
  hosts: listOf(LogHost, MAX_ENTRIES),
  /** Filenames of wheels, names of packages, addresses of pages. */
  resources: listOf(ShortText, MAX_ENTRIES),
  agents: listOf(LogAgent, MAX_ENTRIES),
  /**
   * Each entry: its kind, its time (seconds since 1970, UTC), and its indexes into `hosts`, `resources` and `agents`. As
   * lists, they would take as long to pack and unpack as all other fields together.
   */
  entries: Type.Bytes({ maxLength: MAX_ENTRIES * LOG_ENTRY_BYTES, multipleOf: LOG_ENTRY_BYTES }),
} as const;
export const LogStretch = Type.Object(LOG_STRETCH_FIELDS);
export type LogStretch = Static<typeof LogStretch>;

/**
 * [log, upto, mark]: the log has been counted up to byte `upto`; `mark` is the digest of the last bytes before that.
 */
export const LogPosition = Type.Tuple([Id, Count, ShortText]);
export type LogPosition = Static<typeof LogPosition>;

/** Requests about logs, from piw logger to Lumberjack and from Lumberjack to the Oracle. */
export const LOG_VERBS = {
  /**
   * Returns the logs with this `head`, the digest of what a log begins with, the one that was counted farthest first.
   * With `fresh`, a log of which nothing has been counted is among them, unless somebody has just begun to count it.
   */
  LOGS: {
    fields: { head: ShortText, fresh: Type.Boolean() },
    answers: { POSITIONS: { positions: listOf(LogPosition, 1000) } },
  },
  /**
   * Counts a stretch of a log if the log has been counted exactly up to where the stretch begins, and changes nothing
   * otherwise. Either way the answer says how far the log has been counted, so that repeating the request is harmless.
   * `unknown`: downloads of files that the farm does not have, which are ignored.
   */
  LOGENTRIES: {
    fields: LOG_STRETCH_FIELDS,
    answers: {
      COUNTED: {
        /** How many bytes of the log have been counted. */
        upto: Count,
        /** The digest of the last bytes before that. */
        mark: ShortText,
        /** Whether this stretch was counted. */
        counted: Type.Boolean(),
        unknown: Count,
      },
    },
  },
} as const;
