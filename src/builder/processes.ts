import { readFileSync, readdirSync } from 'node:fs';
import { readFile, readlink } from 'node:fs/promises';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';

/** The variable that marks the processes of a build: its value is the build's folder. */
export const BUILD_MARK_VARIABLE = 'PIW_BUILD';

/** How long to retry killing processes that do not die, or keep forking, milliseconds. */
const KILL_TIMEOUT_MS = 10_000;
const KILL_RETRY_INTERVAL_MS = 25;
/** How many processes are checked before the event loop gets a turn. */
const PROCESSES_PER_TICK = 200;

/**
 * Kills the remaining processes of the build in this folder (absolute, symbolic links resolved). A daemon leaves the
 * build's group and session, but inherits the variable that marks it; a process that was started with an empty
 * environment is recognised by its working or root directory if that is still in the folder. A process that has
 * dropped all three, or belongs to another user, is not found here: it dies with the sandbox's namespace, or the
 * reaper (reaper.ts) kills it. Does nothing on other systems than Linux. `since` is as for findBuildProcesses().
 * Returns the ids of the processes that are still there after ten seconds.
 */
export async function killBuildProcesses(folder: string, since = 0): Promise<readonly number[]> {
  if (process.platform !== 'linux') return [];
  const deadline = performance.now() + KILL_TIMEOUT_MS;
  for (;;) {
    const pids = await findBuildProcesses(folder, since);
    if (pids.length === 0 || performance.now() > deadline) return pids;
    for (const pid of pids) sendSignal(pid, 'SIGKILL');
    await sleep(KILL_RETRY_INTERVAL_MS);
  }
}

/** Sends a signal to a process, or to a process group if the id is negative; does nothing if it no longer exists. */
export function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    // EPERM: every process that is left under this id belongs to another user.
    if (!['ESRCH', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

/**
 * Returns the ids of the processes of the build in this folder, by the criteria of killBuildProcesses(). Skips
 * processes that started before `since` (in ticks, as from ticksSinceBoot()): reading a process's environment costs
 * several times as much as reading its start time, and no process of a build is older than the build.
 */
export async function findBuildProcesses(folder: string, since = 0): Promise<readonly number[]> {
  const pids: number[] = [];
  for (const [i, pid] of processIds().entries()) {
    // Let other work run.
    if (i % PROCESSES_PER_TICK === PROCESSES_PER_TICK - 1) await setImmediate();
    if (pid === process.pid || (since > 0 && Number(startTime(pid)) < since)) continue;
    if (await belongs(`/proc/${pid}`, folder)) pids.push(pid);
  }
  return pids;
}

/** Returns the ids of all processes that this process can see. */
export const processIds = (): readonly number[] =>
  listProcFolder('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);

/**
 * Reads a file of /proc; empty if it no longer exists or this user may not read it. Only for files that the kernel
 * generates at once without taking a lock of the process: for these a synchronous call costs a tenth of an
 * asynchronous one.
 */
export function readProcFile(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

/** Returns the names in a folder of /proc; none if it no longer exists. */
export function listProcFolder(path: string): readonly string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

/** Returns whether the process with this folder in /proc belongs to the build in `folder`. */
async function belongs(procFolder: string, folder: string): Promise<boolean> {
  // A process that can't be read belongs to another user, or has ended.
  const environment = await readFile(`${procFolder}/environ`, 'latin1').catch(() => '');
  // Paths are bytes, and latin1 keeps each byte.
  const mark = Buffer.from(`${BUILD_MARK_VARIABLE}=${folder}`).toString('latin1');
  if (environment.split('\0').includes(mark)) return true;
  for (const link of ['cwd', 'root']) {
    const path = await readlink(`${procFolder}/${link}`).catch(() => '');
    if (path === folder || path.startsWith(`${folder}/`)) return true;
  }
  return false;
}

/**
 * Returns the time since the machine's start in the unit of startTime(), hundredths of a second on every Linux; 0 if
 * unknown.
 */
export function ticksSinceBoot(): number {
  try {
    return Math.floor(Number(readFileSync('/proc/uptime', 'latin1').split(' ')[0]) * 100) || 0;
  } catch {
    return 0;
  }
}

/** Returns when a process started, in the kernel's ticks; `0` if unknown. Pid and start time identify it uniquely. */
export function startTime(pid: number): string {
  return readProcStat(pid)[19] ?? '0';
}

/** Returns whether the process with this id and start time still runs. */
export function isAlive(pid: number, startTicks: string): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  // A zombie is dead, too.
  const { 0: state, 19: start = '0' } = readProcStat(pid);
  return start === startTicks && state !== 'Z';
}

/** Returns the fields of /proc/PID/stat from the third (the state) on; none if the process can't be read. */
export function readProcStat(pid: number): readonly string[] {
  const stat = readProcFile(`/proc/${pid}/stat`);
  // The second field is the command in parentheses, and may contain any character.
  return stat === '' ? [] : stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}
