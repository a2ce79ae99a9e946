import { existsSync } from 'node:fs';
import { readProcFile, listProcFolder, processIds, readProcStat } from './processes.js';

/** The children of each process of a tree; every process of it is a key. */
export type ProcessTree = ReadonlyMap<number, readonly number[]>;

/**
 * Returns the processes that this one has started and those that they have, with this one, whatever they have shed
 * of what marks them. Orphans are among them where they become children of this one or of one below it: below a
 * reaper, and in a process namespace. Costs a look at these processes alone, and not at all of the machine's.
 */
export function treeOf(root: number): ProcessTree {
  const children = kernelListsChildren() ? childrenOf : childrenByParent();
  const tree = new Map<number, readonly number[]>();
  for (let generation: readonly number[] = [root]; generation.length > 0;) {
    const nextGeneration: number[] = [];
    for (const pid of generation) {
      // A process that changes its parent while this reads could be seen in two places.
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

/** Returns the children of each of a process's threads, in /proc/PID/task/TID/children. */
function childrenOf(pid: number): readonly number[] {
  return listProcFolder(`/proc/${String(pid)}/task`)
    .flatMap((thread) => readProcFile(`/proc/${String(pid)}/task/${thread}/children`).split(' '))
    .flatMap((word) => (word === '' ? [] : [Number(word)]));
}

let childrenFileExists: boolean | undefined;

/** Whether this kernel was built with CONFIG_PROC_CHILDREN. */
const kernelListsChildren = (): boolean =>
  (childrenFileExists ??= existsSync(`/proc/self/task/${String(process.pid)}/children`));

/** Asks every process of the machine for its parent. */
function childrenByParent(): (pid: number) => readonly number[] {
  const children = new Map<number, number[]>();
  for (const pid of processIds()) {
    const parent = Number(readProcStat(pid)[1] ?? 0);
    children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  return (pid) => children.get(pid) ?? [];
}
