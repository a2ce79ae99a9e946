import { existsSync } from 'node:fs';
import { readProcFile, listProcFolder, processIds, readProcStat } from './processes.js';

/** The children of each process in a tree; every process in the tree is a key. */
export type ProcessTree = ReadonlyMap<number, readonly number[]>;

/**
 * Returns this process and all of its descendants, even those that have dropped the build's mark. Orphans are
 * included if they become children of this process or of a descendant: below a reaper and in a PID namespace. Reads
 * only these processes, not all of the machine's.
 */
export function treeOf(root: number): ProcessTree {
  const children = kernelListsChildren() ? childrenOf : childrenByParent();
  const tree = new Map<number, readonly number[]>();
  for (let generation: readonly number[] = [root]; generation.length > 0;) {
    const nextGeneration: number[] = [];
    for (const pid of generation) {
      // A process whose parent changes during the scan could appear twice.
      const newChildren = children(pid).filter(
        (child) => !tree.has(child) && !nextGeneration.includes(child),
      );
      tree.set(pid, newChildren);
      nextGeneration.push(...newChildren);
    }
    generation = nextGeneration;
  }
  return tree;
}

/** Returns the children of a process: those of each of its threads, from /proc/PID/task/TID/children. */
function childrenOf(pid: number): readonly number[] {
  return listProcFolder(`/proc/${pid}/task`)
    .flatMap((thread) => readProcFile(`/proc/${pid}/task/${thread}/children`).split(' '))
    .flatMap((id) => (id === '' ? [] : [Number(id)]));
}

let childrenFileExists: boolean | undefined;

/** Returns whether this kernel was built with CONFIG_PROC_CHILDREN. */
const kernelListsChildren = (): boolean =>
  (childrenFileExists ??= existsSync(`/proc/self/task/${process.pid}/children`));

/** Reads the parent of every process of the machine, and returns a function from a process to its children. */
function childrenByParent(): (pid: number) => readonly number[] {
  const children = new Map<number, number[]>();
  for (const pid of processIds()) {
    const parent = Number(readProcStat(pid)[1] ?? 0);
    children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  return (pid) => children.get(pid) ?? [];
}
