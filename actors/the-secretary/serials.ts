/**
 * Gives out serials to pages that are about to be written, each once and higher than all before, and knows up
 * to which of them everything is written: a mirror that has seen that one has missed nothing.
 */
export class Serials {
  readonly #reserve: () => Promise<{ first: number; count: number }>;
  readonly #underWay = new Set<number>();
  #next = 0;
  #end = 0;
  #reserving: Promise<void> | undefined;

  /** `reserve` gives serials that were never given to anyone. */
  constructor(reserve: () => Promise<{ first: number; count: number }>) {
    this.#reserve = reserve;
  }

  /** The next one. It is under way until it is done. Raises what `reserve` raises. */
  async take(): Promise<number> {
    while (this.#next >= this.#end) await this.#reserved();
    const serial = this.#next;
    this.#next += 1;
    this.#underWay.add(serial);
    return serial;
  }

  /** What was to be written under it is, or never will be. */
  done(serial: number): void {
    this.#underWay.delete(serial);
  }

  /** Every page that will ever have this serial or a lower one has it by now. Raises what `reserve` raises. */
  async settled(): Promise<number> {
    // Whoever was at work before has given out lower ones than those that are reserved now.
    if (this.#end === 0) await this.#reserved();
    return (this.#underWay.size > 0 ? Math.min(...this.#underWay) : this.#next) - 1;
  }

  #reserved(): Promise<void> {
    this.#reserving ??= this.#more().finally(() => (this.#reserving = undefined));
    return this.#reserving;
  }

  async #more(): Promise<void> {
    const { first, count } = await this.#reserve();
    this.#next = first;
    this.#end = first + count;
  }
}
