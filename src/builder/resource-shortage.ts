import type { MachineStats } from '../model/fields.js';

/** The resources that a machine must have left to get work; 0 means no threshold. */
export interface ResourceThresholds {
  /** Bytes. */
  readonly diskFree: number;
  readonly memoryFree: number;
  /** The maximum load average over one minute. */
  readonly load: number;
  /** Maximum, °C. */
  readonly temperature: number;
}

/** The resource that is beyond its threshold, and a sentence about it for people. */
export interface ResourceShortage {
  readonly of: 'disk' | 'memory' | 'load' | 'temperature';
  readonly text: string;
}

/** Returns the first resource that keeps a machine from taking work now; undefined if it can take work. */
export function findShortage(
  stats: MachineStats,
  thresholds: ResourceThresholds,
): ResourceShortage | undefined {
  const [, diskFree, , memoryFree, load, temperature] = stats;
  if (diskFree < thresholds.diskFree) return shortageOf('disk', diskFree, thresholds.diskFree);
  if (memoryFree < thresholds.memoryFree) return shortageOf('memory', memoryFree, thresholds.memoryFree);
  if (thresholds.load > 0 && load > thresholds.load)
    return { of: 'load', text: `load ${load.toFixed(1)} is above the limit of ${thresholds.load}` };
  if (thresholds.temperature > 0 && temperature !== null && temperature > thresholds.temperature)
    return {
      of: 'temperature',
      text: `temperature ${temperature.toFixed(0)} °C is above the limit of ${thresholds.temperature} °C`,
    };
  return undefined;
}

const shortageOf = (resource: ResourceShortage['of'], free: number, needed: number): ResourceShortage => ({
  of: resource,
  text: `${megabytes(free)} of free ${resource} is below the minimum of ${megabytes(needed)}`,
});

const megabytes = (bytes: number): string => `${Math.floor(bytes / 1024 ** 2)} MB`;
