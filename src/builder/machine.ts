import type { StatsFs } from 'node:fs';
import { readFile, readdir, statfs } from 'node:fs/promises';
import { freemem, loadavg, totalmem } from 'node:os';
import { dirname } from 'node:path';
import type { MachineStats } from '../protocols/fields.js';
import { codeOf } from '../wheels/disk.js';

const THERMAL_FOLDER = '/sys/class/thermal';

/** What this machine has left; of its disks, that which holds the folder, or will when it is made. */
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
 * Something clears temporary folders away: builds make theirs anew, and until then it is the one above. A disk that
 * can't be asked has no room.
 */
async function diskStats(folder: string): Promise<Pick<StatsFs, 'bsize' | 'blocks' | 'bavail'>> {
  try {
    return await statfs(folder);
  } catch (error) {
    if (codeOf(error) !== 'ENOENT' || dirname(folder) === folder) return { bsize: 1, blocks: 0, bavail: 0 };
    return await diskStats(dirname(folder));
  }
}

/** Network file systems may say that they are larger than what a message can hold. */
const clampToSafeInteger = (number: number): number => Math.min(number, Number.MAX_SAFE_INTEGER);

/** That of the hottest part, °C; null where the kernel tells none. */
async function temperature(): Promise<number | null> {
  const zones = (await readdir(THERMAL_FOLDER).catch(() => [])).filter((name) =>
    name.startsWith('thermal_zone'),
  );
  const readings = await Promise.all(
    // In thousandths. Some zones have no sensor behind them, and give an error or nonsense.
    zones.map(
      async (zone) =>
        Number(await readFile(`${THERMAL_FOLDER}/${zone}/temp`, 'latin1').catch(() => '')) / 1000,
    ),
  );
  const sound = readings.filter((degrees) => degrees > 0 && degrees < 200);
  return sound.length === 0 ? null : Math.max(...sound);
}
