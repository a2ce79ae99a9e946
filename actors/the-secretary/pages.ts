import type { PagePriority } from '../../src/model/page.js';

/** What can be wished for: the name of a row in the backlog, whose argument says of what. */
export type PageKind =
  'PKG' | 'PROJECT' | 'DELPKG' | 'DELVER' | 'PACK' | 'LOG' | 'SEARCH' | 'SITEMAP' | 'HOME' | 'ROOT';

/** A wish for a page. Its note is higher each time that the same is wished for. */
export interface PageRequest {
  readonly kind: PageKind;
  readonly argument: string;
  readonly note: number;
}

/** The kinds that are about a package, whose pages are in one pair of hands at a time. */
const PACKAGE_KINDS: ReadonlySet<PageKind> = new Set(['PKG', 'PROJECT', 'DELPKG', 'DELVER', 'PACK']);
/** Those that change the simple index, which people install from. */
const INDEX_KINDS: ReadonlySet<PageKind> = new Set(['PKG', 'DELPKG', 'DELVER']);
const FRONT_KINDS: ReadonlySet<PageKind> = new Set([...INDEX_KINDS, 'HOME', 'ROOT']);

/** Those that are kept in the database; the rest is due after every start of a Secretary, or comes again by itself. */
export const PERSISTED_KINDS: ReadonlySet<PageKind> = new Set([...PACKAGE_KINDS, 'LOG']);

/** Those that show all packages, and may take long. */
export const SITE_WIDE_KINDS: ReadonlySet<PageKind> = new Set(['ROOT', 'SEARCH', 'SITEMAP']);

/** The name of the simple index' root, among the pages. */
export const ROOT_PAGE = 'the root index';

/** The name of the page, or of the pages that belong together, that a wish is about. PACK of nothing is of the root. */
export function pageKeyOf(kind: PageKind, argument: string): string {
  if (PACKAGE_KINDS.has(kind)) return argument === '' ? ROOT_PAGE : `the pages of ${packageOf(argument)}`;
  return kind === 'ROOT' ? ROOT_PAGE : `${kind} ${argument}`.trimEnd();
}

/** `six` of `six`, and of `six 1.17.0`. */
export const packageOf = (argument: string): string => argument.split(' ', 1)[0] ?? '';

/**
 * One page, or one package's pages, and where they are:
 *
 *   waiting  until `at` has come, and the root has been written that it waits for
 *   ready    it is written as soon as a hand is free for its kind
 *   writing  a Scribe has it, for the wishes of that moment; those that come meanwhile, or again, are met
 *            afterwards, so that an older state never overwrites a newer one
 */
export class PendingPage {
  readonly #requests = new Map<string, PageRequest>();
  readonly #waiters: { readonly key: string; readonly note: number; readonly notify: () => void }[] = [];
  dueAt: number;
  state: 'waiting' | 'ready' | 'writing' = 'waiting';
  /** Where it waits for its turn, once it is ready. */
  queuedPriority: PagePriority | undefined;
  attempts = 0;
  /** Its empty page goes once that root has been written, by number; 0: it has none that is to go. */
  afterRoot = 0;

  constructor(
    readonly key: string,
    dueAt: number,
  ) {
    this.dueAt = dueAt;
  }

  /** Nothing is done if it is no news. */
  add(wish: PageRequest): void {
    const key = `${wish.kind} ${wish.argument}`;
    const existing = this.#requests.get(key);
    if (!existing || existing.note < wish.note) this.#requests.set(key, wish);
  }

  /** Calls `tell` when that wish is met. */
  whenDone({ kind, argument, note }: PageRequest, notify: () => void): void {
    this.#waiters.push({ key: `${kind} ${argument}`, note, notify });
  }

  /** What is to be met by writing it now. */
  requests(): readonly PageRequest[] {
    return [...this.#requests.values()];
  }

  /** They are met, and what they stood for is forgotten, unless it has been wished for again. */
  markDone(requests: readonly PageRequest[]): void {
    for (const { kind, argument, note } of requests) {
      const key = `${kind} ${argument}`;
      if (this.#requests.get(key)?.note === note) this.#requests.delete(key);
      for (const waiter of this.#waiters.filter((told) => told.key === key && told.note <= note)) {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
        waiter.notify();
      }
    }
  }

  /** Somebody waits for it. */
  get hasWaiters(): boolean {
    return this.#waiters.length > 0;
  }

  get hasRequests(): boolean {
    return this.#requests.size > 0;
  }

  /** Where it belongs, by what is wished for now. */
  get priority(): PagePriority {
    const kinds = this.requests().map(({ kind }) => kind);
    if (kinds.some((kind) => FRONT_KINDS.has(kind))) return 'front';
    return kinds.includes('PROJECT') ? 'projects' : 'rest';
  }
}

/** What a Scribe is asked for, to meet all of these wishes for one page. */
export function verbFor(requests: readonly PageRequest[]): Exclude<PageKind, 'DELPKG' | 'DELVER'> {
  const kinds = requests.map(({ kind }) => kind);
  if (kinds.includes('ROOT')) return 'ROOT';
  if (kinds.some((kind) => INDEX_KINDS.has(kind))) return 'PKG';
  if (kinds.includes('PROJECT')) return 'PROJECT';
  const [kind = 'PACK'] = kinds;
  return kind as Exclude<PageKind, 'DELPKG' | 'DELVER'>;
}
