import type { Stats } from '../protocols/fields.js';

/** What a machine must have left to be given work; 0: no threshold. */
export interface Thresholds {
  /** Bytes. */
  readonly diskFree: number;
  readonly memoryFree: number;
  /** Processes that want to run, on average over a minute. */
  readonly load: number;
  /** °C. */
  readonly temperature: number;
}

/** What a machine is short of, or has too much of, and a sentence about it. */
export interface Unfit {
  readonly of: 'disk' | 'memory' | 'load' | 'temperature';
  readonly text: string;
}

/** Why a machine can do no more work now; undefined: it can. */
export function unfit(stats: Stats, thresholds: Thresholds): Unfit | undefined {
  const [, diskFree, , memoryFree, load, temperature] = stats;
  if (diskFree < thresholds.diskFree) return short('disk', diskFree, thresholds.diskFree);
  if (memoryFree < thresholds.memoryFree) return short('memory', memoryFree, thresholds.memoryFree);
  if (thresholds.load > 0 && load > thresholds.load)
    return { of: 'load', text: `its load is ${load.toFixed(1)}, and may be ${String(thresholds.load)}` };
  if (thresholds.temperature > 0 && temperature !== null && temperature > thresholds.temperature)
    return {
      of: 'temperature',
      text: `it has ${temperature.toFixed(0)} °C, and may have ${String(thresholds.temperature)}`,
    };
  return undefined;
}

const short = (of: Unfit['of'], free: number, needed: number): Unfit => ({
  of,
  text: `${megabytes(free)} of ${of} are free, and ${megabytes(needed)} are needed`,
});

const megabytes = (bytes: number): string => `${String(Math.floor(bytes / 1024 ** 2))} MB`;
