import { readFileSync } from 'node:fs';
import { PiwError, reason } from '../errors.js';
import { watchList, type Watched } from './watch.js';

/** Of an index is followed what these name: NAME, NAME==VERSION, or a pattern of names with `*` and `?`. */
export interface WatchSettings {
  readonly entries: readonly string[];
  /** Without an entry nothing is followed, and not all of the index. */
  readonly only: boolean;
  /** A file with more of them, one a line; with it, too, no entry means nothing. */
  readonly file: string | null;
}

const isPattern = (entry: string): boolean => /[*?]/.test(entry);

/** A watch list as it was read. Where it changes, another takes its place. */
export class WatchList {
  /** The projects that are named. */
  readonly names: ReadonlyMap<string, Watched>;
  /** What follows from it: `names` can be looked at one by one; for the rest the index is followed. */
  readonly follows: 'nothing' | 'names' | 'patterns' | 'all';
  /** What its file held; null: it was made without reading one. */
  readonly contents: string | null;
  readonly #patterns: readonly RegExp[];

  /** Of an entry that stood in the list `before`, what was learnt since is kept. */
  constructor(
    entries: readonly string[],
    its: { empty: 'nothing' | 'all'; contents: string | null; before?: WatchList },
  ) {
    this.names = new Map(
      watchList(entries.filter((entry) => !isPattern(entry))).map((watched) => {
        const known = its.before?.names.get(watched.name);
        return [watched.name, known && saysTheSame(known, watched) ? known : watched];
      }),
    );
    this.#patterns = entries.filter(isPattern).map(toPattern);
    if (this.#patterns.length > 0) this.follows = 'patterns';
    else this.follows = this.names.size > 0 ? 'names' : its.empty;
    this.contents = its.contents;
  }

  has(name: string): boolean {
    return this.follows === 'all' || this.names.has(name) || this.#patterns.some((one) => one.test(name));
  }

  /** For people. */
  toString(): string {
    if (this.follows === 'all') return 'all of the index';
    if (this.follows === 'nothing') return 'nothing';
    const named = `${String(this.names.size)} packages by name`;
    if (this.follows === 'names') return named;
    return `${named}, with all of their releases, and ${String(this.#patterns.length)} patterns of names`;
  }
}

/**
 * The watch list as it is now, which is the one `before` if its file hasn't changed. Raises
 * PIW_BAD_REQUIREMENT, or PIW_WATCH_FILE where it is the file that can't be read or has a bad line.
 */
export function readWatchList(settings: WatchSettings, before?: WatchList): WatchList {
  const { entries, only, file } = settings;
  const contents = file === null ? '' : read(file);
  if (before?.contents === contents) return before;
  const listed = file === null ? [] : entriesOf(contents, file);
  const empty = only || file !== null ? 'nothing' : 'all';
  return new WatchList([...entries, ...listed], { empty, contents, ...(before ? { before } : {}) });
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new PiwError('PIW_WATCH_FILE', `the watch list can't be read: ${reason(error)}`, { cause: error });
  }
}

/** One entry a line; `#` begins a comment. */
function entriesOf(contents: string, file: string): readonly string[] {
  return contents.split(/\r?\n/).flatMap((line, i) => {
    const entry = line.replace(/(^|\s)#.*$/, '').trim();
    if (entry === '') return [];
    try {
      if (isPattern(entry)) toPattern(entry);
      else watchList([entry]);
    } catch (error) {
      throw new PiwError('PIW_WATCH_FILE', `${file}, line ${String(i + 1)}: ${reason(error)}`, {
        cause: error,
      });
    }
    return [entry];
  });
}

/** Names are compared in the one spelling that PEP 503 gives them, so the pattern has to be in it, too. */
function toPattern(entry: string): RegExp {
  if (!/^[A-Za-z0-9._*?-]+$/.test(entry)) {
    throw new PiwError(
      'PIW_BAD_REQUIREMENT',
      `${JSON.stringify(entry.slice(0, 100))} is no pattern of names`,
    );
  }
  const normalised = entry.replace(/[-_.]+/g, '-').toLowerCase();
  return new RegExp(`^${normalised.replaceAll('*', '.*').replaceAll('?', '.')}$`);
}

const saysTheSame = (a: Watched, b: Watched): boolean =>
  a.follow === b.follow && a.versions.join(' ') === b.versions.join(' ');
