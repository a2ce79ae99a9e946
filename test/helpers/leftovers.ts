import { readFileSync, readdirSync } from 'node:fs';

export interface Leftover {
  readonly pid: number;
  readonly command: string;
}

function read(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // It ended meanwhile, or is another user's: then it isn't ours.
    return null;
  }
}

/**
 * The processes that descend from one that was started with `mark` (as NAME=value) in its environment, or
 * that are in its process group. Zombies are none. Only where there is /proc; elsewhere the answer is empty.
 */
export function descendants(mark: string, group: number): Leftover[] {
  const found: Leftover[] = [];
  for (const entry of read('/proc/self/stat') === null ? [] : readdirSync('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const stat = read(`/proc/${entry}/stat`);
    if (stat === null) continue;
    const [state, , processGroup] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (state === 'Z' || state === 'X') continue;
    const marked = read(`/proc/${entry}/environ`)?.split('\0').includes(mark) ?? false;
    if (!marked && Number(processGroup) !== group) continue;
    found.push({ pid, command: (read(`/proc/${entry}/cmdline`) ?? '').replaceAll('\0', ' ').trim() });
  }
  return found;
}
