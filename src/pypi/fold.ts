import type { ChangeEvent } from './changelog.js';

/** What a run of events comes to for a project. Null: the events say nothing of it. */
export interface FoldedProjectChange {
  readonly name: string;
  /** The highest serial of its events. */
  readonly serial: number;
  /** It was removed, and with it all versions that were there before; those that came after are in their own changes. */
  wiped: boolean;
  /** It is there at the end, or (false) gone. */
  present: boolean | null;
  quarantined: boolean | null;
}

/** What a run of events comes to for a version. */
export interface FoldedVersionChange {
  readonly name: string;
  readonly version: string;
  readonly serial: number;
  /** The time of its first event, seconds; null: nothing said that it came. */
  released: number | null;
  /** What was known of it before counts no more: it was removed, and (unless `removed`) came again. */
  reset: boolean;
  removed: boolean;
  sdist: boolean | null;
  yanked: boolean | null;
  quarantined: boolean | null;
}

export interface FoldedChanges {
  readonly projects: readonly FoldedProjectChange[];
  readonly versions: readonly FoldedVersionChange[];
}

interface ProjectDraft {
  readonly project: { -readonly [K in keyof FoldedProjectChange]: FoldedProjectChange[K] };
  readonly versions: Map<string, { -readonly [K in keyof FoldedVersionChange]: FoldedVersionChange[K] }>;
}

/**
 * Folds events, in the order in which they happened, into one change for each project and version. What
 * an event does:
 *
 *   event           to its project or version            to the queue        to wheels and pages
 *   create          is there                             -                   project page
 *   release         is there, released at this time      due, if it has an   project page
 *                                                        sdist
 *   add file        the same; an sdist makes it due      due                 project page
 *   remove file     of an sdist: has none any more       not due             wheels stay
 *   remove release  gone                                 not due             not offered; deleted after the grace time
 *   remove project  gone, with all its versions          not due             the same for all
 *   yank            yanked (its reason is on the page)   not due             offered, marked
 *   unyank          not yanked                           due again           the mark goes
 *   quarantine      version or project is quarantined    not due             kept, not offered
 *   clear           is not any more                      due again           offered again
 *
 * What is built stays known through all of them: a release that comes back is whole at once, and is built
 * only where it never was. Folding twice what was folded before comes to the same.
 */
export function foldEvents(events: readonly ChangeEvent[]): FoldedChanges {
  const drafts = new Map<string, ProjectDraft>();
  for (const event of events) {
    let draft = drafts.get(event.name);
    if (!draft) drafts.set(event.name, (draft = newDraft(event)));
    if (event.serial > draft.project.serial) draft.project.serial = event.serial;
    if (event.version === null) applyToProject(draft, event);
    else applyToVersion(draft, event, event.version);
  }
  const projectDrafts = [...drafts.values()];
  return {
    projects: projectDrafts.map(({ project }) => project),
    versions: projectDrafts.flatMap(({ versions }) => [...versions.values()]),
  };
}

function newDraft({ name }: ChangeEvent): ProjectDraft {
  return {
    project: { name, serial: 0, wiped: false, present: null, quarantined: null },
    versions: new Map(),
  };
}

function applyToProject({ project, versions }: ProjectDraft, { kind }: ChangeEvent): void {
  if (kind === 'create') project.present = true;
  else if (kind === 'quarantine' || kind === 'clear') project.quarantined = kind === 'quarantine';
  else if (kind === 'remove project') {
    Object.assign(project, { wiped: true, present: false, quarantined: null });
    versions.clear();
  }
}

function applyToVersion(draft: ProjectDraft, event: ChangeEvent, versionText: string): void {
  const { kind, time, serial, file } = event;
  let change = draft.versions.get(versionText);
  if (!change) {
    change = {
      name: event.name,
      version: versionText,
      serial,
      released: null,
      reset: draft.project.wiped,
      removed: false,
      sdist: null,
      yanked: null,
      quarantined: null,
    };
    draft.versions.set(versionText, change);
  }
  if (serial > change.serial) change.serial = serial;
  switch (kind) {
    case 'release':
    case 'add file':
      draft.project.present = true;
      change.removed = false;
      change.released ??= time;
      if (file?.sdist) change.sdist = true;
      break;
    case 'remove file':
      if (file?.sdist) change.sdist = false;
      break;
    case 'remove release':
      Object.assign(change, { removed: true, reset: true, released: null });
      Object.assign(change, { sdist: null, yanked: null, quarantined: null });
      break;
    case 'yank':
    case 'unyank':
      change.yanked = kind === 'yank';
      break;
    case 'quarantine':
    case 'clear':
      change.quarantined = kind === 'quarantine';
      break;
    case 'create':
    case 'remove project':
  }
}
