import { Type, type Static } from './schema.js';
import {
  CoreMetadata,
  Count,
  Dependencies,
  FailureClassName,
  FileName,
  Flag,
  Id,
  Package,
  Provenance,
  Seconds,
  Sentence,
  Sha256,
  ShortText,
  Tag,
  Text,
  Time,
  Version,
  listOf,
  orNull,
} from './fields.js';
import { Reason } from './release.js';
import { TARGET_STATES } from './target.js';

/** A file as the simple index lists it. */
export const IndexedFile = Type.Object({
  filename: FileName,
  version: Version,
  filesize: Count,
  sha256: Sha256,
  metadata_sha256: Sha256,
  requires_python: orNull(ShortText),
  yanked: Reason,
  /** When it was published. */
  uploaded: Time,
});
export type IndexedFile = Static<typeof IndexedFile>;

/** [package, version, abi, platform] of a file; abi and platform are null if its build's target is no longer known. */
export const FileOrigin = Type.Tuple([Package, Version, orNull(Tag), orNull(Tag)]);
export type FileOrigin = Static<typeof FileOrigin>;

/** [package, description, files, downloads in 30 days]. */
export const SearchRow = Type.Tuple([Package, orNull(Text), Count, Count]);
export type SearchRow = Static<typeof SearchRow>;

export const PROJECT_STATUSES = ['active', 'archived', 'quarantined', 'deprecated'] as const;

/** The status of a project, as PEP 792 has it. */
export const ProjectStatus = Type.Union(PROJECT_STATUSES.map((status) => Type.Literal(status)));

/** A version on a target. */
export const VersionOnTarget = Type.Object({
  abi: Tag,
  platform: Tag,
  /** What there is to say: see TARGET_STATES. */
  state: Type.Union(TARGET_STATES.map((state) => Type.Literal(state))),
  /** The newest build; null: there was none. */
  build_id: orNull(Id),
  failure_class: orNull(FailureClassName),
  /** Why the newest build failed. */
  reason: orNull(Sentence),
  /** What is unusual about a successful build. */
  remark: orNull(Sentence),
  /** When the build is retried after a transient failure; null: it is not held back. */
  held_until: orNull(Time),
  /** The file that serves this target. */
  filename: orNull(FileName),
});
export type VersionOnTarget = Static<typeof VersionOnTarget>;

/** A version, as its project's page shows it. */
export const ProjectVersion = Type.Object({
  version: Version,
  /** When it was released; null: unknown. */
  released: orNull(Time),
  skip: Reason,
  yanked: Reason,
  has_sdist: Flag,
  requires_python: orNull(ShortText),
  /** Where it stands on each target. */
  targets: listOf(VersionOnTarget, 1000),
});
export type ProjectVersion = Static<typeof ProjectVersion>;

/** A file, as its project's page shows it. */
export const ProjectFile = Type.Intersect([
  IndexedFile,
  Type.Object({
    /** The build that produced the file; null: it was deleted. */
    build_id: orNull(Id),
    /** When that build ended; this and the next two are null for an import. */
    built: orNull(Time),
    /** How many seconds it took. */
    duration_s: orNull(Seconds),
    /** The label of its slave. */
    slave: orNull(ShortText),
    provenance: orNull(Provenance),
    /** What is unusual about the build. */
    remark: orNull(Sentence),
    core_metadata: orNull(CoreMetadata),
    /** [abi, platform] of the registered targets that the file serves. */
    serves: listOf(Type.Tuple([Tag, Tag]), 1000),
    dependencies: Dependencies,
    /** How often it was downloaded. */
    downloads: Count,
  }),
]);
export type ProjectFile = Static<typeof ProjectFile>;

/** Everything that a project's page shows; newest version first. */
export const Project = Type.Object({
  package: Package,
  description: orNull(Text),
  status: ProjectStatus,
  skip: Reason,
  /** All downloads, including those of files that have been removed. */
  downloads: Count,
  /** Downloads in the last 30 days. */
  downloads_last_month: Count,
  versions: listOf(ProjectVersion, 100_000),
  files: listOf(ProjectFile, 100_000),
});
export type Project = Static<typeof Project>;
