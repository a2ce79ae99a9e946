import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * Returns how many processes the kernel has killed so far for lack of memory: in this process's cgroup, which builds
 * share (cgroup v2), else on the whole machine (Linux 4.13 and later); undefined if neither is known.
 */
export async function oomKills(root = '/'): Promise<number | undefined> {
  const cgroup = /^0::(\/.*)$/m.exec(await readOrEmpty(join(root, 'proc/self/cgroup')))?.[1];
  const events =
    cgroup === undefined ? '' : await readOrEmpty(join(root, 'sys/fs/cgroup', cgroup, 'memory.events'));
  const sources = [events, await readOrEmpty(join(root, 'proc/vmstat'))];
  for (const source of sources) {
    const count = /^oom_kill (\d+)$/m.exec(source)?.[1];
    if (count !== undefined) return Number(count);
  }
  return undefined;
}

const readOrEmpty = (path: string): Promise<string> => readFile(path, 'latin1').catch(() => '');
