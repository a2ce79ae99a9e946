import { StringDecoder } from 'node:string_decoder';

/** A line that nobody has ended by now is told as it is. */
const MAX_LINE = 10_000;

/**
 * The output of a build: whole up to a limit in bytes; over it the first and the last half of the
 * limit, with a line between them that says how much is missing. It takes no more memory than that.
 */
export class BuildLog {
  readonly #half: number;
  readonly #onLine: (line: string) => void;
  readonly #decoder = new StringDecoder('utf8');
  readonly #head: Buffer[] = [];
  #headSize = 0;
  /** The last half, as a ring that is made when it is needed. */
  #ring: Buffer | undefined;
  /** Bytes that have gone into the ring. */
  #rung = 0;
  #line = '';
  #endsLine = true;

  /** A limit of at least two bytes; `onLine` hears each line that isn't empty, without its end. */
  constructor(limit: number, onLine: (line: string) => void) {
    this.#half = Math.floor(limit / 2);
    this.#onLine = onLine;
  }

  add(data: Buffer): void {
    this.#tell(data);
    this.#endsLine = data.at(-1) === 0x0a;
    const first = data.subarray(0, this.#half - this.#headSize);
    if (first.length > 0) this.#head.push(first);
    this.#headSize += first.length;
    if (first.length < data.length) this.#keep(data.subarray(first.length));
  }

  /** Adds a line of the builder's own. */
  note(line: string): void {
    this.add(Buffer.from(`${this.#endsLine ? '' : '\n'}${line}\n`));
  }

  /**
   * The log as text. What is no UTF-8 is `?`, and so is NUL, which PostgreSQL's text hasn't: as U+FFFD each would
   * take three bytes where there was one, and the log be over its limit.
   */
  text(): string {
    const missing = Math.max(0, this.#rung - this.#half);
    const ring = this.#ring ?? Buffer.alloc(0);
    const start = this.#rung % this.#half;
    const tail =
      missing > 0
        ? Buffer.concat([ring.subarray(start), ring.subarray(0, start)])
        : ring.subarray(0, this.#rung);
    const pieces =
      missing === 0
        ? [Buffer.concat([...this.#head, tail]).toString('utf8')]
        : [
            Buffer.concat(this.#head).toString('utf8'),
            `\npiw: ${String(missing)} bytes of the log are missing here\n`,
            tail.toString('utf8'),
          ];
    return pieces.join('').replace(/[\0\ufffd]/g, '?');
  }

  /** Copies into the ring what fits, which is the end of it. */
  #keep(data: Buffer): void {
    this.#ring ??= Buffer.alloc(this.#half);
    const skipped = Math.max(0, data.length - this.#half);
    const at = (this.#rung + skipped) % this.#half;
    const copied = data.copy(this.#ring, at, skipped);
    data.copy(this.#ring, 0, skipped + copied);
    this.#rung += data.length;
  }

  #tell(data: Buffer): void {
    const lines = (this.#line + this.#decoder.write(data)).split(/\r?\n|\r/);
    this.#line = lines.pop() ?? '';
    for (const line of lines) if (line.trim() !== '') this.#onLine(line.slice(0, MAX_LINE));
    if (this.#line.length > MAX_LINE) {
      this.#onLine(this.#line.slice(0, MAX_LINE));
      this.#line = '';
    }
  }
}
