import { allProcesses } from './proc.js';

interface LeftoverProcess {
  readonly pid: number;
  readonly command: string;
}

/**
 * Returns the processes with `environmentEntry` (NAME=value) in their environment, which a process inherits from its
 * parent, and those of the process group `group`; without zombies. Needs /proc; without it the list is empty.
 */
export function descendants(environmentEntry: string, group: number): LeftoverProcess[] {
  return allProcesses()
    .filter(({ pid }) => pid !== process.pid)
    .filter(({ state }) => state !== undefined && state !== 'Z' && state !== 'X')
    .filter((entry) => entry.group === group || entry.environment.split('\0').includes(environmentEntry))
    .map(({ pid, words }) => ({ pid, command: words.join(' ').trim() }));
}
