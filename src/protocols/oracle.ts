import {
  BuildDetails,
  BuildOutput,
  CoreMetadata,
  Count,
  DONE,
  FailureClassName,
  FileName,
  Flag,
  Id,
  LeaseId,
  Package,
  Seconds,
  ShortText,
  Tag,
  Text,
  Time,
  Version,
  listOf,
  orNull,
} from '../model/fields.js';
import { Protocol, type Answer } from './protocol.js';
import { Type } from '../model/schema.js';
import { FileOrigin, IndexedFile, Project, ProjectStatus, SearchRow } from '../model/project.js';
import { Aliases } from './chase.js';
import { PublishedFiles } from './file-juggler.js';
import { HomePageData } from './site.js';
import { RETRY, RequeueReason } from './retry.js';
import { RegisteredTarget } from '../model/target.js';
import { Origin, Reason, Release } from '../model/release.js';
import { Statistics } from './statistics.js';
import { QueueLength, QueuedVersion } from '../model/queue.js';
import { KillMode } from '../model/slave.js';
import { HEALTH_VERBS, SetAside } from './slave-health.js';
import { LogOutcomeTuple, LoggedBuild } from '../model/build.js';
import { LOG_VERBS } from './weblog.js';
import { DuePage, PAGE_PRIORITIES, PageKey } from '../model/page.js';

const VERSION_KEY_FIELDS = { package: Package, version: Version };

