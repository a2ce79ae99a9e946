/** Text is turned into bytes in pieces of about so many characters. */
const FLUSH_CHARS = 8192;
/** Room that is kept for the next page, bytes; what a larger one needs is given back. */
const MAX_RETAINED_BYTES = 4 * 1024 * 1024;

/**
 * A page on its way to the disk, as bytes. Of a page with a thousand files, half the time that it takes to be
 * rendered goes into the memory for it: so there is one such buffer for one page after the other.
 */
export class PageBuffer {
  #bytes = Buffer.allocUnsafeSlow(64 * 1024);
  #length = 0;
  #text = '';

  add(text: string): void {
    this.#text += text;
    if (this.#text.length >= FLUSH_CHARS) this.#flush();
  }

  /** How many bytes it has by now. */
  get length(): number {
    this.#flush();
    return this.#length;
  }

  /** What it has by now; it is another's once the buffer is cleared. */
  get bytes(): Buffer {
    this.#flush();
    return this.#bytes.subarray(0, this.#length);
  }

  clear(): void {
    this.#text = '';
    this.#length = 0;
    if (this.#bytes.length > MAX_RETAINED_BYTES) this.#bytes = Buffer.allocUnsafeSlow(MAX_RETAINED_BYTES);
  }

  #flush(): void {
    const maxLength = this.#length + this.#text.length * 3;
    if (maxLength > this.#bytes.length) {
      const larger = Buffer.allocUnsafeSlow(maxLength * 2);
      this.#bytes.copy(larger, 0, 0, this.#length);
      this.#bytes = larger;
    }
    this.#length += this.#bytes.write(this.#text, this.#length, 'utf8');
    this.#text = '';
  }
}
