import { Type, type Static } from '../model/schema.js';
import {
  Count,
  DONE,
  Flag,
  Package,
  ShortText,
  Text,
  Time,
  Version,
  listOf,
  orNull,
} from '../model/fields.js';
import { PROJECT_STATUSES } from '../model/project.js';
import { Release } from '../model/release.js';
import { Protocol } from './protocol.js';

const Name = Package;
/** True or false; null: it is not known, or stays as it is. */
const FlagOrNull = orNull(Flag);

/** The combined effect of a batch of events on a project: see src/pypi/fold.ts. Null: they don't affect the property. */
export interface ProjectChange {
  readonly name: string;
  /** The highest serial of its events. */
  readonly serial: number;
  /** The project was removed with all its versions at the time; later versions have changes of their own. */
  readonly wiped: boolean;
  /** Whether the project exists after the events. */
  readonly present: boolean | null;
  readonly quarantined: boolean | null;
}

/** The combined effect of a batch of events on a version. */
export interface VersionChange {
  readonly name: string;
  readonly version: string;
  readonly serial: number;
  /** The time of its first event, seconds since 1970; null if no event released it. */
  readonly released: number | null;
  /** Its earlier state is void: the version was removed, and (unless `removed`) released again. */
  readonly reset: boolean;
  readonly removed: boolean;
  readonly sdist: boolean | null;
  readonly yanked: boolean | null;
  readonly quarantined: boolean | null;
}

/** The encoding of a ProjectChange on the wire: its fields in order. */
const ProjectTuple = Type.Tuple([
  Name, // name
  Count, // serial
  Flag, // wiped
  FlagOrNull, // present
  FlagOrNull, // quarantined
]);
/** The encoding of a VersionChange on the wire: its fields in order. */
const VersionTuple = Type.Tuple([
  Name, // name
  Version, // version
  Count, // serial
  orNull(Count), // released
  Flag, // reset
  Flag, // removed
  FlagOrNull, // sdist
  FlagOrNull, // yanked
  FlagOrNull, // quarantined
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
  /** All events up to this serial have been applied. */
  serial: Count,
  /** The highest serial that was read; those between the two had not settled yet. */
  read: Count,
  /** The time of the newest event that was applied in order, seconds since 1970. */
  cut_time: Count,
  /** The serial of that event. */
  cut_serial: Count,
};

/** How far the index has been followed. */
const FeedPosition = Type.Object({
  ...POSITION_FIELDS,
  /** When all projects were last compared with the root. */
  compared: orNull(Time),
  /** How many packages would be removed at once, and wait for an administrator's approval; null: none wait. */
  held: orNull(Count),
  /** How many packages an administrator has allowed to be removed at once. */
  accepted: Count,
});
export type FeedPosition = Static<typeof FeedPosition>;

/** The revision of the sender's lease. */
const fence = Count;

/**
 * The Cloud Gazer's requests to the database, which the Oracle answers. `fence` is the revision of the Cloud Gazer's
 * lease; requests of one that has been replaced are refused. All requests are idempotent.
 */
export const feed = new Protocol('feed', {
  /** Returns how far the index has been followed. */
  POSITION: { fields: {}, answers: { POSITION: { position: FeedPosition } } },
  /** Applies folded events and records the position that they reach, in one transaction. */
  EVENTS: {
    fields: {
      fence,
      /** [serial, read, cut_time, cut_serial] of the new position. */
      position: Type.Tuple([Count, Count, Count, Count]),
      projects: listOf(ProjectTuple, 100_000),
      versions: listOf(VersionTuple, 100_000),
    },
    answers: DONE,
  },
  /** Queues fetches of these projects' pages, `urgent` ones before others, and creates unknown projects. */
  QUEUEFETCH: { fields: { fence, names: listOf(Name, 100_000), urgent: Flag }, answers: DONE },
  /** Cancels the page fetches of projects that are no longer followed. */
  CANCELFETCH: { fields: { fence, names: listOf(Name, 10_000) }, answers: DONE },
  /** The page `fetches` that are due: [name, the last ETag, whether the project has a description]. */
  DUEFETCHES: {
    fields: { limit: Count },
    answers: { FETCHES: { fetches: listOf(Type.Tuple([Name, orNull(ShortText), Flag]), 10_000) } },
  },
  /**
   * Applies a project's page. A version that it doesn't list is only missing, until an event says that it was removed,
   * or a page that is fetched `removal_delay_s` later doesn't list it either.
   * `serial` and `etag` are those of the page, the latter for the next fetch; `created` is the number of new versions.
   * `stale`: the page is older than the known state, and nothing was changed. `unsettled`: versions are missing, and
   * the list of all releases has to tell what became of them.
   */
  PAGE: {
    fields: {
      fence,
      package: Name,
      serial: Count,
      /** The status of the project. */
      status: Type.Union(PROJECT_STATUSES.map((s) => Type.Literal(s))),
      etag: orNull(ShortText),
      description: orNull(Text),
      releases: listOf(Release, 100_000),
      removal_delay_s: Count,
    },
    answers: { PAGED: { stale: Flag, created: Count, unsettled: Flag } },
  },
  /** The page is unchanged. `unsettled`: see PAGE. */
  SAME: { fields: { fence, package: Name }, answers: { SAME: { unsettled: Flag } } },
  /** The list of all releases, as of `serial`, including those without a file. */
  LIST: {
    fields: { fence, package: Name, serial: Count, versions: listOf(Version, 100_000) },
    answers: DONE,
  },
  /** The index has no such project: it is removed if another source has `confirmed` that, and only missing otherwise. */
  MISSING: { fields: { fence, package: Name, confirmed: Flag }, answers: DONE },
  /** The page could not be fetched; the next fetch is postponed, longer after each failure. */
  FAILED: { fields: { fence, package: Name }, answers: DONE },
  /**
   * The `projects` that are not removed, in byte order of their names, after `after`: [name, serial of its page, when it was
   * last fetched (0: never; null: a fetch is queued), whether a conditional fetch is cheap, whether it came from
   * the feed].
   */
  KNOWN: {
    fields: { after: Type.String({ maxLength: 200 }), limit: Count },
    answers: { KNOWN: { projects: listOf(Type.Tuple([Name, Count, orNull(Time), Flag, Flag]), 100_000) } },
  },
  /** All projects were compared with the root; `held` packages wait for approval of their removal. */
  COMPARED: { fields: { fence, held: orNull(Count) }, answers: DONE },
  /** An administrator's approval that up to `count` packages may be removed at once. */
  ACCEPT: { fields: { count: Count }, answers: DONE },
});
