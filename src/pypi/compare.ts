import type { IndexRoot } from './index-reader.js';
import type { WatchList } from './watch-list.js';

/** What the database has of a project. */
export interface Known {
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
const SMALL = 200;

/** Of what is watched: what the root has and we don't, or has of a higher serial, and what it has no more. */
export function compare(
  root: IndexRoot,
  all: readonly Known[],
  watch: WatchList,
): { readonly due: readonly string[]; readonly vanished: readonly string[] } {
  const known = new Map(all.map((one) => [one.name, one] as const));
  const due: string[] = [];
  for (const [name, serial] of root.projects) {
    const its = known.get(name);
    if ((its === undefined || serial > its.serial) && watch.has(name)) due.push(name);
    known.delete(name);
  }
  const vanished = [...known.values()].filter(({ name, fed }) => fed && watch.has(name));
  return { due, vanished: vanished.map(({ name }) => name) };
}

/**
 * Where no serial says what has changed: the projects whose pages are next, longest not looked at first, and
 * whether there are others that get no turn. A page without an ETag costs a whole answer at each look; that is
 * for a few, or for what somebody wants.
 */
export function inTurn(
  all: readonly Known[],
  watch: WatchList,
  most: number,
): { readonly names: readonly string[]; readonly blind: boolean } {
  const known = all.filter(({ name }) => watch.has(name));
  const atAnyCost = watch.follows !== 'all' || known.length <= SMALL;
  const idle = known.flatMap(({ looked, ...one }) => (looked === null ? [] : [{ ...one, looked }]));
  const turns = idle.filter(({ cheap, looked }) => atAnyCost || cheap || looked === 0);
  turns.sort((a, b) => a.looked - b.looked);
  return { names: turns.slice(0, most).map(({ name }) => name), blind: turns.length < idle.length };
}
