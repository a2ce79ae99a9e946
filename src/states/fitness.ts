import type { MachineStats } from '../protocols/fields.js';

/** What a machine must have left to be given work; 0: no threshold. */
export interface ResourceThresholds {
  /** Bytes. */
  readonly diskFree: number;
  readonly memoryFree: number;
  /** Processes that want to run, on average over a minute. */
  readonly load: number;
  /** °C. */
  readonly temperature: number;
}

/** What a machine is short of, or has too much of, and a sentence about it. */
export interface ResourceShortage {
  readonly of: 'disk' | 'memory' | 'load' | 'temperature';
  readonly text: string;
}

/** Why a machine can do no more work now; undefined: it can. */
export function findShortage(
  stats: MachineStats,
  thresholds: ResourceThresholds,
): ResourceShortage | undefined {
  const [, diskFree, , memoryFree, load, temperature] = stats;
  if (diskFree < thresholds.diskFree) return shortageOf('disk', diskFree, thresholds.diskFree);
  if (memoryFree < thresholds.memoryFree) return shortageOf('memory', memoryFree, thresholds.memoryFree);
  if (thresholds.load > 0 && load > thresholds.load)
    return { of: 'load', text: `its load is ${load.toFixed(1)}, and may be ${String(thresholds.load)}` };
  if (thresholds.temperature > 0 && temperature !== null && temperature > thresholds.temperature)
    return {
      of: 'temperature',
      text: `it has ${temperature.toFixed(0)} °C, and may have ${String(thresholds.temperature)}`,
    };
  return undefined;
}

const shortageOf = (resource: ResourceShortage['of'], free: number, needed: number): ResourceShortage => ({
  of: resource,
  text: `${megabytes(free)} of ${resource} are free, and ${megabytes(needed)} are needed`,
});

const megabytes = (bytes: number): string => `${String(Math.floor(bytes / 1024 ** 2))} MB`;
