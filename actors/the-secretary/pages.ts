import type { PageLane } from '../../src/protocols/oracle.js';

/** What can be wished for: the name of a row in the backlog, whose argument says of what. */
export type Kind =
  'PKG' | 'PROJECT' | 'DELPKG' | 'DELVER' | 'PACK' | 'LOG' | 'SEARCH' | 'SITEMAP' | 'HOME' | 'ROOT';

/** A wish for a page. Its note is higher each time that the same is wished for. */
export interface Wish {
  readonly kind: Kind;
  readonly argument: string;
  readonly note: number;
}

/** The kinds that are about a package, whose pages are in one pair of hands at a time. */
const OF_PACKAGE: ReadonlySet<Kind> = new Set(['PKG', 'PROJECT', 'DELPKG', 'DELVER', 'PACK']);
/** Those that change the simple index, which people install from. */
const OF_INDEX: ReadonlySet<Kind> = new Set(['PKG', 'DELPKG', 'DELVER']);
const FRONT: ReadonlySet<Kind> = new Set([...OF_INDEX, 'HOME', 'ROOT']);

/** Those that are kept in the database; the rest is due after every start of a Secretary, or comes again by itself. */
export const KEPT: ReadonlySet<Kind> = new Set([...OF_PACKAGE, 'LOG']);

/** Those that show all packages, and may take long. */
export const ALL: ReadonlySet<Kind> = new Set(['ROOT', 'SEARCH', 'SITEMAP']);

/** The name of the simple index' root, among the pages. */
export const ROOT = 'the root index';

/** The name of the page, or of the pages that belong together, that a wish is about. PACK of nothing is of the root. */
export function pageOf(kind: Kind, argument: string): string {
  if (OF_PACKAGE.has(kind)) return argument === '' ? ROOT : `the pages of ${packageOf(argument)}`;
  return kind === 'ROOT' ? ROOT : `${kind} ${argument}`.trimEnd();
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
export class Page {
  readonly #wishes = new Map<string, Wish>();
  readonly #told: { readonly key: string; readonly note: number; readonly tell: () => void }[] = [];
  at: number;
  state: 'waiting' | 'ready' | 'writing' = 'waiting';
  /** Where it waits for its turn, once it is ready. */
  queued: PageLane | undefined;
  tries = 0;
  /** Its empty page goes once that root has been written, by number; 0: it has none that is to go. */
  afterRoot = 0;

  constructor(
    readonly key: string,
    at: number,
  ) {
    this.at = at;
  }

  /** Nothing is done if it is no news. */
  wish(wish: Wish): void {
    const key = `${wish.kind} ${wish.argument}`;
    const known = this.#wishes.get(key);
    if (!known || known.note < wish.note) this.#wishes.set(key, wish);
  }

  /** Calls `tell` when that wish is met. */
  whenMet({ kind, argument, note }: Wish, tell: () => void): void {
    this.#told.push({ key: `${kind} ${argument}`, note, tell });
  }

  /** What is to be met by writing it now. */
  wishes(): readonly Wish[] {
    return [...this.#wishes.values()];
  }

  /** They are met, and what they stood for is forgotten, unless it has been wished for again. */
  met(wishes: readonly Wish[]): void {
    for (const { kind, argument, note } of wishes) {
      const key = `${kind} ${argument}`;
      if (this.#wishes.get(key)?.note === note) this.#wishes.delete(key);
      for (const one of this.#told.filter((told) => told.key === key && told.note <= note)) {
        this.#told.splice(this.#told.indexOf(one), 1);
        one.tell();
      }
    }
  }

  /** Somebody waits for it. */
  get urgent(): boolean {
    return this.#told.length > 0;
  }

  get unmet(): boolean {
    return this.#wishes.size > 0;
  }

  /** Where it belongs, by what is wished for now. */
  get lane(): PageLane {
    const kinds = this.wishes().map(({ kind }) => kind);
    if (kinds.some((kind) => FRONT.has(kind))) return 'front';
    return kinds.includes('PROJECT') ? 'projects' : 'rest';
  }
}

/** What a Scribe is asked for, to meet all of these wishes for one page. */
export function verbFor(wishes: readonly Wish[]): Exclude<Kind, 'DELPKG' | 'DELVER'> {
  const kinds = wishes.map(({ kind }) => kind);
  if (kinds.includes('ROOT')) return 'ROOT';
  if (kinds.some((kind) => OF_INDEX.has(kind))) return 'PKG';
  if (kinds.includes('PROJECT')) return 'PROJECT';
  const [kind = 'PACK'] = kinds;
  return kind as Exclude<Kind, 'DELPKG' | 'DELVER'>;
}
