import { Type, type Static } from './schema.js';
import { Count, DONE, Flag, Package, ShortText, Text, Time, Version, listOf, orNull } from './fields.js';
import { PROJECT_STATUSES, Release } from './oracle.js';
import { Protocol } from './protocol.js';

const Name = Package;
const FlagOrNull = orNull(Flag);

/** What a run of events comes to for a project: see src/pypi/fold.ts. Null: they say nothing of it. */
export interface ProjectChange {
  readonly name: string;
  readonly serial: number;
  readonly wiped: boolean;
  readonly present: boolean | null;
  readonly quarantined: boolean | null;
}

/** The same for a version. */
export interface VersionChange {
  readonly name: string;
  readonly version: string;
  readonly serial: number;
  /** Seconds since 1970. */
  readonly released: number | null;
  readonly reset: boolean;
  readonly removed: boolean;
  readonly sdist: boolean | null;
  readonly yanked: boolean | null;
  readonly quarantined: boolean | null;
}

/** On the wire both are their fields in this order. */
const ProjectTuple = Type.Tuple([Name, Count, Flag, FlagOrNull, FlagOrNull]);
const VersionTuple = Type.Tuple([
  Name,
  Version,
  Count,
  orNull(Count),
  Flag,
  Flag,
  FlagOrNull,
  FlagOrNull,
  FlagOrNull,
]);

export function projectToTuple(change: ProjectChange): Static<typeof ProjectTuple> {
  return [change.name, change.serial, change.wiped, change.present, change.quarantined];
}

export function projectFromTuple(tuple: Static<typeof ProjectTuple>): ProjectChange {
  const [name, serial, wiped, present, quarantined] = tuple;
  return { name, serial, wiped, present, quarantined };
}

export function versionToTuple(change: VersionChange): Static<typeof VersionTuple> {
  const { name, version, serial, released, reset, removed, sdist, yanked, quarantined } = change;
  return [name, version, serial, released, reset, removed, sdist, yanked, quarantined];
}

export function versionFromTuple(tuple: Static<typeof VersionTuple>): VersionChange {
  const [name, version, serial, released, reset, removed, sdist, yanked, quarantined] = tuple;
  return { name, version, serial, released, reset, removed, sdist, yanked, quarantined };
}

const POSITION_FIELDS = {
  serial: Count,
  read: Count,
  cut_time: Count,
  cut_serial: Count,
};

const FeedPosition = Type.Object({
  ...POSITION_FIELDS,
  /** When everything was last compared with the root. */
  compared: orNull(Time),
  /** So many packages would go at once, and wait for an administrator's word. */
  held: orNull(Count),
  accepted: Count,
});
export type FeedPosition = Static<typeof FeedPosition>;

const fence = Count;

/**
 * What the Cloud Gazer has to do with the database, behind the Oracle. `fence` is the revision of its
 * lease: one that has been replaced is refused. Repeating any of them changes nothing more.
 */
export const feed = new Protocol('feed', {
  POSITION: { fields: {}, answers: { POSITION: { position: FeedPosition } }, reads: true },
  /** Acts upon events, folded, and keeps how far they reach, in one transaction. */
  EVENTS: {
    fields: {
      fence,
      position: Type.Tuple([Count, Count, Count, Count]),
      projects: listOf(ProjectTuple, 100_000),
      versions: listOf(VersionTuple, 100_000),
    },
    answers: DONE,
  },
  /** These projects' pages are to be read; one that is unknown is made. */
  LOOK: { fields: { fence, names: listOf(Name, 100_000), urgent: Flag }, answers: DONE },
  /** These are not followed any more: their pages are not to be read. */
  FORGET: { fields: { fence, names: listOf(Name, 10_000) }, answers: DONE },
  /** The pages that are due: [name, its etag when it was last read, whether it has a description]. */
  LOOKS: {
    fields: { limit: Count },
    answers: { LOOKS: { looks: listOf(Type.Tuple([Name, orNull(ShortText), Flag]), 10_000) } },
    reads: true,
  },
  /**
   * What a project's page says. A version that it doesn't name is only missing, until an event says that it
   * is gone, or a look some time later doesn't find it either.
   * `stale`: the page is older than what is known, and nothing was changed. `unsettled`: there are such
   * versions, and the list of all releases is to tell.
   */
  PAGE: {
    fields: {
      fence,
      package: Name,
      serial: Count,
      status: Type.Union(PROJECT_STATUSES.map((s) => Type.Literal(s))),
      etag: orNull(ShortText),
      description: orNull(Text),
      releases: listOf(Release, 100_000),
      removal_delay_s: Count,
    },
    answers: { PAGED: { stale: Flag, created: Count, unsettled: Flag } },
  },
  /** The page is as it was. */
  SAME: { fields: { fence, package: Name }, answers: { SAME: { unsettled: Flag } } },
  /** All releases, also those without a file. */
  LIST: {
    fields: { fence, package: Name, serial: Count, versions: listOf(Version, 100_000) },
    answers: DONE,
  },
  /** The index has no such project: gone, if something else says so too; else only missing. */
  MISSING: { fields: { fence, package: Name, agreed: Flag }, answers: DONE },
  /** The page could not be read: later again, and later. */
  FAILED: { fields: { fence, package: Name }, answers: DONE },
  /**
   * Projects that aren't gone, in their order: [name, serial of its page, when that was
   * last looked at (0: never; null: it is to be), whether it would say that it is the same, whether a feed
   * brought it].
   */
  KNOWN: {
    fields: { after: Type.String({ maxLength: 200 }), limit: Count },
    answers: { KNOWN: { projects: listOf(Type.Tuple([Name, Count, orNull(Time), Flag, Flag]), 100_000) } },
    reads: true,
  },
  /** Everything was compared; `held`: so many would go, and wait. */
  COMPARED: { fields: { fence, held: orNull(Count) }, answers: DONE },
  /** An administrator's word: up to so many packages may go. */
  ACCEPT: { fields: { count: Count }, answers: DONE },
});
