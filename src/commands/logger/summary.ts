import type { LogCountResult } from '../../weblog/counting.js';
import { addTally, emptyTally, type Tally } from '../../weblog/stretch.js';

/** What `--json` prints. */
export interface LoggerResult {
  readonly lines: number;
  readonly downloads: number;
  /** Reads of packages' pages of the simple index. */
  readonly index_pages: number;
  readonly projects: number;
  readonly json: number;
  readonly pages: number;
  /** Downloads of files that aren't here, which are among the downloads. */
  readonly unknown: number;
  /** Lines that couldn't be read, and the first of them: in which log, after how many bytes of it. */
  readonly bad: number;
  readonly first_bad: { readonly log: string; readonly byte: number; readonly text: string } | null;
  /** Lines that could be read and are of nothing that is counted. */
  readonly other: number;
  /** Downloads of wheels at paths where this farm has none, which are not counted, and the first request of them. */
  readonly elsewhere: number;
  readonly first_elsewhere: string | null;
  /** Lines that were let go. */
  readonly dropped: number;
  /** Lines that the farm refused. */
  readonly refused: number;
  /** Bytes that are left in the spool. */
  readonly spooled: number;
  /** Bytes of what the logs hold, uncompressed: counted before, and now. */
  readonly files: readonly { readonly name: string; readonly before: number; readonly counted: number }[];
}

/** What one run of piw logger came to. */
export class LoggerSummary {
  /** Something that was asked for wasn't done. */
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

  addFile(name: string, outcome: LogCountResult): void {
    this.add(name, outcome);
    this.#files.push({ name, before: outcome.before, counted: outcome.upto - outcome.before });
  }

  result(): LoggerResult {
    const { lines, bad, entries, elsewhere, firstElsewhere } = this.#tally;
    const { downloads, searches, projects, json, pages } = entries;
    const other = lines - bad - elsewhere - (downloads + searches + projects + json + pages);
    return {
      ...{ lines, downloads, index_pages: searches, projects, json, pages },
      ...{ unknown: this.#unknown, bad, first_bad: this.#firstBad },
      ...{ other, elsewhere, first_elsewhere: firstElsewhere ?? null },
      ...{ dropped: this.dropped, refused: this.#refused, spooled: this.spooled, files: this.#files },
    };
  }

  /** The same for people. */
  text(): readonly string[] {
    const { lines, downloads, index_pages, projects, json, pages, other } = this.result();
    const { unknown, bad, elsewhere, first_elsewhere, refused } = this.result();
    const messages = [
      `${pluralize(lines, 'line')}: ${pluralize(downloads, 'download')}, ${pluralize(index_pages, 'index page')}, ` +
        `${pluralize(projects, 'project page')}, ${pluralize(json, 'JSON page')}, ${pluralize(pages, 'other page')}, ` +
        `${pluralize(other, 'request')} of no kind that is counted.`,
    ];
    if (elsewhere > 0)
      messages.push(
        `${pluralize(elsewhere, 'download')} of wheels at paths where this farm has none were not counted; the first is ` +
          `${first_elsewhere ?? ''}. If they are this farm's, give --path-prefix.`,
      );
    if (unknown > 0)
      messages.push(`${pluralize(unknown, 'download')} of files that are not here were passed over.`);
    if (bad > 0 && this.#firstBad) {
      const { log, byte, text } = this.#firstBad;
      messages.push(
        `${pluralize(bad, 'line')} could not be read; the first is in ${log}, after ${pluralize(byte, 'byte')}: ${text}`,
      );
    }
    if (refused > 0) messages.push(`${pluralize(refused, 'line')} were refused: ${this.#refusal ?? ''}.`);
    if (this.dropped > 0) messages.push(`${pluralize(this.dropped, 'line')} were let go.`);
    return messages;
  }
}

function pluralize(count: number, noun: string): string {
  return `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`;
}
