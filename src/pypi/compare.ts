import type { IndexRoot } from './index-page.js';
import type { WatchList } from './watch-list.js';

/** A project as the database has it. */
export interface KnownProject {
  readonly name: string;
  /** The serial of its page; 0 if the index has no serials. */
  readonly serial: number;
  /** When its page was last fetched, milliseconds since 1970; 0: never; null: it is due to be fetched. */
  readonly looked: number | null;
  /** Polling costs little: the page has an ETag, or doesn't exist. */
  readonly cheap: boolean;
  /** The feed added it and may remove it; false if an administrator added it. */
  readonly fed: boolean;
}

/** Up to this many projects are polled even if the index has neither serials nor ETags. */
const MAX_BLIND_INDEX_PROJECTS = 200;

/**
 * Compares the watched projects with the root. `due` are those that are new, or have a higher serial in the root;
 * `vanished` are those of the feed that the root no longer lists.
 */
export function compareWithRoot(
  root: IndexRoot,
  knownProjects: readonly KnownProject[],
  watch: WatchList,
): { readonly due: readonly string[]; readonly vanished: readonly string[] } {
  const remaining = new Map(knownProjects.map((project) => [project.name, project] as const));
  const due: string[] = [];
  for (const [name, serial] of root.projects) {
    const project = remaining.get(name);
    if ((project === undefined || serial > project.serial) && watch.has(name)) due.push(name);
    remaining.delete(name);
  }
  const vanished = [...remaining.values()].filter(({ name, fed }) => fed && watch.has(name));
  return { due, vanished: vanished.map(({ name }) => name) };
}

/**
 * Returns the projects to poll next on an index without serials, the longest unvisited first; `blind` if others are never
 * polled. A page without an ETag costs a full answer each time, so such pages are polled only if they are few, or if the
 * user named them.
 */
export function nextToPoll(
  knownProjects: readonly KnownProject[],
  watch: WatchList,
  limit: number,
): { readonly names: readonly string[]; readonly blind: boolean } {
  const watchedProjects = knownProjects.filter(({ name }) => watch.has(name));
  const atAnyCost = watch.scope !== 'all' || watchedProjects.length <= MAX_BLIND_INDEX_PROJECTS;
  const notDue = watchedProjects.flatMap(({ looked, ...project }) =>
    looked === null ? [] : [{ ...project, looked }],
  );
  const candidates = notDue.filter(({ cheap, looked }) => atAnyCost || cheap || looked === 0);
  candidates.sort((a, b) => a.looked - b.looked);
  return {
    names: candidates.slice(0, limit).map(({ name }) => name),
    blind: candidates.length < notDue.length,
  };
}
