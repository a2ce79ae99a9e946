import { readFileSync, readdirSync } from 'node:fs';

/** The kernel's clock ticks per second (USER_HZ), on every Linux. */
const TICKS_PER_S = 100;

interface ProcessStat {
  readonly parent: number;
  readonly seconds: number;
  readonly label: string;
}

function readStat(pid: number): ProcessStat | undefined {
  try {
    const text = readFileSync(`/proc/${String(pid)}/stat`, 'utf8');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const words = readFileSync(`/proc/${String(pid)}/cmdline`, 'utf8').split('\0');
    const actor = words.findIndex((word) => word.endsWith('/actor-process.js'));
    return {
      parent: Number(fields[1]),
      // utime + stime of the process itself.
      seconds: (Number(fields[11]) + Number(fields[12])) / TICKS_PER_S,
      label: actor > 0 ? (words[actor + 1] ?? 'actor') : '',
    };
  } catch {
    // The process has ended.
    return undefined;
  }
}

/** Returns the CPU seconds that these processes and their descendants have used, by task or by the root's name. */
export function cpuSeconds(roots: Readonly<Record<string, number | undefined>>): Map<string, number> {
  const stats = new Map<number, ProcessStat>();
  for (const name of readdirSync('/proc')) {
    const processStat = /^\d+$/.test(name) ? readStat(Number(name)) : undefined;
    if (processStat) stats.set(Number(name), processStat);
  }
  const secondsByLabel = new Map<string, number>();
  for (const [pid, { seconds, label }] of stats) {
    for (
      let ancestor: number | undefined = pid, depth = 0;
      ancestor !== undefined && ancestor > 1 && depth < 10;
      depth += 1
    ) {
      const root = Object.entries(roots).find(([, rootPid]) => rootPid === ancestor)?.[0];
      if (root !== undefined) {
        const name = label === '' ? root : label;
        secondsByLabel.set(name, (secondsByLabel.get(name) ?? 0) + seconds);
        break;
      }
      ancestor = stats.get(ancestor)?.parent;
    }
  }
  return secondsByLabel;
}
