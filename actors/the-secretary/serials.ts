/**
 * Allocates serials to pages that are about to be written, each once and higher than all before, and knows up
 * to which serial everything is written: a mirror that has seen that one has missed nothing.
 */
export class SerialAllocator {
  readonly #reserve: () => Promise<{ first: number; count: number }>;
  readonly #inFlight = new Set<number>();
  #next = 0;
  #end = 0;
  #reserving: Promise<void> | undefined;

  /** `reserve` returns a range of serials that were never allocated. */
  constructor(reserve: () => Promise<{ first: number; count: number }>) {
    this.#reserve = reserve;
  }

  /** Returns the next serial, which is in flight until `complete`. Throws what `reserve` throws. */
  async allocate(): Promise<number> {
    while (this.#next >= this.#end) await this.#reserveOnce();
    const serial = this.#next;
    this.#next += 1;
    this.#inFlight.add(serial);
    return serial;
  }

  /** Ends a serial: its page is written, or never will be. */
  complete(serial: number): void {
    this.#inFlight.delete(serial);
  }

  /**
   * Returns a serial such that every page that will ever have this one or a lower one is already written.
   * Throws what `reserve` throws.
   */
  async settledSerial(): Promise<number> {
    // A previous Secretary has allocated lower serials than those reserved now.
    if (this.#end === 0) await this.#reserveOnce();
    return (this.#inFlight.size > 0 ? Math.min(...this.#inFlight) : this.#next) - 1;
  }

  #reserveOnce(): Promise<void> {
    this.#reserving ??= this.#reserveMore().finally(() => (this.#reserving = undefined));
    return this.#reserving;
  }

  async #reserveMore(): Promise<void> {
    const { first, count } = await this.#reserve();
    this.#next = first;
    this.#end = first + count;
  }
}
