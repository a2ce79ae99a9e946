import { readFileSync } from 'node:fs';
import { PiwError, errorMessage } from '../errors.js';
import { parseWatchEntries, type WatchedProject } from './watch.js';

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
  readonly names: ReadonlyMap<string, WatchedProject>;
  /** What follows from it: `names` can be looked at one by one; for the rest the index is followed. */
  readonly scope: 'nothing' | 'names' | 'patterns' | 'all';
  /** What its file held; null: it was made without reading one. */
  readonly contents: string | null;
  readonly #patterns: readonly RegExp[];

  /** Of an entry that stood in the list `before`, what was learnt since is kept. */
  constructor(
    entries: readonly string[],
    options: { empty: 'nothing' | 'all'; contents: string | null; before?: WatchList },
  ) {
    this.names = new Map(
      parseWatchEntries(entries.filter((entry) => !isPattern(entry))).map((watched) => {
        const previous = options.before?.names.get(watched.name);
        return [watched.name, previous && isSameEntry(previous, watched) ? previous : watched];
      }),
    );
    this.#patterns = entries.filter(isPattern).map(toPattern);
    if (this.#patterns.length > 0) this.scope = 'patterns';
    else this.scope = this.names.size > 0 ? 'names' : options.empty;
    this.contents = options.contents;
  }

  has(name: string): boolean {
    return this.scope === 'all' || this.names.has(name) || this.#patterns.some((one) => one.test(name));
  }

  /** For people. */
  toString(): string {
    if (this.scope === 'all') return 'all of the index';
    if (this.scope === 'nothing') return 'nothing';
    const named = `${String(this.names.size)} packages by name`;
    if (this.scope === 'names') return named;
    return `${named}, with all of their releases, and ${String(this.#patterns.length)} patterns of names`;
  }
}

/**
 * The watch list as it is now, which is the one `before` if its file hasn't changed. Raises
 * PIW_BAD_REQUIREMENT, or PIW_WATCH_FILE where it is the file that can't be read or has a bad line.
 */
export function readWatchList(settings: WatchSettings, before?: WatchList): WatchList {
  const { entries, only, file } = settings;
  const contents = file === null ? '' : readContents(file);
  if (before?.contents === contents) return before;
  const listed = file === null ? [] : parseEntries(contents, file);
  const empty = only || file !== null ? 'nothing' : 'all';
  return new WatchList([...entries, ...listed], { empty, contents, ...(before ? { before } : {}) });
}

function readContents(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new PiwError('PIW_WATCH_FILE', `the watch list can't be read: ${errorMessage(error)}`, {
      cause: error,
    });
  }
}

/** One entry a line; `#` begins a comment. */
function parseEntries(contents: string, file: string): readonly string[] {
  return contents.split(/\r?\n/).flatMap((line, i) => {
    const entry = line.replace(/(^|\s)#.*$/, '').trim();
    if (entry === '') return [];
    try {
      if (isPattern(entry)) toPattern(entry);
      else parseWatchEntries([entry]);
    } catch (error) {
      throw new PiwError('PIW_WATCH_FILE', `${file}, line ${String(i + 1)}: ${errorMessage(error)}`, {
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

const isSameEntry = (a: WatchedProject, b: WatchedProject): boolean =>
  a.follow === b.follow && a.versions.join(' ') === b.versions.join(' ');