/** The requests to the Oracle: every query and every change that actors make to the database. All are idempotent. */
export const oracle = new Protocol('db', {
  /** Returns the names of all packages. */
  ALLPKGS: { fields: {}, answers: { PACKAGES: { names: listOf(Package, 10_000_000) } } },
  /** Returns whether the farm knows a package. */
  PKGEXISTS: { fields: { package: Package }, answers: { EXISTS: { exists: Flag } } },
  /** Returns whether the farm knows a version. */
  VEREXISTS: { fields: VERSION_KEY_FIELDS, answers: { EXISTS: { exists: Flag } } },
  /** What a package's page in the simple index shows. */
  PKGFILES: {
    fields: { package: Package },
    answers: {
      FILES: {
        exists: Flag,
        status: ProjectStatus,
        /** All versions, also those without files. */
        versions: listOf(Version, 100_000),
        /** The files to offer. */
        files: listOf(IndexedFile, 100_000),
        /** The METADATA of the newest release; null if unknown. */
        metadata: orNull(CoreMetadata),
        /** The serial with which the root lists the package; null: it doesn't list it. */
        listed: orNull(Count),
      },
    },
  },
  /** Packages with files to offer, by name, after `after`. */
  INDEX: {
    fields: { after: Text, limit: Count },
    answers: { PACKAGES: { names: listOf(Package, 100_000) } },
  },
  /** The `projects` that the root of the simple index lists, by name, after `after`: [package, serial of its page]. */
  LISTED: {
    fields: { after: Text, limit: Count },
    answers: { LISTED: { projects: listOf(Type.Tuple([Package, Count]), 100_000) } },
  },
  /** The origin of a listed file; null: no such file is listed. */
  FILEORIGIN: {
    fields: { filename: FileName },
    answers: { ORIGIN: { origin: orNull(FileOrigin) } },
  },
  /** All files ever published of the project and version in this wheel's name, including those removed since. */
  PUBLISHED: {
    fields: { filename: FileName },
    answers: { PUBLISHED: { files: PublishedFiles } },
  },
  /** What a project's page shows; null: there is no such package. */
  PROJECT: { fields: { package: Package }, answers: { PROJECT: { project: orNull(Project) } } },
  /**
   * Rows for the search and the sitemap, by name, after `after`: [package, description, files, downloads in 30 days].
   */
  SEARCHINDEX: {
    fields: { after: Text, limit: Count },
    answers: { INDEX: { packages: listOf(SearchRow, 100_000) } },
  },
  /** What the home page shows in addition to the statistics. */
  GETHOME: { fields: {}, answers: { HOME: { front: HomePageData } } },
  /** Returns a build with its log. */
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
        /** When it ended. */
        built: Time,
        duration_s: Seconds,
        output: BuildOutput,
        details: BuildDetails,
        /** The label of the slave; null for an import. */
        slave: orNull(ShortText),
        /** Why this failure no longer counts as an attempt; null: it counts. */
        requeue_reason: orNull(RequeueReason),
      },
    },
  },
  /** Returns the registered targets. */
  GETABIS: { fields: {}, answers: { ABIS: { targets: listOf(RegisteredTarget, 1000) } } },
  /** Registers a target, or changes whether it is skipped. */
  ADDABI: {
    fields: {
      abi: Tag,
      platform: Tag,
      py_version_tag: Tag,
      /** Why nothing is built for it; null: it is built for. */
      skip: Reason,
    },
    answers: { DONE: {} },
  },
  /** Removes a target; its builds and files stay. */
  DELABI: { fields: { abi: Tag, platform: Tag }, answers: DONE },
  /**
   * Sums up the recent changes to the statistics and their history; `more`: some are left. `fence` is the revision of
   * the sender's lease; one that has been replaced is refused. Changes that are not summed up yet count as well, but
   * are more expensive to read.
   */
  SUMUP: { fields: { fence: Count }, answers: { SUMMED: { more: Flag } } },
  /** Returns the figures that come from the database. */
  GETSTATS: { fields: {}, answers: { STATS: { statistics: Statistics } } },

  /**
   * The queue: its length and the builds that ended in an hour, as of `age_s` seconds ago, some of them estimates if
   * `estimated`; and the current figures of builds in progress and of those that ended in the last minute.
   */
  QUEUE: {
    fields: {},
    answers: {
      QUEUE: {
        lengths: listOf(QueueLength, 10_000),
        /** Builds that ended in an hour. */
        last_hour: Count,
        estimated: Flag,
        age_s: Seconds,
        /** Builds in progress. */
        building: Count,
        /** Builds that are held back after transient failures. */
        held: Count,
        /** Builds that ended in the last minute. */
        last_minute: Count,
      },
    },
  },
  /** Returns the state of every version of a package on every target. */
  QUEUEPKG: {
    fields: { package: Package },
    answers: { STATES: { exists: Flag, versions: listOf(QueuedVersion, 1_000_000) } },
  },
  /** `versions` with files that left the index more than `grace_s` seconds ago: [package, version]. */
  REMOVED: {
    fields: { grace_s: Seconds, limit: Count },
    answers: { REMOVED: { versions: listOf(Type.Tuple([Package, Version]), 10_000) } },
  },

  /** Adds a package, or updates the description and adds the aliases of one that exists. */
  NEWPKG: {
    fields: { package: Package, description: orNull(Text), origin: Origin, aliases: Aliases },
    answers: {
      NEW: {
        /** Whether the package is new. */
        created: Flag,
      },
    },
  },
  /** Adds releases of one package, creating the package if it is missing, and updates known ones. */
  NEWVER: {
    fields: { package: Package, origin: Origin, releases: listOf(Release, 100_000) },
    answers: {
      NEW: {
        /** How many of the releases are new. */
        created: Count,
      },
    },
  },
  /** Skips a package for a reason; null: builds it again. */
  SKIPPKG: { fields: { package: Package, skip: Reason }, answers: DONE },
  /** Skips a version for a reason; null: builds it again. */
  SKIPVER: { fields: { ...VERSION_KEY_FIELDS, skip: Reason }, answers: DONE },
  /** Yanks a version for the reason `yanked`, which may be empty, and keeps it yanked, whatever the index says. */
  YANKVER: { fields: { ...VERSION_KEY_FIELDS, yanked: ShortText }, answers: DONE },
  /** Ends an administrator's yank of a version. */
  UNYANKVER: { fields: VERSION_KEY_FIELDS, answers: DONE },
  /** Deletes the builds, files and downloads of a version; answered with the names of the deleted files. */
  DELBUILD: { fields: VERSION_KEY_FIELDS, answers: { FILES: { filenames: listOf(FileName, 10_000) } } },
  /** Deletes a version with all that DELBUILD deletes. */
  DELVER: { fields: VERSION_KEY_FIELDS, answers: { FILES: { filenames: listOf(FileName, 10_000) } } },
  /** Deletes a package with its versions; answered with the names of the deleted files. */
  DELPKG: { fields: { package: Package }, answers: { FILES: { filenames: listOf(FileName, 1_000_000) } } },

  /** Registers a slave's session and returns its id, which is the same for the same session. */
  HELLOSLAVE: {
    fields: {
      /** The slave's user on NATS. */
      user: ShortText,
      /** The session, which the slave has named. */
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
        /** Whether its target is registered. */
        known_target: Flag,
        /** An administrator's order: it gets no work. */
        asleep: Flag,
        /** An administrator's order: say BYE to it; null: there is none. */
        kill: orNull(KillMode),
        /** The slave, or an earlier session of it, is set aside; null: it is not. */
        set_aside: orNull(SetAside),
      },
    },
  },
  /** Records an administrator's orders, `asleep` and `kill`, for the slaves `slave_ids`; null leaves an order as it is. */
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
  },
  /** The build that was logged under this lease; null if none was. */
  LEASEBUILD: {
    fields: { lease: LeaseId },
    answers: { LEASEBUILD: { build_id: orNull(Id) } },
  },
  /** Logs the results of builds, and requeues what they affect; answered with what became of each. */
  LOGBUILD: {
    fields: { builds: listOf(LoggedBuild, 1000) },
    answers: { LOGGED: { outcomes: listOf(LogOutcomeTuple, 1000) } },
  },
  RETRY,
  ...HEALTH_VERBS,
  ...LOG_VERBS,
  /** Deletes single downloads and page hits of all months but the last `months` (with the current one); their sums stay. */
  DROPLOGS: { fields: { months: Count }, answers: DONE },
  /**
   * Allocates `count` serials for pages, from `first`, that were never used; `fence` is that of the Secretary's lease.
   */
  NEWSERIALS: { fields: { fence: Count }, answers: { SERIALS: { first: Count, count: Count } } },
  /**
   * Updates the Secretary's backlog: `pages` that are due, answered with their `revisions`; pages that have been `written`;
   * and changes to the root index in `listed`: [package, serial of its page (null: not listed)]. A sender that is not the Secretary
   * sends a null `fence`, and may only report due pages.
   */
  SAVEPAGES: {
    fields: {
      fence: orNull(Count),
      pages: listOf(PageKey),
      written: listOf(DuePage),
      listed: listOf(Type.Tuple([Package, orNull(Count)])),
    },
    answers: { SAVED: { revisions: listOf(Count) } },
  },
  /** The due pages of one `priority`, by revision, after revision `after`. */
  LOADPAGES: {
    fields: { priority: Type.Union(PAGE_PRIORITIES.map((priority) => Type.Literal(priority))), after: Count },
    answers: { PAGES: { pages: listOf(DuePage) } },
  },
  /**
   * Files that are no longer listed and may still be published, the oldest first: at most `limit`, and with `package`,
   * those of one package. `files`: [package, filename, seconds since it was listed].
   */
  UNLISTED: {
    fields: { package: orNull(Package), limit: Count },
    answers: { FILES: { files: listOf(Type.Tuple([Package, FileName, Seconds]), 100_000) } },
  },
  /** These files are gone, or were published again. */
  FILESGONE: { fields: { filenames: listOf(FileName, 100_000) }, answers: DONE },
  /** The `tasks` that are paused; `*` stands for all. */
  GETPAUSED: { fields: {}, answers: { PAUSED: { tasks: listOf(ShortText, 100) } } },
  /** Records that a task is paused, or is not any longer. */
  SETPAUSED: { fields: { task: ShortText, paused: Flag }, answers: DONE },
});

export type OracleVerbs = typeof oracle.verbs;
export type BuildRecord = Answer<OracleVerbs, 'GETBUILD'>;
