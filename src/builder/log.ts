import { StringDecoder } from 'node:string_decoder';

/** A line that nobody has ended by now is told as it is. */
const MAX_LINE_CHARS = 10_000;

/**
 * The output of a build: whole up to a limit in bytes; over it the first and the last half of the
 * limit, with a line between them that says how much is missing. It takes no more memory than that.
 */
export class BuildLog {
  readonly #halfLimit: number;
  readonly #onLine: (line: string) => void;
  readonly #decoder = new StringDecoder('utf8');
  readonly #head: Buffer[] = [];
  #headSize = 0;
  /** The last half, as a ring that is made when it is needed. */
  #ring: Buffer | undefined;
  /** Bytes that have gone into the ring. */
  #ringTotal = 0;
  #partialLine = '';
  #endsWithNewline = true;

  /** A limit of at least two bytes; `onLine` hears each line that isn't empty, without its end. */
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

  /** Adds a line of the builder's own. */
  note(line: string): void {
    this.add(Buffer.from(`${this.#endsWithNewline ? '' : '\n'}${line}\n`));
  }

  /**
   * The log as text. What is no UTF-8 is `?`, and so is NUL, which PostgreSQL's text hasn't: as U+FFFD each would
   * take three bytes where there was one, and the log be over its limit.
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
            `\npiw: ${String(missing)} bytes of the log are missing here\n`,
            tail.toString('utf8'),
          ];
    return parts.join('').replace(/[\0\ufffd]/g, '?');
  }

  /** Copies into the ring what fits, which is the end of it. */
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
