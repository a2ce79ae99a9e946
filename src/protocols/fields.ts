import { Type, type Static, type Schema } from './schema.js';

/** Fields that many messages have, with the limits that hold for them everywhere. */

/** `?` in the protocols' tables: the field is always there, and may be null. */
export const orNull = <S extends Schema>(schema: S) => Type.Union([schema, Type.Null()]);
/** A list of no more than `limit` items. */
export const listOf = <S extends Schema>(schema: S, limit = 1_000_000) =>
  Type.Array(schema, { maxItems: limit });

/** PostgreSQL's text has no NUL. */
export const Text = Type.String({ maxLength: 65_536, pattern: '^[^\\u0000]*$' });
export const ShortText = Type.String({ maxLength: 1024, pattern: '^[^\\u0000]*$' });
/** What people are shown as it stands: it can't begin a line of its own, or move a cursor. */
export const Line = Type.String({ maxLength: 200, pattern: '^[^\\u0000-\\u001f\\u007f-\\u009f]*$' });
/** A sentence for people. Like Line, and longer. */
export const Sentence = Type.String({ maxLength: 1024, pattern: '^[^\\u0000-\\u001f\\u007f-\\u009f]*$' });
/** A project's name, normalised as PEP 503 says. */
export const Package = Type.String({ minLength: 1, maxLength: 200, pattern: '^[a-z0-9]+(-[a-z0-9]+)*$' });
/** A version as its project spells it; it never holds a path. */
export const Version = Type.String({
  minLength: 1,
  maxLength: 200,
  pattern: '^[^/\\\\\\s\\u0000-\\u001f]+$',
});
/** A tag of a wheel, or several joined with dots. */
export const Tag = Type.String({ minLength: 1, maxLength: 200, pattern: '^[A-Za-z0-9_.]+$' });
export const FileName = Type.String({ minLength: 1, maxLength: 255, pattern: '^[^/\\\\\\u0000-\\u001f]+$' });
export const Sha256 = Type.String({ pattern: '^[0-9a-f]{64}$' });
/** Whole and not negative. */
export const Count = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
export const Id = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER });
export const Seconds = Type.Number({ minimum: 0, maximum: 1e9 });
/** Milliseconds since 1970, UTC. */
export const Time = Type.Number({ minimum: 0, maximum: 8.64e15 });
export const Flag = Type.Boolean();
/** A name in a subject: a user, a session, a transfer. */
export const SubjectToken = Type.String({ minLength: 1, maxLength: 64, pattern: '^[A-Za-z0-9_-]+$' });
export const FailureClassName = Type.String({ minLength: 1, maxLength: 40, pattern: '^[a-z-]+$' });
/** A build's log; whole up to a limit, see the slave. */
export const BuildOutput = Type.String({ maxLength: 64 * 1024 * 1024 });
/** What a wheel needs of the system, by its package manager: {apt: ["libffi8"]}; under '' what no package has. */
export const Dependencies = Type.Record(
  Type.String({ pattern: '^(?:[a-z]{2,10})?$' }),
  listOf(Type.String({ maxLength: 200, pattern: '^[A-Za-z0-9][A-Za-z0-9.+:_-]*$' }), 1000),
);

/** A URL that a page may link to. */
const WebUrl = Type.String({ maxLength: 1024, pattern: '^https?://[^\\s\\u0000-\\u001f<>"]+$' });

/** What a wheel's METADATA says of its project, read by the File Juggler from the wheel itself. */
export const CoreMetadata = Type.Object({
  summary: orNull(ShortText),
  /** License-Expression, else the License field, else what the classifiers say. */
  license: orNull(ShortText),
  /** Project-URL and Home-page: [label, URL]. */
  links: listOf(Type.Tuple([Line, WebUrl]), 50),
  /** Requires-Dist, each as it stands. */
  requires: listOf(ShortText, 500),
});
export type CoreMetadata = Static<typeof CoreMetadata>;

/** What a build was made from and with. */
export const Provenance = Type.Object({
  /** The source distribution: its filename and SHA-256. */
  sdist: orNull(Type.Tuple([FileName, Sha256])),
  /** `CPython 3.11.7` */
  python: Line,
  /** The version of pip. */
  pip: Line,
  /** What was installed to build it: [name, version]. */
  requirements: listOf(Type.Tuple([Line, Line]), 500),
  /** SOURCE_DATE_EPOCH of the build, seconds since 1970; null if it had none. */
  source_date_epoch: orNull(Count),
});
export type Provenance = Static<typeof Provenance>;

/** What people are told of one build beside its class and its log. */
export const BuildDetails = Type.Object({
  /** Why it failed, in a sentence that names what was missing or wrong; null for a success. */
  reason: orNull(Sentence),
  /** What a success lacks, e.g. an extension that did not compile. */
  remark: orNull(Sentence),
  provenance: orNull(Provenance),
});
export type BuildDetails = Static<typeof BuildDetails>;

/** A file state on the wire, in the order of the protocols' table. */
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
export const FileTuples = listOf(FileTuple, 100);

/** [disk_total, disk_free, mem_total, mem_free] in bytes, load over a minute, temperature in °C. */
export const MachineStats = Type.Tuple([
  Count,
  Count,
  Count,
  Count,
  Type.Number({ minimum: 0 }),
  orNull(Type.Number()),
]);
export type MachineStats = Static<typeof MachineStats>;

/** A lease of a build: its number, and how often this build was given out, this time included. */
export const LeaseId = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER });
/** Nothing to say but that it is done. */
export const DONE = { DONE: {} } as const;
