import type { ProjectChange, VersionChange } from '../protocols/feed.js';
import type { ChangeEvent } from './changelog.js';

interface FoldedChanges {
  readonly projects: readonly ProjectChange[];
  readonly versions: readonly VersionChange[];
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

interface ProjectDraft {
  readonly project: Mutable<ProjectChange>;
  readonly versions: Map<string, Mutable<VersionChange>>;
}

/**
 * Folds events, in the order in which they happened, into one change per project and version. The effect of an event:
 *
 *   event           on its project or version            on the queue        on wheels and pages
 *   create          exists                               -                   project page
 *   release         exists, released at this time        due if it has an    project page
 *                                                        sdist
 *   add file        the same; an sdist makes it due      due                 project page
 *   remove file     an sdist: it has no sdist            not due             wheels stay
 *   remove release  removed                              not due             hidden; deleted after the grace time
 *   remove project  removed, with all its versions       not due             the same, for all of them
 *   yank            yanked (the page has the reason)     not due             listed as yanked
 *   unyank          not yanked                           due again           listed as usual
 *   quarantine      version or project is quarantined    not due             kept, not listed
 *   clear           not quarantined                      due again           listed again
 *
 * None of them forgets builds: a release that returns is complete at once, and is built only where it never was. Folding
 * is idempotent: the same events give the same result again.
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
