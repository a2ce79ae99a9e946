const PROGRESS_INTERVAL_MS = 500;

/** A progress line on the terminal, redrawn in place. */
export class ProgressLine {
  readonly #enabled: boolean;
  #lastShownAt = 0;
  #width = 0;

  constructor(enabled: boolean) {
    this.#enabled = enabled;
  }

  /** Shows what `text` returns, unless the line was redrawn a moment ago. */
  show(text: () => string): void {
    const now = performance.now();
    if (!this.#enabled || now - this.#lastShownAt < PROGRESS_INTERVAL_MS) return;
    this.#lastShownAt = now;
    const line = text();
    process.stderr.write(`\r${line.padEnd(this.#width)}`);
    this.#width = line.length;
  }

  clear(): void {
    if (this.#width > 0) process.stderr.write(`\r${' '.repeat(this.#width)}\r`);
    this.#width = 0;
  }
}
