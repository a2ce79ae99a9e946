import { systemClock } from '../concurrency/clock.js';
import { withTimeLimit } from '../concurrency/time-limit.js';

/** Something that can be stopped. */
export interface Stoppable {
  /** Members of a wave are stopped at the same time, after those of all higher waves. */
  readonly wave: number;
  stop(): void;
  /** Ends it at once, if that is possible. */
  kill(): void;
  /** Resolves when it has ended. */
  readonly ended: Promise<unknown>;
}

interface WaveOptions {
  /** The time limit for all waves together; whatever is then still running is killed. */
  readonly limitMs: number;
  /** How much of that time is reserved for each later wave while an earlier one does not end. */
  readonly reserveMs: number | ((wave: number) => number);
  /** Stops all waves at once, if the order is of no use. */
  readonly atOnce?: boolean;
}

/** How long the kernel may take to end killed processes, milliseconds. */
const KILL_TIMEOUT_MS = 2000;

/**
 * Stops everything, wave by wave: each wave begins when the previous one has ended, or has used up the time that isn't
 * reserved for the rest. So a wave that hangs delays the others, but never the overall end.
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
  for (const [index, wave] of waves.entries()) {
    const members = items.filter((item) => atOnce || item.wave === wave);
    for (const item of members) item.stop();
    const laterReserves = waves
      .slice(index + 1)
      .map((laterWave) => (typeof reserveMs === 'number' ? reserveMs : reserveMs(laterWave)));
    const reserved = laterReserves.reduce((sum, ms) => sum + ms, 0);
    await waitForEnd(deadline - performance.now() - reserved, members);
  }
  await waitForEnd(deadline - performance.now(), items);
  for (const item of remaining) item.kill();
  await waitForEnd(KILL_TIMEOUT_MS, items);
}

/** Waits until all have ended, for at most `ms`. */
async function waitForEnd(ms: number, items: readonly Stoppable[]): Promise<void> {
  const ends = Promise.allSettled(items.map(({ ended }) => ended));
  await withTimeLimit(systemClock, ms, ends);
}
