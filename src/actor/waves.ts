/** Something that can be told to end. */
export interface Stoppable {
  /** Members of a wave are stopped at the same time, those of a higher wave before those of a lower one. */
  readonly wave: number;
  stop(): void;
  /** Ends it at once, where that is possible. */
  kill(): void;
  /** Resolves when it has ended. */
  readonly ended: Promise<unknown>;
}

export interface WaveOptions {
  /** All of it takes no longer than this; then whatever is left is killed. */
  readonly limitMs: number;
  /** What is left for each later wave when one doesn't end. */
  readonly reserveMs: number | ((wave: number) => number);
  /** Nothing is gained by the order: all are told at once. */
  readonly atOnce?: boolean;
}

/** How long the kernel may take to end what was killed, milliseconds. */
const KILLED_MS = 2000;

/**
 * Stops everything, wave by wave: the next one begins when the last has ended, or when it has used up the time that
 * isn't reserved for the rest. So a wave that hangs delays the others, and never the end of it all.
 */
export async function stopInWaves(items: readonly Stoppable[], options: WaveOptions): Promise<void> {
  const { limitMs, reserveMs, atOnce = false } = options;
  const end = performance.now() + limitMs;
  const waves = [...new Set(items.map(({ wave }) => (atOnce ? 0 : wave)))].sort((a, b) => b - a);
  const left = new Set(items);
  for (const item of items)
    void item.ended
      .catch(() => undefined)
      .then(() => {
        left.delete(item);
      });
  for (const [at, wave] of waves.entries()) {
    const members = items.filter((item) => atOnce || item.wave === wave);
    for (const item of members) item.stop();
    const later = waves
      .slice(at + 1)
      .map((one) => (typeof reserveMs === 'number' ? reserveMs : reserveMs(one)));
    const reserved = later.reduce((sum, ms) => sum + ms, 0);
    await within(end - performance.now() - reserved, members);
  }
  await within(end - performance.now(), items);
  for (const item of left) item.kill();
  await within(KILLED_MS, items);
}

/** Waits until all have ended, for at most `ms`. */
async function within(ms: number, items: readonly Stoppable[]): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, Math.max(0, ms));
  });
  await Promise.race([Promise.allSettled(items.map(({ ended }) => ended)), late]);
  clearTimeout(timer);
}
