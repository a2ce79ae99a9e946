import { readFile, readdir } from 'node:fs/promises';
import { processIds, statOf } from './processes.js';

/** The children of each process of a tree; every process of it is a key. */
export type ProcessTree = ReadonlyMap<number, readonly number[]>;

/**
 * Returns the processes that this one has started and those that they have, with this one, whatever they have shed
 * of what marks them. Orphans are among them where they become children of this one or of one below it: below a
 * reaper, and in a process namespace. Costs a look at these processes alone, and not at all of the machine's.
 */
export async function treeOf(root: number): Promise<ProcessTree> {
  const children = (await kernelListsChildren()) ? childrenOf : await childrenByParent();
  const tree = new Map<number, readonly number[]>();
  for (let next: readonly number[] = [root]; next.length > 0;) {
    const found: number[] = [];
    for (const pid of next) {
      // A process that changes its parent while this reads could be seen in two places.
      const own = (await children(pid)).filter((child) => !tree.has(child) && !found.includes(child));
      tree.set(pid, own);
      found.push(...own);
    }
    next = found;
  }
  return tree;
}

/** Returns the children of each of a process's threads, in /proc/PID/task/TID/children. */
async function childrenOf(pid: number): Promise<readonly number[]> {
  const threads = await readdir(`/proc/${String(pid)}/task`).catch(() => []);
  const lists = await Promise.all(
    threads.map((thread) =>
      readFile(`/proc/${String(pid)}/task/${thread}/children`, 'latin1').catch(() => ''),
    ),
  );
  return lists.flatMap((list) => list.split(' ')).flatMap((word) => (word === '' ? [] : [Number(word)]));
}

let listed: Promise<boolean> | undefined;

/** Whether this kernel was built with CONFIG_PROC_CHILDREN. */
function kernelListsChildren(): Promise<boolean> {
  const own = `/proc/self/task/${String(process.pid)}/children`;
  listed ??= readFile(own).then(
    () => true,
    () => false,
  );
  return listed;
}

/** Asks every process of the machine for its parent. */
async function childrenByParent(): Promise<(pid: number) => Promise<readonly number[]>> {
  const children = new Map<number, number[]>();
  for (const pid of await processIds()) {
    const parent = Number((await statOf(pid))[1] ?? 0);
    children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  return (pid) => Promise.resolve(children.get(pid) ?? []);
}
