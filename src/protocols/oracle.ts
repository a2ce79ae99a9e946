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

/** Where a package or version is known from. What a feed brought, a feed can take away. */
export const ORIGINS = ['feed', 'add', 'import'] as const;
export type Origin = (typeof ORIGINS)[number];
const Origin = Type.Union(ORIGINS.map((origin) => Type.Literal(origin)));

/** A build's place in the queue: the backlog, a release of today, an administrator's request. */
export const PRIORITY = { backlog: 0, release: 1, request: 2 } as const;
const Priority = Type.Integer({ minimum: 0, maximum: 2 });

const VERSION_KEY_FIELDS = { package: Package, version: Version };
const Reason = orNull(ShortText);

/** A release as an index has it. */
export const Release = Type.Object({
  version: Version,
  /** When its first file was uploaded; null if the index doesn't say. */
  released: orNull(Time),
  /** The reason (it may be empty) if the whole release is yanked. */
  yanked: Reason,
  has_sdist: Flag,
  sdist_url: orNull(Type.String({ maxLength: 4096 })),
  sdist_sha256: orNull(Sha256),
  requires_python: orNull(ShortText),
  priority: Priority,
});
export type Release = Static<typeof Release>;

/** The result of one build, of a lease or (lease null) of an import. */
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
  /** Its published wheels, each with the digest of its METADATA and what that says; null if it was not read. */
  files: listOf(Type.Tuple([FileTuple, Sha256, orNull(CoreMetadata)]), 100),
  /** Wheels of it that another build has published before under the same name: those serve its target, too. */
  served: listOf(FileName, 100),
});
export type LoggedBuild = Static<typeof LoggedBuild>;

/**
 * `logged` now; `repeated`: this lease's result is known already, nothing changed; `lost`: the lease
 * is another's by now, the result is dropped.
 */
export const LOG_OUTCOMES = ['logged', 'repeated', 'lost'] as const;
/** [outcome, build_id, again_s]: a failure that passes is tried again so many seconds from now. */
const LogOutcomeTuple = Type.Tuple([
  Type.Union(LOG_OUTCOMES.map((o) => Type.Literal(o))),
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

/** The version that a file is of, and the target that it was built for, if that is still known. */
const FileOrigin = Type.Tuple([Package, Version, orNull(Tag), orNull(Tag)]);
export type FileOrigin = Static<typeof FileOrigin>;

/** Pages that are due: what people install from; what they read of a project; and the rest. */
export const PAGE_PRIORITIES = ['front', 'projects', 'rest'] as const;
export type PagePriority = (typeof PAGE_PRIORITIES)[number];
/** [package, description, files, downloads of 30 days]. */
const SearchRow = Type.Tuple([Package, orNull(Text), Count, Count]);
export type SearchRow = Static<typeof SearchRow>;

export const PROJECT_STATUSES = ['active', 'archived', 'quarantined', 'deprecated'] as const;
const ProjectStatus = Type.Union(PROJECT_STATUSES.map((s) => Type.Literal(s)));

/** What has become of a version on a target. */
export const TARGET_STATES = ['built', 'failed', 'building', 'waiting', 'none'] as const;
export const VersionOnTarget = Type.Object({
  abi: Tag,
  platform: Tag,
  state: Type.Union(TARGET_STATES.map((s) => Type.Literal(s))),
  build_id: orNull(Id),
  failure_class: orNull(FailureClassName),
  /** Why its newest build failed, or what is unusual about a success. */
  reason: orNull(Sentence),
  remark: orNull(Sentence),
  /** It is held back until then, after a failure that may pass. */
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
    /** The build that made it: when it ended, how long it took and on which slave; null for an import. */
    built: orNull(Time),
    duration_s: orNull(Seconds),
    slave: orNull(ShortText),
    provenance: orNull(Provenance),
    remark: orNull(Sentence),
    core_metadata: orNull(CoreMetadata),
    /** [abi, platform] of the registered targets that it serves. */
    serves: listOf(Type.Tuple([Tag, Tag]), 1000),
    dependencies: Dependencies,
    downloads: Count,
  }),
]);
export type ProjectFile = Static<typeof ProjectFile>;

