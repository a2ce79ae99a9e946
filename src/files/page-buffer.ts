/** Text is encoded as soon as this many characters have accumulated. */
const FLUSH_CHARS = 8192;
/** Memory that is kept for the next page, bytes. clear() releases what a larger page needed. */
const MAX_RETAINED_BYTES = 4 * 1024 * 1024;

/**
 * Collects the bytes of a page before it is written. Allocating memory takes half of the time that a page with a
 * thousand files needs to be rendered, so one buffer is reused for many pages.
 */
export class PageBuffer {
  #bytes = Buffer.allocUnsafeSlow(64 * 1024);
  #length = 0;
  #text = '';

  add(text: string): void {
    this.#text += text;
    if (this.#text.length >= FLUSH_CHARS) this.#flush();
  }

  /** The number of bytes added so far. */
  get length(): number {
    this.#flush();
    return this.#length;
  }

  /** The bytes added so far: a view that is valid until clear(). */
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
