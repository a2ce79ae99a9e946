import type { StatsFs } from 'node:fs';
import { readFile, readdir, statfs } from 'node:fs/promises';
import { freemem, loadavg, totalmem } from 'node:os';
import { dirname } from 'node:path';
import type { MachineStats } from '../model/fields.js';
import { codeOf } from '../files/disk.js';

const THERMAL_FOLDER = '/sys/class/thermal';

/** Returns what this machine has left. Its disk is the one that holds the folder, or will when the folder exists. */
export async function machineStats(folder: string): Promise<MachineStats> {
  const { bsize, blocks, bavail } = await diskStats(folder);
  const memory = [totalmem(), freemem()] as const;
  return [
    clampToSafeInteger(bsize * blocks),
    clampToSafeInteger(bsize * bavail),
    ...memory,
    loadavg()[0] ?? 0,
    await temperature(),
  ];
}

/**
 * Returns the size and free space of the folder's disk. If the system has removed a temporary folder, asks for the
 * one above it, until the next build creates it again. Reports a disk that can't be asked as full.
 */
async function diskStats(folder: string): Promise<Pick<StatsFs, 'bsize' | 'blocks' | 'bavail'>> {
  try {
    return await statfs(folder);
  } catch (error) {
    if (codeOf(error) !== 'ENOENT' || dirname(folder) === folder) return { bsize: 1, blocks: 0, bavail: 0 };
    return await diskStats(dirname(folder));
  }
}

/** Limits a size to what a message can hold: network file systems may report more. */
const clampToSafeInteger = (number: number): number => Math.min(number, Number.MAX_SAFE_INTEGER);

/** Returns the temperature of the hottest zone, °C; null if the kernel reports none. */
async function temperature(): Promise<number | null> {
  const zones = (await readdir(THERMAL_FOLDER).catch(() => [])).filter((name) =>
    name.startsWith('thermal_zone'),
  );
  const readings = await Promise.all(
    // In thousandths of a degree. Some zones have no sensor and return an error or nonsense.
    zones.map(
      async (zone) =>
        Number(await readFile(`${THERMAL_FOLDER}/${zone}/temp`, 'latin1').catch(() => '')) / 1000,
    ),
  );
  const plausible = readings.filter((degrees) => degrees > 0 && degrees < 200);
  return plausible.length === 0 ? null : Math.max(...plausible);
}
