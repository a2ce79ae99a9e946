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

/** Why a machine can do no more work now; undefined: it can. */
export function unfit(stats: Stats, thresholds: Thresholds): string | undefined {
  const [, diskFree, , memoryFree, load, temperature] = stats;
  if (diskFree < thresholds.diskFree)
    return `${megabytes(diskFree)} of disk are free, and ${megabytes(thresholds.diskFree)} are needed`;
  if (memoryFree < thresholds.memoryFree)
    return `${megabytes(memoryFree)} of memory are free, and ${megabytes(thresholds.memoryFree)} are needed`;
  if (thresholds.load > 0 && load > thresholds.load)
    return `its load is ${load.toFixed(1)}, and may be ${String(thresholds.load)}`;
  if (thresholds.temperature > 0 && temperature !== null && temperature > thresholds.temperature)
    return `it has ${temperature.toFixed(0)} °C, and may have ${String(thresholds.temperature)}`;
  return undefined;
}

const megabytes = (bytes: number): string => `${String(Math.floor(bytes / 1024 ** 2))} MB`;
