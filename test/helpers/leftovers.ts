import { readFileSync, readdirSync } from 'node:fs';

interface LeftoverProcess {
  readonly pid: number;
  readonly command: string;
}

function readOrNull(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // The process has ended, or is another user's and therefore not ours.
    return null;
  }
}

/**
 * Returns the processes with `environmentEntry` (NAME=value) in their environment, which a process inherits from its
 * parent, and those of the process group `group`; without zombies. Needs /proc; without it the list is empty.
 */
export function descendants(environmentEntry: string, group: number): LeftoverProcess[] {
  const processes: LeftoverProcess[] = [];
  for (const entry of readOrNull('/proc/self/stat') === null ? [] : readdirSync('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const stat = readOrNull(`/proc/${entry}/stat`);
    if (stat === null) continue;
    const [state, , processGroup] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (state === 'Z' || state === 'X') continue;
    const inheritsEntry =
      readOrNull(`/proc/${entry}/environ`)?.split('\0').includes(environmentEntry) ?? false;
    if (!inheritsEntry && Number(processGroup) !== group) continue;
    processes.push({
      pid,
      command: (readOrNull(`/proc/${entry}/cmdline`) ?? '').replaceAll('\0', ' ').trim(),
    });
  }
  return processes;
}
