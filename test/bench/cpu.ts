import { allProcesses } from '../helpers/proc.js';

/** Returns the CPU seconds that these processes and their descendants have used, by task or by the root's name. */
export function cpuSeconds(roots: Readonly<Record<string, number | undefined>>): Map<string, number> {
  const processes = allProcesses().map(({ pid, parent, cpuSeconds, task }) => ({
    pid,
    parent,
    cpuSeconds,
    task,
  }));
  const parents = new Map(processes.map(({ pid, parent }) => [pid, parent]));
  const secondsByLabel = new Map<string, number>();
  for (const { pid, cpuSeconds, task } of processes) {
    for (
      let ancestor: number | undefined = pid, depth = 0;
      ancestor !== undefined && ancestor > 1 && depth < 10;
      depth += 1
    ) {
      const root = Object.entries(roots).find(([, rootPid]) => rootPid === ancestor)?.[0];
      if (root !== undefined) {
        const name = task ?? root;
        secondsByLabel.set(name, (secondsByLabel.get(name) ?? 0) + cpuSeconds);
        break;
      }
      ancestor = parents.get(ancestor);
    }
  }
  return secondsByLabel;
}
