import type { IndexRoot } from './index-reader.js';
import type { WatchList } from './watch-list.js';

/** What the database has of a project. */
export interface KnownProject {
  readonly name: string;
  /** Of its page; 0 where the index has none. */
  readonly serial: number;
  /** When its page was last looked at, milliseconds since 1970; 0: never; null: it is to be. */
  readonly looked: number | null;
  /** A look costs little: the page has an ETag, or isn't even there. */
  readonly cheap: boolean;
  /** A feed brought it, and can take it away; any other is an administrator's. */
  readonly fed: boolean;
}

/** An index that says nothing of what has changed is read again and again only if it is no larger. */
const MAX_BLIND_INDEX_PROJECTS = 200;

/** Of what is watched: what the root has and we don't, or has of a higher serial, and what it has no more. */
export function compareWithRoot(
  root: IndexRoot,
  knownProjects: readonly KnownProject[],
  watch: WatchList,
): { readonly due: readonly string[]; readonly vanished: readonly string[] } {
  const remaining = new Map(knownProjects.map((one) => [one.name, one] as const));
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
 * Where no serial says what has changed: the projects whose pages are next, longest not looked at first, and
 * whether there are others that get no turn. A page without an ETag costs a whole answer at each look; that is
 * for a few, or for what somebody wants.
 */
export function nextToPoll(
  knownProjects: readonly KnownProject[],
  watch: WatchList,
  limit: number,
): { readonly names: readonly string[]; readonly blind: boolean } {
  const watchedProjects = knownProjects.filter(({ name }) => watch.has(name));
  const atAnyCost = watch.scope !== 'all' || watchedProjects.length <= MAX_BLIND_INDEX_PROJECTS;
  const notDue = watchedProjects.flatMap(({ looked, ...one }) =>
    looked === null ? [] : [{ ...one, looked }],
  );
  const candidates = notDue.filter(({ cheap, looked }) => atAnyCost || cheap || looked === 0);
  candidates.sort((a, b) => a.looked - b.looked);
  return {
    names: candidates.slice(0, limit).map(({ name }) => name),
    blind: candidates.length < notDue.length,
  };
}
