import { readFile, statfs } from 'node:fs/promises';
import type { Ending, Limits } from './limits.js';
import { descendantsOf, processesOf } from './processes.js';

/** How often a build is looked at, milliseconds. */
const INTERVAL_MS = 1000;

/** A build that runs: its folder, and the process that it began with. */
export interface Watched {
  readonly folder: string;
  readonly pid: number;
}

/**
 * Looks after a build until it is told to stop, and tells which limit it went over: of free disk, of processes,
 * of memory. Processes and memory are what Linux tells of those that bear the build's mark or descend from its
 * first process; elsewhere only the disk is watched.
 */
export function watch(build: Watched, limits: Limits, over: (ending: Ending) => void): () => void {
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  const look = async (): Promise<void> => {
    // What can't be found out now, for want of open files, say, is looked at again.
    const ending = await exceeded(build, limits).catch(() => undefined);
    if (stopped) return;
    if (ending !== undefined) over(ending);
    else timer = setTimeout(again, INTERVAL_MS);
  };
  const again = (): void => {
    void look();
  };
  timer = setTimeout(again, INTERVAL_MS);
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}

/** The limit that a build is over at the moment. */
async function exceeded({ folder, pid }: Watched, limits: Limits): Promise<Ending | undefined> {
  if (limits.diskFree > 0 && (await freeDisk(folder)) < limits.diskFree) return 'disk';
  if (process.platform !== 'linux' || (limits.processes === 0 && limits.memory === 0)) return undefined;
  const processes = new Set([...(await processesOf(folder)), ...(await descendantsOf(pid))]);
  if (limits.processes > 0 && processes.size > limits.processes) return 'processes';
  if (limits.memory === 0) return undefined;
  let memory = 0;
  for (const one of processes) memory += await ownMemory(one);
  return memory > limits.memory ? 'memory' : undefined;
}

/** Bytes that are left to this user; where nothing tells, no end of them. */
async function freeDisk(folder: string): Promise<number> {
  const { bsize, bavail } = await statfs(folder).catch(() => ({ bsize: 1, bavail: Infinity }));
  return bsize * bavail;
}

/**
 * Bytes of memory that would be free if this process ended, roughly: what it shares with its parent since
 * a fork is counted for each of them, and the files that it has mapped for none.
 */
async function ownMemory(pid: number): Promise<number> {
  const status = await readFile(`/proc/${String(pid)}/status`, 'latin1').catch(() => '');
  return [/^RssAnon:\s*(\d+) kB$/m, /^RssShmem:\s*(\d+) kB$/m]
    .map((line) => Number(line.exec(status)?.[1] ?? 0) * 1024)
    .reduce((sum, bytes) => sum + bytes, 0);
}
