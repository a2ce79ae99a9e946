import { readFile, readdir, statfs } from 'node:fs/promises';
import { freemem, loadavg, totalmem } from 'node:os';
import type { Stats } from '../protocols/fields.js';

const ZONES = '/sys/class/thermal';

/** What this machine has left; of its disks, that which holds the folder. */
export async function machineStats(folder: string): Promise<Stats> {
  const { bsize, blocks, bavail } = await statfs(folder);
  const memory = [totalmem(), freemem()] as const;
  return [bsize * blocks, bsize * bavail, ...memory, loadavg()[0] ?? 0, await temperature()];
}

/** That of the hottest part, °C; null where the kernel tells none. */
async function temperature(): Promise<number | null> {
  const zones = (await readdir(ZONES).catch(() => [])).filter((name) => name.startsWith('thermal_zone'));
  const found = await Promise.all(
    // In thousandths. Some zones have no sensor behind them, and give an error or nonsense.
    zones.map(
      async (zone) => Number(await readFile(`${ZONES}/${zone}/temp`, 'latin1').catch(() => '')) / 1000,
    ),
  );
  const sound = found.filter((degrees) => degrees > 0 && degrees < 200);
  return sound.length === 0 ? null : Math.max(...sound);
}
