import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { undefinedIfMissing } from '../files/disk.js';
import { lockFile } from './data-folder.js';
import { findRunningPid } from './process.js';

/** A farm of this user that runs on this machine. */
interface RunningFarm {
  readonly dataDir: string;
  /** The configuration for every other command of this user. */
  readonly configFile: string;
  readonly pid: number;
}

/** Returns the path of the configuration that `piw farm` writes, so that every other command finds its farm. */
export const farmConfigFile = (dataDir: string): string => join(dataDir, 'piwheels.conf');

export function defaultDataDir(): string {
  if (process.getuid?.() === 0) return '/var/lib/piw/farm';
  return join(process.env['XDG_DATA_HOME'] ?? join(homedir(), '.local', 'share'), 'piw');
}

/** Returns the folder of this user with a record of each farm that runs: a file with the path of its data folder. */
function recordsFolder(): string {
  const stateHome = process.env['XDG_STATE_HOME'];
  if (stateHome === undefined && process.getuid?.() === 0) return '/run/piw/farms';
  return join(stateHome ?? join(homedir(), '.local', 'state'), 'piw', 'farms');
}

/**
 * Records that a farm with this data folder runs, for the other commands of this user. Returns the function that
 * removes the record; undefined if this user has no folder for it. A farm that is killed leaves its record, which counts
 * only while the data folder is locked.
 */
export function recordFarm(dataDir: string): (() => void) | undefined {
  const folder = recordsFolder();
  const record = join(folder, createHash('sha256').update(dataDir).digest('hex').slice(0, 16));
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    writeFileSync(record, dataDir, { mode: 0o600 });
  } catch {
    return undefined;
  }
  return () => {
    rmSync(record, { force: true });
  };
}

/** Returns the farms of this user that run on this machine; the one that was started last is the first. */
export function runningFarms(): readonly RunningFarm[] {
  const folder = recordsFolder();
  const names = undefinedIfMissing(() => readdirSync(folder)) ?? [];
  const recorded = names.flatMap(
    (name) => undefinedIfMissing(() => readFileSync(join(folder, name), 'utf8')) ?? [],
  );
  return [...new Set([defaultDataDir(), ...recorded])]
    .flatMap((dataDir) => describeFarm(dataDir) ?? [])
    .sort((a, b) => b.startedAt - a.startedAt);
}

/** Returns the farm with this data folder; undefined if it doesn't run, or hasn't written its configuration yet. */
function describeFarm(dataDir: string): (RunningFarm & { readonly startedAt: number }) | undefined {
  try {
    const lock = lockFile(dataDir);
    const pid = findRunningPid(readFileSync(lock, 'utf8'));
    const configFile = farmConfigFile(dataDir);
    statSync(configFile);
    return pid === undefined ? undefined : { dataDir, configFile, pid, startedAt: statSync(lock).mtimeMs };
  } catch {
    // There is no farm, or it belongs to another user.
    return undefined;
  }
}
