import { readFileSync } from 'node:fs';
import { PiwError, errorMessage } from '../errors.js';
import { parseWatchEntries, type WatchedProject } from './watch.js';
import { formatQuantity } from '../units.js';

/** What to follow on an index. An entry is NAME, NAME==VERSION, or a pattern of names with `*` and `?`. */
export interface WatchSettings {
  readonly entries: readonly string[];
  /** Without any entry, nothing is followed; if false, the whole index is. */
  readonly only: boolean;
  /** A file with more entries, one per line. With a file, too, nothing is followed if there is no entry. */
  readonly file: string | null;
}

const isPattern = (entry: string): boolean => /[*?]/.test(entry);

/** An immutable watch list; when its file changes, a new one replaces it. */
export class WatchList {
  /** The projects that entries name. */
  readonly names: ReadonlyMap<string, WatchedProject>;
  /** How to follow it: projects of `names` are polled one by one; otherwise the index as a whole is followed. */
  readonly scope: 'nothing' | 'names' | 'patterns' | 'all';
  /** The contents of its file; null if it was made without reading one. */
  readonly contents: string | null;
  readonly #patterns: readonly RegExp[];

  /** Entries that are also in the list `before` keep their state, such as ETags. */
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
    return (
      this.scope === 'all' || this.names.has(name) || this.#patterns.some((pattern) => pattern.test(name))
    );
  }

  /** Returns a description for people. */
  toString(): string {
    if (this.scope === 'all') return 'the whole index';
    if (this.scope === 'nothing') return 'nothing';
    const named = `${formatQuantity(this.names.size, 'package')} by name`;
    if (this.scope === 'names') return named;
    return `${named}, with all releases, and ${formatQuantity(this.#patterns.length, 'pattern')} of names`;
  }
}

/**
 * Reads the watch list; returns `before` if the file hasn't changed. Throws PIW_BAD_REQUIREMENT for an invalid entry, and
 * PIW_WATCH_FILE if the file can't be read or has an invalid line.
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

/** Parses one entry per line; `#` begins a comment. */
function parseEntries(contents: string, file: string): readonly string[] {
  return contents.split(/\r?\n/).flatMap((line, i) => {
    const entry = line.replace(/(^|\s)#.*$/, '').trim();
    if (entry === '') return [];
    try {
      if (isPattern(entry)) toPattern(entry);
      else parseWatchEntries([entry]);
    } catch (error) {
      throw new PiwError('PIW_WATCH_FILE', `${file}, line ${i + 1}: ${errorMessage(error)}`, {
        cause: error,
      });
    }
    return [entry];
  });
}

/** Returns the pattern as a regular expression for normalised names (PEP 503). Throws PIW_BAD_REQUIREMENT. */
function toPattern(entry: string): RegExp {
  if (!/^[A-Za-z0-9._*?-]+$/.test(entry)) {
    throw new PiwError(
      'PIW_BAD_REQUIREMENT',
      `${JSON.stringify(entry.slice(0, 100))} is not a valid pattern of names`,
    );
  }
  const normalised = entry.replace(/[-_.]+/g, '-').toLowerCase();
  return new RegExp(`^${normalised.replaceAll('*', '.*').replaceAll('?', '.')}$`);
}

const isSameEntry = (a: WatchedProject, b: WatchedProject): boolean =>
  a.follow === b.follow && a.versions.join(' ') === b.versions.join(' ');
