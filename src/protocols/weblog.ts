import { Type, type Static } from './schema.js';
import { Count, Id, ShortText, listOf, orNull } from './fields.js';

/** Entries of one message, at most. */
const MAX_ENTRIES = 100_000;

/** What a client says of itself; see src/weblog/agents.ts. */
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

/** [address or name, country]: who asked, as far as it is kept, and where that is. */
export const LogHost = Type.Tuple([
  orNull(ShortText),
  orNull(Type.String({ minLength: 2, maxLength: 2, pattern: '^[A-Z]{2}$' })),
]);
export type LogHost = Static<typeof LogHost>;

/** What entries are of, in the order of their numbers. */
export const LOG_KINDS = ['downloads', 'searches', 'projects', 'json', 'pages'] as const;
export type LogKind = (typeof LOG_KINDS)[number];

/** Five numbers, of four bytes each with the lowest first. */
export const LOG_ENTRY_BYTES = 20;

/** A stretch of a log, `from` so many bytes `to` so many, and all that it told. */
export const LOG_STRETCH_FIELDS = {
  log: Id,
  from: Count,
  to: Count,
  /** The digest of the last bytes before `to`. */
  mark: ShortText,
  hosts: listOf(LogHost, MAX_ENTRIES),
  /** Filenames of wheels, names of packages, addresses of pages. */
  whats: listOf(ShortText, MAX_ENTRIES),
  agents: listOf(LogAgent, MAX_ENTRIES),
  /**
   * In their order: its kind, when (whole seconds since 1970, UTC), and places in `hosts`, `whats` and `agents`. As
   * lists they would take as long to pack and to read as all the rest does.
   */
  entries: Type.Bytes({ maxLength: MAX_ENTRIES * LOG_ENTRY_BYTES, multipleOf: LOG_ENTRY_BYTES }),
} as const;
export const LogStretch = Type.Object(LOG_STRETCH_FIELDS);
export type LogStretch = Static<typeof LogStretch>;

/** [log, upto, mark]: that log has been counted up to so many bytes, the last of which have this digest. */
export const LogPosition = Type.Tuple([Id, Count, ShortText]);
export type LogPosition = Static<typeof LogPosition>;

/** What is asked and said of logs, by piw logger to Lumberjack and by Lumberjack to the Oracle. */
export const LOG_VERBS = {
  /**
   * The logs that begin so, those that were counted farthest first. If a `fresh` one is wanted, one of which nothing
   * has been counted is among them, unless that has changed meanwhile.
   */
  LOGS: {
    fields: { head: ShortText, fresh: Type.Boolean() },
    answers: { POSITIONS: { positions: listOf(LogPosition, 1000) } },
  },
  /**
   * Counts a stretch of a log, whole, if the log has been counted up to where it begins; else nothing is changed.
   * Either way the answer says how far the log has been counted now; so it is harmless to repeat. `unknown`:
   * downloads of files that aren't here, which are passed over.
   */
  LOGENTRIES: {
    fields: LOG_STRETCH_FIELDS,
    answers: { COUNTED: { upto: Count, mark: ShortText, counted: Type.Boolean(), unknown: Count } },
  },
} as const;
