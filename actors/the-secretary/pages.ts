import type { DuePage, PagePriority } from '../../src/model/page.js';

/**
 * What is to be written, as in a row of the backlog. The argument of the row names the object:
 *
 *   PKG, DELPKG                  a package
 *   DELVER                       a package and one of its versions
 *   PROJECT                      a package, of which only the project page is written
 *   PACK                         a package whose pages are to be compressed; empty: the root of the simple index
 *   LOG                          a build
 *   SEARCH, SITEMAP, HOME, ROOT  empty: there is only one of each
 */
export type PageKind =
  'PKG' | 'PROJECT' | 'DELPKG' | 'DELVER' | 'PACK' | 'LOG' | 'SEARCH' | 'SITEMAP' | 'HOME' | 'ROOT';

/**
 * A request for a page. `revision` is a number that increases each time the page is requested, so that writing the
 * page doesn't satisfy a later request.
 */
export interface PageRequest {
  readonly kind: PageKind;
  readonly argument: string;
  readonly revision: number;
}

/** Converts a row of the backlog. */
export const requestOf = ([kind, argument, revision]: DuePage): PageRequest => ({
  kind: kind as PageKind,
  argument,
  revision,
});

/** The kinds about a package, whose pages are with one Scribe at a time. */
const PACKAGE_KINDS: ReadonlySet<PageKind> = new Set(['PKG', 'PROJECT', 'DELPKG', 'DELVER', 'PACK']);
/** The kinds that change the simple index, which people install from. */
const INDEX_KINDS: ReadonlySet<PageKind> = new Set(['PKG', 'DELPKG', 'DELVER']);
/** The kinds with the highest priority: the simple index and the home page. */
const FRONT_KINDS: ReadonlySet<PageKind> = new Set([...INDEX_KINDS, 'HOME', 'ROOT']);

/**
 * The kinds kept in the database; the others are due after every start of a Secretary, or recur by
 * themselves.
 */
export const PERSISTED_KINDS: ReadonlySet<PageKind> = new Set([...PACKAGE_KINDS, 'LOG']);

/** The kinds that show all packages, and can take long. */
export const SITE_WIDE_KINDS: ReadonlySet<PageKind> = new Set(['ROOT', 'SEARCH', 'SITEMAP']);

/** The key of the simple index's root. */
export const ROOT_PAGE = 'the root index';

/**
 * Returns the key of the page, or group of pages, that a request is about. PACK with an empty argument is
 * about the root.
 */
export function pageKeyOf(kind: PageKind, argument: string): string {
  if (PACKAGE_KINDS.has(kind)) return argument === '' ? ROOT_PAGE : `the pages of ${packageOf(argument)}`;
  return kind === 'ROOT' ? ROOT_PAGE : `${kind} ${argument}`.trimEnd();
}

/** Returns the package in an argument: `six` for `six` and for `six 1.17.0`. */
export const packageOf = (argument: string): string => argument.split(' ', 1)[0] ?? '';

/**
 * One page, or one package's pages, and the requests for it. Writing it satisfies the requests that exist when
 * the write begins; those that come or are repeated meanwhile need another write.
 */
export class PendingPage {
  readonly #requests = new Map<string, PageRequest>();
  readonly #waiters: { readonly key: string; readonly revision: number; readonly notify: () => void }[] = [];
  /**
   * If this is an empty page of the simple index that has to be removed: the number of the write of the root
   * after which it may go, because that root no longer lists it. Otherwise 0.
   */
  afterRoot = 0;

  constructor(readonly key: string) {}

  /** Adds a request. Returns whether it is a new one. */
  add(request: PageRequest): boolean {
    const key = `${request.kind} ${request.argument}`;
    const existing = this.#requests.get(key);
    if (existing && existing.revision >= request.revision) return false;
    this.#requests.set(key, request);
    return true;
  }

  /** Calls `notify` when that request is done. */
  whenDone({ kind, argument, revision }: PageRequest, notify: () => void): void {
    this.#waiters.push({ key: `${kind} ${argument}`, revision, notify });
  }

  /** Returns the requests that writing the page now will satisfy. */
  requests(): readonly PageRequest[] {
    return [...this.#requests.values()];
  }

  /** Marks requests as done, and drops those that have not been repeated since. */
  markDone(requests: readonly PageRequest[]): void {
    for (const { kind, argument, revision } of requests) {
      const key = `${kind} ${argument}`;
      if (this.#requests.get(key)?.revision === revision) this.#requests.delete(key);
      for (const waiter of this.#waiters.filter(
        (candidate) => candidate.key === key && candidate.revision <= revision,
      )) {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
        waiter.notify();
      }
    }
  }

  get hasRequests(): boolean {
    return this.#requests.size > 0;
  }

  /** The priority of the current requests. */
  get priority(): PagePriority {
    const kinds = this.requests().map(({ kind }) => kind);
    if (kinds.some((kind) => FRONT_KINDS.has(kind))) return 'front';
    return kinds.includes('PROJECT') ? 'projects' : 'rest';
  }
}

/** Returns the verb that makes a Scribe satisfy all of these requests for one page. */
export function verbFor(requests: readonly PageRequest[]): Exclude<PageKind, 'DELPKG' | 'DELVER'> {
  const kinds = requests.map(({ kind }) => kind);
  if (kinds.includes('ROOT')) return 'ROOT';
  if (kinds.some((kind) => INDEX_KINDS.has(kind))) return 'PKG';
  if (kinds.includes('PROJECT')) return 'PROJECT';
  const [kind = 'PACK'] = kinds;
  return kind as Exclude<PageKind, 'DELPKG' | 'DELVER'>;
}
