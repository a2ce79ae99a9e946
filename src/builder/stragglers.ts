import { readFile, readdir, readlink } from 'node:fs/promises';
import type { ProcessTree } from './process-tree.js';
import { readProcStat } from './processes.js';

/** A process that keeps pip waiting for output that nobody needs. */
export interface Straggler {
  readonly pid: number;
  /** Its command line, for people. */
  readonly command: string;
}

/** Command lines are strangers' work. */
const MAX_COMMAND_CHARS = 200;

/**
 * Finds processes that hold a build up after its work is done: a daemon or a background job that a build backend has
 * left behind, and that still has the pipe open in which the backend wrote what it prints. pip reads that pipe to its
 * end, and only then asks how the backend ended; until then the backend is a zombie.
 *
 * So: a child of a pip is a zombie in two looks one after the other (what pip only hasn't read yet, it has read by
 * then), and another process of the build can write into a pipe that this pip reads from. What has become of the
 * hook is settled by then, so nothing that the straggler does could change it.
 */
export class StragglerDetector {
  /** The zombies of the last look. */
  #previousZombies: ReadonlySet<number> = new Set();

  /** `others` finds processes of the build that may be outside the tree; it is called only when one is looked for. */
  async find(
    tree: ProcessTree,
    listOtherProcesses: () => Promise<readonly number[]>,
  ): Promise<readonly Straggler[]> {
    const zombies = new Set<number>();
    const waitingPips: number[] = [];
    for (const [pid, children] of tree) {
      for (const child of children) {
        // A zombie has no children: they are another process's by then.
        if (tree.get(child)?.length !== 0 || readProcStat(child)[0] !== 'Z') continue;
        zombies.add(child);
        if (this.#previousZombies.has(child) && !waitingPips.includes(pid) && (await isPip(pid)))
          waitingPips.push(pid);
      }
    }
    this.#previousZombies = zombies;
    if (waitingPips.length === 0) return [];
    const candidates = [...new Set([...tree.keys(), ...(await listOtherProcesses())])];
    const stragglerPids: number[] = [];
    for (const pip of waitingPips) {
      const pipes = new Set(await pipesOf(pip, 'read'));
      for (const pid of candidates)
        if (pid !== pip && (await pipesOf(pid, 'write')).some((pipe) => pipes.has(pipe)))
          stragglerPids.push(pid);
    }
    return await Promise.all(
      [...new Set(stragglerPids)].map(async (pid) => ({ pid, command: await commandOf(pid) })),
    );
  }
}

/** Whether a process runs pip: the builder's own command, or one by which pip starts itself for requirements. */
async function isPip(pid: number): Promise<boolean> {
  const words = (await commandLine(pid)).slice(1, 6);
  return words.some((word) => word === 'pip' || /\/(?:__pip-runner__\.py|pip)$/.test(word));
}

/** The pipes that a process has open at their one end or the other, as the kernel names them. */
async function pipesOf(pid: number, end: 'read' | 'write'): Promise<readonly string[]> {
  const folder = `/proc/${String(pid)}`;
  const pipes: string[] = [];
  for (const fd of await readdir(`${folder}/fd`).catch(() => [])) {
    const target = await readlink(`${folder}/fd/${fd}`).catch(() => '');
    if (!target.startsWith('pipe:')) continue;
    const info = await readFile(`${folder}/fdinfo/${fd}`, 'latin1').catch(() => '');
    // In octal; the last two bits are O_RDONLY, O_WRONLY or O_RDWR.
    const mode = parseInt(/^flags:\s*(\d+)$/m.exec(info)?.[1] ?? '3', 8) & 3;
    if (mode === 2 || mode === (end === 'read' ? 0 : 1)) pipes.push(target);
  }
  return pipes;
}

async function commandOf(pid: number): Promise<string> {
  const words = (await commandLine(pid)).join(' ');
  // eslint-disable-next-line no-control-regex
  const plain = words.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').trim();
  return plain.length > MAX_COMMAND_CHARS ? `${plain.slice(0, MAX_COMMAND_CHARS)}…` : plain;
}

const commandLine = async (pid: number): Promise<readonly string[]> =>
  (await readFile(`/proc/${String(pid)}/cmdline`, 'utf8').catch(() => '')).split('\0');