/** All that a project's page shows. Versions newest first. */
export const Project = Type.Object({
  package: Package,
  description: orNull(Text),
  status: ProjectStatus,
  skip: Reason,
  /** All, also of files that are gone by now, and those of the last 30 days. */
  downloads: Count,
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
 * How far the queue follows a target: `active` it does; `filling`, `emptying` go on in the background;
 * `skipped` nothing is built for it; `leaving` it will be forgotten.
 */
export const TARGET_PHASES = ['active', 'filling', 'emptying', 'skipped', 'leaving'] as const;
export const RegisteredTarget = Type.Object({
  abi: Tag,
  platform: Tag,
  py_version_tag: Tag,
  skip: Reason,
  phase: Type.Union(TARGET_PHASES.map((phase) => Type.Literal(phase))),
  /** The share of all versions that are through, 0 to 1. */
  done: Type.Number({ minimum: 0, maximum: 1 }),
});
export type RegisteredTarget = Static<typeof RegisteredTarget>;

/** [abi, platform, priority, builds that wait, when the oldest of them was released]. */
export const QueueLength = Type.Tuple([Tag, Tag, Priority, Count, orNull(Time)]);
export type QueueLength = Static<typeof QueueLength>;

/**
 * Where a version stands on a target: [version, abi, platform, state, position, why]. The position is its
 * place in the queue, from 1, where it waits and isn't too far back to be counted; why is for people.
 */
export const QueuedVersion = Type.Tuple([
  Version,
  Tag,
  Tag,
  Type.Union(TARGET_STATES.map((s) => Type.Literal(s))),
  orNull(Count),
  Text,
]);
export type QueuedVersion = Static<typeof QueuedVersion>;

export const PageKey = Type.Tuple([Type.String({ maxLength: 20 }), ShortText]);
/** The same with the note under which it is due: a higher one each time. */
export const DuePage = Type.Tuple([Type.String({ maxLength: 20 }), ShortText, Count]);

/** When a slave is to be told BYE: `now`, or after what it builds. */
export const KILL_MODES = ['now', 'after'] as const;
export const KillMode = Type.Union(KILL_MODES.map((kill) => Type.Literal(kill)));
export type KillMode = Static<typeof KillMode>;

/**
 * The Oracle: every question and every change that the actors put to the database. Repeating any of
 * them changes nothing more.
 */
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
        /** What the METADATA of its newest release says; null where that is unknown. */
        metadata: orNull(CoreMetadata),
        /** The serial under which the root names it; null: it doesn't. */
        listed: orNull(Count),
      },
    },
    reads: true,
  },
  /** Packages that have a file to offer, by name, after that one. */
  INDEX: {
    fields: { after: Text, limit: Count },
    answers: { PACKAGES: { names: listOf(Package, 100_000) } },
    reads: true,
  },
  /** What the root of the simple index names, by name, after that one: [package, serial of its page]. */
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
  /** Where a file that is listed comes from; null: nothing lists it. */
  FILEORIGIN: {
    fields: { filename: FileName },
    answers: { ORIGIN: { origin: orNull(FileOrigin) } },
    reads: true,
  },
  /** What was ever published of the project and version in this wheel's name, also what was removed since. */
  PUBLISHED: {
    fields: { filename: FileName },
    answers: { PUBLISHED: { files: PublishedFiles } },
    reads: true,
  },
  PROJECT: { fields: { package: Package }, answers: { PROJECT: { project: orNull(Project) } }, reads: true },
  /** [package, description, files, downloads of 30 days], by name, after that one: for the search and the sitemap. */
  SEARCHINDEX: {
    fields: { after: Text, limit: Count },
    answers: { INDEX: { packages: listOf(SearchRow, 100_000) } },
    reads: true,
  },
  /** What the home page shows beside the statistics. */
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
        /** Why this failure does not count as an attempt any more; null: it does. */
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
  /** `fence` is the revision of the sender's lease; a serial from an older holder is refused. */
  SETPYPI: { fields: { serial: Count, fence: Count }, answers: DONE },
  /**
   * Sums up what the statistics and their history consist of, or (`more`) a part of it; `fence` as in SETPYPI. Until
   * then, what is new counts all the same, but costs more.
   */
  SUMUP: { fields: { fence: Count }, answers: { SUMMED: { more: Flag } } },
  GETSTATS: { fields: {}, answers: { STATS: { statistics: Statistics } }, reads: true },

  /**
   * The queue: its length and what ended in an hour, `age_s` seconds ago (`estimated`: about so much); and
   * what is being built and has ended in a minute, now.
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
        /** Held back after failures that pass. */
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
  /** Versions that the index has had no more for so long: [package, version]. */
  GONE: {
    fields: { grace_s: Seconds, limit: Count },
    answers: { GONE: { versions: listOf(Type.Tuple([Package, Version]), 10_000) } },
    reads: true,
  },

  NEWPKG: {
    fields: { package: Package, description: orNull(Text), origin: Origin, aliases: listOf(ShortText, 1000) },
    answers: { NEW: { created: Flag } },
  },
  /** Releases of one package, which is made if it is missing; what is known already is brought up to date. */
  NEWVER: {
    fields: { package: Package, origin: Origin, releases: listOf(Release, 100_000) },
    answers: { NEW: { created: Count } },
  },
  /** Skip with a reason; null: build it again. */
  SKIPPKG: { fields: { package: Package, skip: Reason }, answers: DONE },
  SKIPVER: { fields: { ...VERSION_KEY_FIELDS, skip: Reason }, answers: DONE },
  YANKVER: { fields: { ...VERSION_KEY_FIELDS, yanked: ShortText }, answers: DONE },
  UNYANKVER: { fields: VERSION_KEY_FIELDS, answers: DONE },
  QUARANTINE: { fields: { package: Package, version: orNull(Version), quarantined: Flag }, answers: DONE },
  /** Forgets builds and files (and downloads) of a version; answered with the names that are free now. */
  DELBUILD: { fields: VERSION_KEY_FIELDS, answers: { FILES: { filenames: listOf(FileName, 10_000) } } },
  DELVER: { fields: VERSION_KEY_FIELDS, answers: { FILES: { filenames: listOf(FileName, 10_000) } } },
  DELPKG: { fields: { package: Package }, answers: { FILES: { filenames: listOf(FileName, 1_000_000) } } },

  /** Gives the slave its number; the same session gets the same one again. */
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
        /** It is set aside, or an earlier session of it was. */
        set_aside: orNull(SetAside),
      },
    },
  },
  /** What an administrator wishes of these slaves; null leaves it as it is. */
  SETSLAVES: {
    fields: { slave_ids: listOf(Id, 100_000), asleep: orNull(Flag), kill: orNull(KillMode) },
    answers: DONE,
  },
  /**
   * What was granted under this lease, so that a slave's result can be held against it, also after
   * the Slave Driver was restarted; null when the lease isn't live, or isn't this slave's.
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
  /** Forgets single downloads and visits of all months but the last so many; what they add up to stays. */
  DROPLOGS: { fields: { months: Count }, answers: DONE },
  /** A thousand serials for pages, from `first` on, that nobody was ever given; `fence` is the Secretary's. */
  NEWSERIALS: { fields: { fence: Count }, answers: { SERIALS: { first: Count, count: Count } } },
  /**
   * The Secretary's backlog: pages that are due, [what, argument], answered with their notes; pages that are
   * written; and how packages are listed from now on: [package, serial of its page; null: not at all]. Without the
   * `fence` of a Secretary (null) only pages that are due may be said.
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
  /** The pages that are due, after a note: those that people install from, those of projects, or the rest. */
  LOADPAGES: {
    fields: { lane: Type.Union(PAGE_PRIORITIES.map((lane) => Type.Literal(lane))), after: Count },
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
