import { StringDecoder } from 'node:string_decoder';

/** A line that nobody has ended by now is told as it is. */
const MAX_LINE = 10_000;

/**
 * The output of a build: whole up to a limit in bytes; over it the first and the last half of the
 * limit, with a line between them that says how much is missing.
 */
export class BuildLog {
  readonly #half: number;
  readonly #onLine: (line: string) => void;
  readonly #decoder = new StringDecoder('utf8');
  readonly #head: Buffer[] = [];
  #headSize = 0;
  #tail: Buffer[] = [];
  #tailSize = 0;
  #missing = 0;
  #line = '';

  constructor(limit: number, onLine: (line: string) => void) {
    this.#half = Math.floor(limit / 2);
    this.#onLine = onLine;
  }

  add(data: Buffer): void {
    this.#tell(data);
    let rest = data;
    if (this.#headSize < this.#half) {
      const first = rest.subarray(0, this.#half - this.#headSize);
      this.#head.push(first);
      this.#headSize += first.length;
      rest = rest.subarray(first.length);
    }
    if (rest.length === 0) return;
    this.#tail.push(rest);
    this.#tailSize += rest.length;
    for (
      let first = this.#tail[0];
      first && this.#tailSize - first.length >= this.#half;
      first = this.#tail[0]
    ) {
      this.#tail.shift();
      this.#tailSize -= first.length;
      this.#missing += first.length;
    }
  }

  text(): string {
    const tail = Buffer.concat(this.#tail);
    const over = Math.max(0, tail.length - this.#half);
    const missing = this.#missing + over;
    const head = Buffer.concat(this.#head).toString('utf8');
    if (missing === 0) return head + tail.toString('utf8');
    return `${head}\npiw: ${String(missing)} bytes of the log are missing here\n${tail.subarray(over).toString('utf8')}`;
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
