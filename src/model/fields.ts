import { Type, type Static, type Schema } from './schema.js';

/** Fields that many messages share, with limits that apply everywhere. */

/** A field that is always present and may be null; `?` in the protocols' tables. */
export const orNull = <S extends Schema>(schema: S) => Type.Union([schema, Type.Null()]);
/** A list of at most `limit` items. */
export const listOf = <S extends Schema>(schema: S, limit = 1_000_000) =>
  Type.Array(schema, { maxItems: limit });

/** Text without NUL, which PostgreSQL's text can't store. */
export const Text = Type.String({ maxLength: 65_536, pattern: '^[^\\u0000]*$' });
/** Text of a line or two. */
export const ShortText = Type.String({ maxLength: 1024, pattern: '^[^\\u0000]*$' });
/** Text that is safe to display unescaped: without control characters, it can't break the line or move the cursor. */
export const Line = Type.String({ maxLength: 200, pattern: '^[^\\u0000-\\u001f\\u007f-\\u009f]*$' });
/** A sentence for people: like Line, but longer. */
export const Sentence = Type.String({ maxLength: 1024, pattern: '^[^\\u0000-\\u001f\\u007f-\\u009f]*$' });
/** A project's name, normalised according to PEP 503. */
export const Package = Type.String({ minLength: 1, maxLength: 200, pattern: '^[a-z0-9]+(-[a-z0-9]+)*$' });
/** A version as its project spells it, without slashes and backslashes, so that it is never a path. */
export const Version = Type.String({
  minLength: 1,
  maxLength: 200,
  pattern: '^[^/\\\\\\s\\u0000-\\u001f]+$',
});
/** A tag of a wheel, or several, joined with dots. */
export const Tag = Type.String({ minLength: 1, maxLength: 200, pattern: '^[A-Za-z0-9_.]+$' });
/** The name of a file, without a folder. */
export const FileName = Type.String({ minLength: 1, maxLength: 255, pattern: '^[^/\\\\\\u0000-\\u001f]+$' });
/** A SHA-256, in hexadecimal digits. */
export const Sha256 = Type.String({ pattern: '^[0-9a-f]{64}$' });
/** A non-negative integer. */
export const Count = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
/** A number that the database gives to a row: of a build, a slave's session, a log. */
export const Id = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER });
/** A duration. */
export const Seconds = Type.Number({ minimum: 0, maximum: 1e9 });
/** Milliseconds since 1970, UTC. */
export const Time = Type.Number({ minimum: 0, maximum: 8.64e15 });
/** Whether something is so. */
export const Flag = Type.Boolean();
/** A name that can be a token of a NATS subject: a user, a session, a transfer. */
export const SubjectToken = Type.String({ minLength: 1, maxLength: 64, pattern: '^[A-Za-z0-9_-]+$' });
/** The class of a failure, e.g. `build-requirement`: see src/failures/classes.ts. */
export const FailureClassName = Type.String({ minLength: 1, maxLength: 40, pattern: '^[a-z-]+$' });
/** A build's log, which the slave truncates to a limit. */
export const BuildOutput = Type.String({ maxLength: 64 * 1024 * 1024 });
/**
 * The system libraries that a wheel needs, by package manager: {apt: ["libffi8"]}; under '' those that no package
 * contains.
 */
export const Dependencies = Type.Record(
  Type.String({ pattern: '^(?:[a-z]{2,10})?$' }),
  listOf(Type.String({ maxLength: 200, pattern: '^[A-Za-z0-9][A-Za-z0-9.+:_-]*$' }), 1000),
);

/** A URL that a page may link to. */
const WebUrl = Type.String({ maxLength: 1024, pattern: '^https?://[^\\s\\u0000-\\u001f<>"]+$' });

/** What a wheel's METADATA says about its project; the File Juggler reads it from the wheel. */
export const CoreMetadata = Type.Object({
  /** The Summary field. */
  summary: orNull(ShortText),
  /** License-Expression, else the License field, else the license classifiers. */
  license: orNull(ShortText),
  /** Project-URL and Home-page: [label, URL]. */
  links: listOf(Type.Tuple([Line, WebUrl]), 50),
  /** The Requires-Dist fields, verbatim. */
  requires: listOf(ShortText, 500),
});
export type CoreMetadata = Static<typeof CoreMetadata>;

/** What a wheel was built from and with. */
export const Provenance = Type.Object({
  /** The source distribution: its filename and SHA-256. */
  sdist: orNull(Type.Tuple([FileName, Sha256])),
  /** `CPython 3.11.7` */
  python: Line,
  /** The version of pip. */
  pip: Line,
  /** The installed build requirements: [name, version]. */
  requirements: listOf(Type.Tuple([Line, Line]), 500),
  /** SOURCE_DATE_EPOCH of the build, seconds since 1970; null if it was not set. */
  source_date_epoch: orNull(Count),
});
export type Provenance = Static<typeof Provenance>;

/** Details of a build for people, in addition to its failure class and its log. */
export const BuildDetails = Type.Object({
  /** Why the build failed, in a sentence that names what was missing or wrong; null for a success. */
  reason: orNull(Sentence),
  /** What a successful build lacks, e.g. an extension that did not compile. */
  remark: orNull(Sentence),
  provenance: orNull(Provenance),
});
export type BuildDetails = Static<typeof BuildDetails>;

/** A wheel: the facts from its name and contents, and whether it has arrived. */
export const FileTuple = Type.Tuple([
  FileName, // filename
  Count, // filesize, bytes
  Sha256, // filehash
  Tag, // package_tag
  Type.String({ minLength: 1, maxLength: 200, pattern: '^[A-Za-z0-9_.+!]+$' }), // package_version_tag
  Tag, // py_version_tag
  Tag, // abi_tag
  Type.String({ minLength: 1, maxLength: 400, pattern: '^[A-Za-z0-9_.]+$' }), // platform_tag
  orNull(ShortText), // requires_python
  Dependencies, // dependencies
  Flag, // transferred
]);
export type FileTuple = Static<typeof FileTuple>;
/** The files of one build. */
export const FileTuples = listOf(FileTuple, 100);

/** [disk_total, disk_free, mem_total, mem_free, load, temperature]: bytes, the one-minute load average, °C or null. */
export const MachineStats = Type.Tuple([
  Count,
  Count,
  Count,
  Count,
  Type.Number({ minimum: 0 }),
  orNull(Type.Number()),
]);
export type MachineStats = Static<typeof MachineStats>;

/** The number of a build's lease. */
export const LeaseId = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER });
/** The answer without fields: the request has been carried out. */
export const DONE = { DONE: {} } as const;
