import { readFileSync, readdirSync } from 'node:fs';
import { readFile, readlink } from 'node:fs/promises';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';

/** The variable by which the processes of a build are known: its value is the build's folder. */
export const BUILD_MARK_VARIABLE = 'PIW_BUILD';

/** How long processes that won't die, or that breed, are gone after, milliseconds. */
const KILL_TIMEOUT_MS = 10_000;
const KILL_RETRY_INTERVAL_MS = 25;
/** Of how many processes is asked in one go when they began. */
const PROCESSES_PER_TICK = 200;

/**
 * Kills what is left of the build in this folder (absolute, without links), wherever it went: a process
 * that makes itself a daemon leaves the build's group and session, but inherits the variable that marks
 * it, like any other; and one that was started with an empty environment is known by its working or root
 * directory if that is still in the folder. One that has shed all three isn't found here, nor one of another
 * user's: those die with the namespace of a sandbox, or by the reaper (reaper.ts) where there is none. Linux alone
 * tells these things; elsewhere nothing is done. `since` is as for processesOf(). Returns the ids of those that are
 * still there after ten seconds.
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

/** Sends a signal to a process, or with a negative id to a group; one that is gone is no error. */
export function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    // EPERM: all that is left under that id is another user's.
    if (!['ESRCH', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

/**
 * Returns the ids of the processes of the build in this folder, as far as killProcessesOf() knows them. Those that
 * began before `since` (as ticksSinceBoot() counts) are passed over: reading what a process is costs several times
 * as much as reading when it began, and a build's own are all younger than it.
 */
export async function findBuildProcesses(folder: string, since = 0): Promise<readonly number[]> {
  const pids: number[] = [];
  for (const [i, pid] of processIds().entries()) {
    // Others get their turn meanwhile.
    if (i % PROCESSES_PER_TICK === PROCESSES_PER_TICK - 1) await setImmediate();
    if (pid === process.pid || (since > 0 && Number(startTime(pid)) < since)) continue;
    if (await belongs(`/proc/${String(pid)}`, folder)) pids.push(pid);
  }
  return pids;
}

/** Returns the ids of all processes that this one can see. */
export const processIds = (): readonly number[] =>
  listProcFolder('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);

/**
 * Returns a file of /proc; empty if it is not there any more, or not for this user. For those that the kernel writes
 * at once, without a lock of the process that it tells of: then a synchronous call costs a tenth of any other.
 */
export function readProcFile(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

/** Returns the names in a folder of /proc; none if it is not there any more. */
export function listProcFolder(path: string): readonly string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

async function belongs(entry: string, folder: string): Promise<boolean> {
  // What can't be read is another user's, or has ended.
  const environment = await readFile(`${entry}/environ`, 'latin1').catch(() => '');
  // Paths are bytes, and latin1 keeps each as it is.
  const mark = Buffer.from(`${BUILD_MARK_VARIABLE}=${folder}`).toString('latin1');
  if (environment.split('\0').includes(mark)) return true;
  for (const link of ['cwd', 'root']) {
    const path = await readlink(`${entry}/${link}`).catch(() => '');
    if (path === folder || path.startsWith(`${folder}/`)) return true;
  }
  return false;
}

/**
 * Returns the time since the machine's start in the unit of startTime(), hundredths of a second on every Linux; 0
 * where nothing tells.
 */
export function ticksSinceBoot(): number {
  try {
    return Math.floor(Number(readFileSync('/proc/uptime', 'latin1').split(' ')[0]) * 100) || 0;
  } catch {
    return 0;
  }
}

/** When a process began, in the kernel's ticks: with its id this names it for good. `0` where nothing tells. */
export function startTime(pid: number): string {
  return readProcStat(pid)[19] ?? '0';
}

/** Whether the process with this id and start time still runs. */
export function isAlive(pid: number, startTicks: string): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  // One that nobody has waited for is dead, too.
  const { 0: state, 19: start = '0' } = readProcStat(pid);
  return start === startTicks && state !== 'Z';
}

/** The fields of /proc/PID/stat from the third, the state, on; empty where nothing tells. */
export function readProcStat(pid: number): readonly string[] {
  const stat = readProcFile(`/proc/${String(pid)}/stat`);
  // The second is the command, in parentheses, and may hold anything.
  return stat === '' ? [] : stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}
