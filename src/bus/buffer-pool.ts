/**
 * A pool of large buffers. Allocating a new one for each chunk of a file costs more in garbage collection than all
 * other work on the chunk.
 */
export class BufferPool {
  readonly #maxFree: number;
  readonly #slack: number;
  readonly #owned = new WeakSet<ArrayBufferLike>();
  readonly #free: ArrayBuffer[] = [];

  /** Keeps up to `maxFree` released buffers; a reused one is less than `slack` bytes larger than the size requested. */
  constructor(maxFree: number, slack = 1) {
    this.#maxFree = maxFree;
    this.#slack = slack;
  }

  /** Returns a buffer of at least `size` bytes, with undefined contents. */
  acquire(size: number): ArrayBuffer {
    const index = this.#free.findIndex(
      ({ byteLength }) => byteLength >= size && byteLength < size + this.#slack,
    );
    const [reused] = index < 0 ? [] : this.#free.splice(index, 1);
    if (reused) return reused;
    const buffer = new ArrayBuffer(size);
    this.#owned.add(buffer);
    return buffer;
  }

  /** Returns these bytes to the pool; bytes that acquire() did not allocate are ignored. */
  release({ buffer }: Uint8Array): void {
    if (!(buffer instanceof ArrayBuffer) || !this.#owned.has(buffer)) return;
    if (this.#free.length < this.#maxFree && !this.#free.includes(buffer)) this.#free.push(buffer);
  }
}
