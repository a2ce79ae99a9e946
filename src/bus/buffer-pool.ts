/**
 * Large buffers that are used again. A new one for each piece of a file costs the collector more than the piece
 * costs anybody else.
 */
export class BufferPool {
  readonly #maxFree: number;
  readonly #slack: number;
  readonly #owned = new WeakSet<ArrayBufferLike>();
  readonly #free: ArrayBuffer[] = [];

  /** So many are kept for others; one may be larger than what is asked for by less than `slack` bytes. */
  constructor(maxFree: number, slack = 1) {
    this.#maxFree = maxFree;
    this.#slack = slack;
  }

  /** Room for `size` bytes; what is in it is of no meaning. */
  acquire(size: number): ArrayBuffer {
    const at = this.#free.findIndex(
      ({ byteLength }) => byteLength >= size && byteLength < size + this.#slack,
    );
    const [reused] = at < 0 ? [] : this.#free.splice(at, 1);
    if (reused) return reused;
    const made = new ArrayBuffer(size);
    this.#owned.add(made);
    return made;
  }

  /** Whoever has these bytes is done with them; bytes that are none of take()'s are left alone. */
  release({ buffer }: Uint8Array): void {
    if (!(buffer instanceof ArrayBuffer) || !this.#owned.has(buffer)) return;
    if (this.#free.length < this.#maxFree && !this.#free.includes(buffer)) this.#free.push(buffer);
  }
}
