import type { LogCountResult } from '../../weblog/counting.js';
import { addTally, emptyTally, type Tally } from '../../weblog/stretch.js';
import { formatQuantity } from '../../units.js';

/** Output of `--json`. */
export interface LoggerResult {
  readonly lines: number;
  readonly downloads: number;
  /** Requests for packages' pages in the simple index. */
  readonly index_pages: number;
  readonly projects: number;
  readonly json: number;
  readonly pages: number;
  /** Downloads of files that the farm does not have; `downloads` includes them. */
  readonly unknown: number;
  /** Lines that could not be parsed, and the first of them: its log, and its byte offset in that. */
  readonly bad: number;
  readonly first_bad: { readonly log: string; readonly byte: number; readonly text: string } | null;
  /** Valid lines of requests that are of no counted kind. */
  readonly other: number;
  /** Downloads of wheels outside the site's paths, which are not counted, and the first such request. */
  readonly elsewhere: number;
  readonly first_elsewhere: string | null;
  /** Lines that were dropped. */
  readonly dropped: number;
  /** Lines that the farm refused. */
  readonly refused: number;
  /** Bytes left in the spool. */
  readonly spooled: number;
  /** Uncompressed bytes of each log that were counted before, and by this run. */
  readonly files: readonly { readonly name: string; readonly before: number; readonly counted: number }[];
}

/** Totals of one run of piw logger. */
export class LoggerSummary {
  /** Whether something was not done, so that the exit code is 1. */
  failed = false;
  dropped = 0;
  spooled = 0;
  readonly #tally: Tally = emptyTally();
  #unknown = 0;
  #refused = 0;
  #refusal: string | undefined;
  #firstBad: LoggerResult['first_bad'] = null;
  readonly #files: LoggerResult['files'][number][] = [];

  add(name: string, { tally, unknown, refused, refusal }: Omit<LogCountResult, 'before' | 'upto'>): void {
    const { firstBad } = tally;
    if (firstBad) this.#firstBad ??= { log: name, byte: firstBad.at, text: firstBad.text };
    addTally(this.#tally, tally);
    this.#unknown += unknown;
    this.#refused += refused;
    this.#refusal ??= refusal;
    if (refused > 0) this.failed = true;
  }

  addFile(name: string, result: LogCountResult): void {
    this.add(name, result);
    this.#files.push({ name, before: result.before, counted: result.upto - result.before });
  }

  result(): LoggerResult {
    const { lines, bad, entries, elsewhere, firstElsewhere } = this.#tally;
    const { downloads, 'index-pages': indexPages, projects, json, pages } = entries;
    const other = lines - bad - elsewhere - (downloads + indexPages + projects + json + pages);
    return {
      lines,
      downloads,
      index_pages: indexPages,
      projects,
      json,
      pages,
      unknown: this.#unknown,
      bad,
      first_bad: this.#firstBad,
      other,
      elsewhere,
      first_elsewhere: firstElsewhere ?? null,
      dropped: this.dropped,
      refused: this.#refused,
      spooled: this.spooled,
      files: this.#files,
    };
  }

  /** Returns the summary as sentences for people. */
  text(): readonly string[] {
    const { lines, downloads, index_pages, projects, json, pages, other } = this.result();
    const { unknown, bad, elsewhere, first_elsewhere, refused } = this.result();
    const messages = [
      `${formatQuantity(lines, 'line')}: ${formatQuantity(downloads, 'download')}, ${formatQuantity(index_pages, 'index page')}, ` +
        `${formatQuantity(projects, 'project page')}, ${formatQuantity(json, 'JSON page')}, ${formatQuantity(pages, 'other page')}, ` +
        `${formatQuantity(other, 'request')} of other kinds, not counted.`,
    ];
    if (elsewhere > 0)
      messages.push(
        `Not counted: ${formatQuantity(elsewhere, 'download')} of wheels outside the paths of this farm's site, the first being ` +
          `${first_elsewhere ?? ''}. If they belong to this farm, set --path-prefix.`,
      );
    if (unknown > 0)
      messages.push(
        `Not counted: ${formatQuantity(unknown, 'download')} of files that this farm does not have.`,
      );
    if (bad > 0 && this.#firstBad) {
      const { log, byte, text } = this.#firstBad;
      messages.push(
        `Not counted: ${formatQuantity(bad, 'line')} that could not be parsed, the first in ${log} at byte ${byte.toLocaleString('en')}: ${text}`,
      );
    }
    if (refused > 0)
      messages.push(
        `Not counted: ${formatQuantity(refused, 'line')} that the farm refused: ${this.#refusal ?? ''}.`,
      );
    if (this.dropped > 0)
      messages.push(`Not counted: ${formatQuantity(this.dropped, 'line')} that were dropped.`);
    return messages;
  }
}
