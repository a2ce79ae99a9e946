import { Type, type Static } from './schema.js';
import {
  BuildDetails,
  CoreMetadata,
  Count,
  DONE,
  Dependencies,
  FailureClassName,
  FileName,
  FileTuple,
  Flag,
  Id,
  LeaseId,
  BuildOutput,
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
import { PublishedFiles } from './file-juggler.js';
import { Protocol, type Answer } from './protocol.js';
import { RequeueReason, RETRY } from './retry.js';
import { HomePageData } from './site.js';
import { HEALTH_VERBS, SetAside } from './slave-health.js';
import { Statistics } from './statistics.js';
import { LOG_VERBS } from './weblog.js';

/** How a package or version was added. Only what the feed added can be removed by the feed. */
export const ORIGINS = ['feed', 'add', 'import'] as const;
export type Origin = (typeof ORIGINS)[number];
const Origin = Type.Union(ORIGINS.map((origin) => Type.Literal(origin)));

/** The priority of a build in the queue: the backlog, a new release, an administrator's request. */
export const PRIORITY = { backlog: 0, release: 1, request: 2 } as const;
const Priority = Type.Integer({ minimum: 0, maximum: 2 });

const VERSION_KEY_FIELDS = { package: Package, version: Version };
const Reason = orNull(ShortText);

/** A release, as an index lists it. */
export const Release = Type.Object({
  version: Version,
  /** When its first file was uploaded; null if the index doesn't say. */
  released: orNull(Time),
  /** The reason, which may be empty, if the whole release is yanked; null if it is not. */
  yanked: Reason,
  has_sdist: Flag,
  sdist_url: orNull(Type.String({ maxLength: 4096 })),
  sdist_sha256: orNull(Sha256),
  requires_python: orNull(ShortText),
  priority: Priority,
});
export type Release = Static<typeof Release>;

/** The result of a build under a lease or (lease null) of an import. */
export const LoggedBuild = Type.Object({
  lease: orNull(LeaseId),
  slave_id: orNull(Id),
  package: Package,
  version: Version,
  abi: Tag,
  platform: Tag,
  status: Flag,
  failure_class: orNull(FailureClassName),
  duration_s: Seconds,
  output: BuildOutput,
  details: BuildDetails,
  /** The published wheels: [file, SHA-256 of its METADATA, contents of its METADATA (null if it was not read)]. */
  files: listOf(Type.Tuple([FileTuple, Sha256, orNull(CoreMetadata)]), 100),
  /** Wheels that another build has already published under the same name; they serve this build's target, too. */
  served: listOf(FileName, 100),
});
export type LoggedBuild = Static<typeof LoggedBuild>;

/**
 * What became of a result. `logged`: it was written. `repeated`: this lease's result was written before, and nothing
 * changed. `lost`: the slave no longer holds the lease, and the result is dropped.
 */
export const LOG_OUTCOMES = ['logged', 'repeated', 'lost'] as const;
/** [outcome, build_id, again_s]; again_s is the number of seconds until the retry of a transient failure. */
const LogOutcomeTuple = Type.Tuple([
  Type.Union(LOG_OUTCOMES.map((outcome) => Type.Literal(outcome))),
  orNull(Id),
  orNull(Seconds),
]);

/** A file as the simple index lists it. */
export const IndexedFile = Type.Object({
  filename: FileName,
  version: Version,
  filesize: Count,
  sha256: Sha256,
  metadata_sha256: Sha256,
  requires_python: orNull(ShortText),
  yanked: Reason,
  uploaded: Time,
});
export type IndexedFile = Static<typeof IndexedFile>;

/** [package, version, abi, platform] of a file; abi and platform are null if its build's target is no longer known. */
const FileOrigin = Type.Tuple([Package, Version, orNull(Tag), orNull(Tag)]);
export type FileOrigin = Static<typeof FileOrigin>;

/** The priorities of due pages: those that people install from, those of projects, and the rest. */
export const PAGE_PRIORITIES = ['front', 'projects', 'rest'] as const;
export type PagePriority = (typeof PAGE_PRIORITIES)[number];
/** [package, description, files, downloads in 30 days]. */
const SearchRow = Type.Tuple([Package, orNull(Text), Count, Count]);
export type SearchRow = Static<typeof SearchRow>;

export const PROJECT_STATUSES = ['active', 'archived', 'quarantined', 'deprecated'] as const;
const ProjectStatus = Type.Union(PROJECT_STATUSES.map((status) => Type.Literal(status)));

/** The states of a version on a target. */
export const TARGET_STATES = ['built', 'failed', 'building', 'waiting', 'none'] as const;
export const VersionOnTarget = Type.Object({
  abi: Tag,
  platform: Tag,
  state: Type.Union(TARGET_STATES.map((state) => Type.Literal(state))),
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

export const ProjectVersion = Type.Object({
  version: Version,
  released: orNull(Time),
  skip: Reason,
  yanked: Reason,
  has_sdist: Flag,
  requires_python: orNull(ShortText),
  targets: listOf(VersionOnTarget, 1000),
});
export type ProjectVersion = Static<typeof ProjectVersion>;

export const ProjectFile = Type.Intersect([
  IndexedFile,
  Type.Object({
    build_id: orNull(Id),
    /** The build that produced the file: when it ended, how long it took and on which slave; null for an import. */
    built: orNull(Time),
    duration_s: orNull(Seconds),
    slave: orNull(ShortText),
    provenance: orNull(Provenance),
    remark: orNull(Sentence),
    core_metadata: orNull(CoreMetadata),
    /** [abi, platform] of the registered targets that the file serves. */
    serves: listOf(Type.Tuple([Tag, Tag]), 1000),
    dependencies: Dependencies,
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

export const Target = Type.Object({
  abi: Tag,
  platform: Tag,
  py_version_tag: Tag,
  skip: Reason,
});
export type Target = Static<typeof Target>;

/**
 * The phases of a target. `active`: its builds are queued; `filling`, `emptying`: builds are being added to the queue,
 * or removed from it, in the background; `skipped`: nothing is built for it; `leaving`: it is being removed.
 */
export const TARGET_PHASES = ['active', 'filling', 'emptying', 'skipped', 'leaving'] as const;
export const RegisteredTarget = Type.Object({
  abi: Tag,
  platform: Tag,
  py_version_tag: Tag,
  skip: Reason,
  phase: Type.Union(TARGET_PHASES.map((phase) => Type.Literal(phase))),
  /** The share of all versions that have been processed, from 0 to 1. */
  done: Type.Number({ minimum: 0, maximum: 1 }),
});
export type RegisteredTarget = Static<typeof RegisteredTarget>;

/** [abi, platform, priority, waiting builds, when the oldest of them was released]. */
export const QueueLength = Type.Tuple([Tag, Tag, Priority, Count, orNull(Time)]);
export type QueueLength = Static<typeof QueueLength>;

/**
 * The state of a version on a target: [version, abi, platform, state, position, why]. The position in the queue counts
 * from 1; it is null if the version doesn't wait, or is too far back to be counted. `why` is a text for operators.
 */
export const QueuedVersion = Type.Tuple([
  Version,
  Tag,
  Tag,
  Type.Union(TARGET_STATES.map((state) => Type.Literal(state))),
  orNull(Count),
  Text,
]);
export type QueuedVersion = Static<typeof QueuedVersion>;

/** A page: [kind, argument]. */
export const PageKey = Type.Tuple([Type.String({ maxLength: 20 }), ShortText]);
/** A page that is due: [kind, argument, note]. The note increases each time the page becomes due. */
export const DuePage = Type.Tuple([Type.String({ maxLength: 20 }), ShortText, Count]);

/** When to say BYE to a slave: `now`, or `after` its current build. */
export const KILL_MODES = ['now', 'after'] as const;
export const KillMode = Type.Union(KILL_MODES.map((kill) => Type.Literal(kill)));
export type KillMode = Static<typeof KillMode>;

/** The requests to the Oracle: every query and every change that actors make to the database. All are idempotent. */
export const oracle = new Protocol('db', {
  ALLPKGS: { fields: {}, answers: { PACKAGES: { names: listOf(Package, 10_000_000) } }, reads: true },
  ALLVERS: {
    fields: {},
    answers: { VERSIONS: { versions: listOf(Type.Tuple([Package, Version]), 100_000_000) } },
    reads: true,
  },
  PKGEXISTS: { fields: { package: Package }, answers: { EXISTS: { exists: Flag } }, reads: true },
  VEREXISTS: { fields: VERSION_KEY_FIELDS, answers: { EXISTS: { exists: Flag } }, reads: true },
  PKGFILES: {
    fields: { package: Package },
    answers: {
      FILES: {
        exists: Flag,
        status: ProjectStatus,
        versions: listOf(Version, 100_000),
        files: listOf(IndexedFile, 100_000),
        /** The METADATA of the newest release; null if unknown. */
        metadata: orNull(CoreMetadata),
        /** The serial with which the root lists the package; null: it doesn't list it. */
        listed: orNull(Count),
      },
    },
    reads: true,
  },
  /** Packages with files to offer, by name, after `after`. */
  INDEX: {
    fields: { after: Text, limit: Count },
    answers: { PACKAGES: { names: listOf(Package, 100_000) } },
    reads: true,
  },
  /** The packages that the root of the simple index lists, by name, after `after`: [package, serial of its page]. */
  LISTED: {
    fields: { after: Text, limit: Count },
    answers: { LISTED: { projects: listOf(Type.Tuple([Package, Count]), 100_000) } },
    reads: true,
  },
  VERFILES: {
    fields: VERSION_KEY_FIELDS,
    answers: { FILES: { filenames: listOf(FileName, 10_000) } },
    reads: true,
  },
  /** The origin of a listed file; null: no such file is listed. */
  FILEORIGIN: {
    fields: { filename: FileName },
    answers: { ORIGIN: { origin: orNull(FileOrigin) } },
    reads: true,
  },
  /** All files ever published of the project and version in this wheel's name, including those removed since. */
  PUBLISHED: {
    fields: { filename: FileName },
    answers: { PUBLISHED: { files: PublishedFiles } },
    reads: true,
  },
  PROJECT: { fields: { package: Package }, answers: { PROJECT: { project: orNull(Project) } }, reads: true },
  /**
   * Rows for the search and the sitemap, by name, after `after`: [package, description, files, downloads in 30 days].
   */
  SEARCHINDEX: {
    fields: { after: Text, limit: Count },
    answers: { INDEX: { packages: listOf(SearchRow, 100_000) } },
    reads: true,
  },
  /** What the home page shows in addition to the statistics. */
  GETHOME: { fields: {}, answers: { HOME: { front: HomePageData } }, reads: true },
  GETBUILD: {
    fields: { build_id: Id },
    answers: {
      BUILD: {
        package: Package,
        version: Version,
        abi: Tag,
        platform: Tag,
        status: Flag,
        failure_class: orNull(FailureClassName),
        built: Time,
        duration_s: Seconds,
        output: BuildOutput,
        details: BuildDetails,
        /** The label of the slave; null for an import. */
        slave: orNull(ShortText),
        /** Why this failure no longer counts as an attempt; null: it counts. */
        put_back: orNull(RequeueReason),
      },
    },
    reads: true,
  },
  GETABIS: { fields: {}, answers: { ABIS: { targets: listOf(RegisteredTarget, 1000) } }, reads: true },
  ADDABI: {
    fields: { abi: Tag, platform: Tag, py_version_tag: Tag, skip: Reason },
    answers: { DONE: {} },
  },
  DELABI: { fields: { abi: Tag, platform: Tag }, answers: DONE },
  GETSKIP: {
    fields: { package: Package, version: orNull(Version) },
    answers: { SKIP: { skip: Reason } },
    reads: true,
  },
  GETPYPI: { fields: {}, answers: { PYPI: { serial: Count } }, reads: true },
  /** `fence` is the revision of the sender's lease; a serial from a previous holder is refused. */
  SETPYPI: { fields: { serial: Count, fence: Count }, answers: DONE },
  /**
   * Sums up the recent changes to the statistics and their history; `more`: some are left. `fence` as in SETPYPI.
   * Changes that are not summed up yet count as well, but are more expensive to read.
   */
  SUMUP: { fields: { fence: Count }, answers: { SUMMED: { more: Flag } } },
  GETSTATS: { fields: {}, answers: { STATS: { statistics: Statistics } }, reads: true },

  /**
   * The queue: its length and the builds that ended in an hour, as of `age_s` seconds ago, some of them estimates if
   * `estimated`; and the current figures of builds in progress and of those that ended in the last minute.
   */
  QUEUE: {
    fields: {},
    answers: {
      QUEUE: {
        lengths: listOf(QueueLength, 10_000),
        last_hour: Count,
        estimated: Flag,
        age_s: Seconds,
        building: Count,
        /** Builds that are held back after transient failures. */
        held: Count,
        last_minute: Count,
      },
    },
    reads: true,
  },
  QUEUEPKG: {
    fields: { package: Package },
    answers: { STANDS: { exists: Flag, versions: listOf(QueuedVersion, 1_000_000) } },
    reads: true,
  },
  /** Versions with files that left the index more than `grace_s` seconds ago: [package, version]. */
  GONE: {
    fields: { grace_s: Seconds, limit: Count },
    answers: { GONE: { versions: listOf(Type.Tuple([Package, Version]), 10_000) } },
    reads: true,
  },

  NEWPKG: {
    fields: { package: Package, description: orNull(Text), origin: Origin, aliases: listOf(ShortText, 1000) },
    answers: { NEW: { created: Flag } },
  },
  /** Adds releases of one package, creating the package if it is missing, and updates known ones. */
  NEWVER: {
    fields: { package: Package, origin: Origin, releases: listOf(Release, 100_000) },
    answers: { NEW: { created: Count } },
  },
  /** Skips a package for a reason; null: builds it again. */
  SKIPPKG: { fields: { package: Package, skip: Reason }, answers: DONE },
  SKIPVER: { fields: { ...VERSION_KEY_FIELDS, skip: Reason }, answers: DONE },
  YANKVER: { fields: { ...VERSION_KEY_FIELDS, yanked: ShortText }, answers: DONE },
  UNYANKVER: { fields: VERSION_KEY_FIELDS, answers: DONE },
  QUARANTINE: { fields: { package: Package, version: orNull(Version), quarantined: Flag }, answers: DONE },
  /** Deletes the builds, files and downloads of a version; answered with the names of the deleted files. */
  DELBUILD: { fields: VERSION_KEY_FIELDS, answers: { FILES: { filenames: listOf(FileName, 10_000) } } },
  DELVER: { fields: VERSION_KEY_FIELDS, answers: { FILES: { filenames: listOf(FileName, 10_000) } } },
  DELPKG: { fields: { package: Package }, answers: { FILES: { filenames: listOf(FileName, 1_000_000) } } },

  /** Registers a slave's session and returns its id, which is the same for the same session. */
  HELLOSLAVE: {
    fields: {
      user: ShortText,
      session: ShortText,
      label: ShortText,
      abi: Tag,
      platform: Tag,
      py_version_tag: Tag,
      os_name: ShortText,
      os_version: ShortText,
      board: orNull(ShortText),
      /** Register the slave's target if it is unknown. */
      register: Flag,
    },
    answers: {
      SLAVE: {
        slave_id: Id,
        known_target: Flag,
        asleep: Flag,
        kill: orNull(KillMode),
        /** The slave, or an earlier session of it, is set aside; null: it is not. */
        set_aside: orNull(SetAside),
      },
    },
  },
  /** Records an administrator's orders for these slaves; null leaves an order as it is. */
  SETSLAVES: {
    fields: { slave_ids: listOf(Id, 100_000), asleep: orNull(Flag), kill: orNull(KillMode) },
    answers: DONE,
  },
  /**
   * The build that was granted under this lease, against which the Slave Driver checks a slave's result, also after a
   * restart; null if the lease has ended or another slave holds it.
   */
  GETLEASE: {
    fields: { lease: LeaseId, slave_id: Id },
    answers: {
      LEASE: { package: orNull(Package), version: orNull(Version), abi: orNull(Tag), platform: orNull(Tag) },
    },
    reads: true,
  },
  LOGBUILD: {
    fields: { builds: listOf(LoggedBuild, 1000) },
    answers: { LOGGED: { outcomes: listOf(LogOutcomeTuple, 1000) } },
  },
  RETRY,
  ...HEALTH_VERBS,
  ...LOG_VERBS,
  /** Deletes single downloads and page hits of all months but the last `months`; their sums stay. */
  DROPLOGS: { fields: { months: Count }, answers: DONE },
  /**
   * Allocates `count` serials for pages, from `first`, that were never used; `fence` is that of the Secretary's lease.
   */
  NEWSERIALS: { fields: { fence: Count }, answers: { SERIALS: { first: Count, count: Count } } },
  /**
   * Updates the Secretary's backlog: pages that are due, answered with their notes; pages that have been written; and
   * changes to the root index: [package, serial of its page (null: not listed)]. A sender that is not the Secretary
   * sends a null `fence`, and may only report due pages.
   */
  SAVEPAGES: {
    fields: {
      fence: orNull(Count),
      pages: listOf(PageKey),
      written: listOf(DuePage),
      listed: listOf(Type.Tuple([Package, orNull(Count)])),
    },
    answers: { NOTED: { notes: listOf(Count) } },
  },
  /** The due pages of one priority, by note, after note `after`. */
  LOADPAGES: {
    fields: { lane: Type.Union(PAGE_PRIORITIES.map((priority) => Type.Literal(priority))), after: Count },
    answers: { PAGES: { pages: listOf(DuePage) } },
    reads: true,
  },
  /** The tasks that are paused; `*` stands for all. */
  GETPAUSED: { fields: {}, answers: { PAUSED: { tasks: listOf(ShortText, 100) } }, reads: true },
  SETPAUSED: { fields: { task: ShortText, paused: Flag }, answers: DONE },
});

export type OracleVerbs = typeof oracle.verbs;
export type PackageFiles = Answer<OracleVerbs, 'PKGFILES'>;
export type BuildRecord = Answer<OracleVerbs, 'GETBUILD'>;
