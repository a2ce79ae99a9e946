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
const KILL_TIMEOUT_MS = 2000;

/**
 * Stops everything, wave by wave: the next one begins when the last has ended, or when it has used up the time that
 * isn't reserved for the rest. So a wave that hangs delays the others, and never the end of it all.
 */
export async function stopInWaves(items: readonly Stoppable[], options: WaveOptions): Promise<void> {
  const { limitMs, reserveMs, atOnce = false } = options;
  const deadline = performance.now() + limitMs;
  const waves = [...new Set(items.map(({ wave }) => (atOnce ? 0 : wave)))].sort((a, b) => b - a);
  const remaining = new Set(items);
  for (const item of items)
    void item.ended
      .catch(() => undefined)
      .then(() => {
        remaining.delete(item);
      });
  for (const [at, wave] of waves.entries()) {
    const members = items.filter((item) => atOnce || item.wave === wave);
    for (const item of members) item.stop();
    const laterReserves = waves
      .slice(at + 1)
      .map((one) => (typeof reserveMs === 'number' ? reserveMs : reserveMs(one)));
    const reserved = laterReserves.reduce((sum, ms) => sum + ms, 0);
    await waitForEnd(deadline - performance.now() - reserved, members);
  }
  await waitForEnd(deadline - performance.now(), items);
  for (const item of remaining) item.kill();
  await waitForEnd(KILL_TIMEOUT_MS, items);
}

/** Waits until all have ended, for at most `ms`. */
async function waitForEnd(ms: number, items: readonly Stoppable[]): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, Math.max(0, ms));
  });
  await Promise.race([Promise.allSettled(items.map(({ ended }) => ended)), late]);
  clearTimeout(timer);
}
