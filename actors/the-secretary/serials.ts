/**
 * Gives out serials to pages that are about to be written, each once and higher than all before, and knows up
 * to which of them everything is written: a mirror that has seen that one has missed nothing.
 */
export class SerialAllocator {
  readonly #reserve: () => Promise<{ first: number; count: number }>;
  readonly #inFlight = new Set<number>();
  #next = 0;
  #end = 0;
  #reserving: Promise<void> | undefined;

  /** `reserve` gives serials that were never given to anyone. */
  constructor(reserve: () => Promise<{ first: number; count: number }>) {
    this.#reserve = reserve;
  }

  /** The next one. It is under way until it is done. Raises what `reserve` raises. */
  async allocate(): Promise<number> {
    while (this.#next >= this.#end) await this.#reserveOnce();
    const serial = this.#next;
    this.#next += 1;
    this.#inFlight.add(serial);
    return serial;
  }

  /** What was to be written under it is, or never will be. */
  complete(serial: number): void {
    this.#inFlight.delete(serial);
  }

  /** Every page that will ever have this serial or a lower one has it by now. Raises what `reserve` raises. */
  async settledSerial(): Promise<number> {
    // Whoever was at work before has given out lower ones than those that are reserved now.
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
