import { StringDecoder } from 'node:string_decoder';
import { formatQuantity } from '../units.js';

/** A longer line is emitted before its end has arrived. */
const MAX_LINE_CHARS = 10_000;

/**
 * The output of a build: all of it up to a limit in bytes; beyond that the first and the last half of the limit, with
 * a line between them that says how much is missing. Uses no more memory than the limit.
 */
export class BuildLog {
  readonly #halfLimit: number;
  readonly #onLine: (line: string) => void;
  readonly #decoder = new StringDecoder('utf8');
  readonly #head: Buffer[] = [];
  #headSize = 0;
  /** The last half, as a ring buffer that is allocated when it is needed. */
  #ring: Buffer | undefined;
  /** How many bytes have been written to the ring. */
  #ringTotal = 0;
  #partialLine = '';
  #endsWithNewline = true;

  /** `limit` must be at least two bytes; `onLine` gets each nonempty line without its line ending. */
  constructor(limit: number, onLine: (line: string) => void) {
    this.#halfLimit = Math.floor(limit / 2);
    this.#onLine = onLine;
  }

  add(data: Buffer): void {
    this.#emitLines(data);
    this.#endsWithNewline = data.at(-1) === 0x0a;
    const first = data.subarray(0, this.#halfLimit - this.#headSize);
    if (first.length > 0) this.#head.push(first);
    this.#headSize += first.length;
    if (first.length < data.length) this.#appendToRing(data.subarray(first.length));
  }

  /** Adds a line of the builder. */
  note(line: string): void {
    this.add(Buffer.from(`${this.#endsWithNewline ? '' : '\n'}${line}\n`));
  }

  /**
   * Returns the log as text. Bytes that are not UTF-8, and NUL, which PostgreSQL's text can't hold, become `?`: U+FFFD
   * would take three bytes for one, and the log could exceed its limit.
   */
  text(): string {
    const missing = Math.max(0, this.#ringTotal - this.#halfLimit);
    const ring = this.#ring ?? Buffer.alloc(0);
    const start = this.#ringTotal % this.#halfLimit;
    const tail =
      missing > 0
        ? Buffer.concat([ring.subarray(start), ring.subarray(0, start)])
        : ring.subarray(0, this.#ringTotal);
    const parts =
      missing === 0
        ? [Buffer.concat([...this.#head, tail]).toString('utf8')]
        : [
            Buffer.concat(this.#head).toString('utf8'),
            `\npiw: ${formatQuantity(missing, 'byte of the log is', 'bytes of the log are')} missing here\n`,
            tail.toString('utf8'),
          ];
    return parts.join('').replace(/[\0\ufffd]/g, '?');
  }

  /** Copies the end of the data, as much as fits, into the ring. */
  #appendToRing(data: Buffer): void {
    this.#ring ??= Buffer.alloc(this.#halfLimit);
    const skipped = Math.max(0, data.length - this.#halfLimit);
    const at = (this.#ringTotal + skipped) % this.#halfLimit;
    const copied = data.copy(this.#ring, at, skipped);
    data.copy(this.#ring, 0, skipped + copied);
    this.#ringTotal += data.length;
  }

  #emitLines(data: Buffer): void {
    const lines = (this.#partialLine + this.#decoder.write(data)).split(/\r?\n|\r/);
    this.#partialLine = lines.pop() ?? '';
    for (const line of lines) if (line.trim() !== '') this.#onLine(line.slice(0, MAX_LINE_CHARS));
    if (this.#partialLine.length > MAX_LINE_CHARS) {
      this.#onLine(this.#partialLine.slice(0, MAX_LINE_CHARS));
      this.#partialLine = '';
    }
  }
}
