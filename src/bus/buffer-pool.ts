/**
 * Large buffers that are used again. A new one for each piece of a file costs the collector more than the piece
 * costs anybody else.
 */
export class BufferPool {
  readonly #keep: number;
  readonly #slack: number;
  readonly #made = new WeakSet<ArrayBufferLike>();
  readonly #free: ArrayBuffer[] = [];

  /** So many are kept for others; one may be larger than what is asked for by less than `slack` bytes. */
  constructor(keep: number, slack = 1) {
    this.#keep = keep;
    this.#slack = slack;
  }

  /** Room for `size` bytes; what is in it is of no meaning. */
  take(size: number): ArrayBuffer {
    const at = this.#free.findIndex(
      ({ byteLength }) => byteLength >= size && byteLength < size + this.#slack,
    );
    const [known] = at < 0 ? [] : this.#free.splice(at, 1);
    if (known) return known;
    const made = new ArrayBuffer(size);
    this.#made.add(made);
    return made;
  }

  /** Whoever has these bytes is done with them; bytes that are none of take()'s are left alone. */
  giveBack({ buffer }: Uint8Array): void {
    if (!(buffer instanceof ArrayBuffer) || !this.#made.has(buffer)) return;
    if (this.#free.length < this.#keep && !this.#free.includes(buffer)) this.#free.push(buffer);
  }
}
