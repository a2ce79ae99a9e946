import { readFile, readdir, readlink } from 'node:fs/promises';
import type { ProcessTree } from './process-tree.js';
import { readProcStat } from './processes.js';

/** A process that keeps pip waiting for output that nobody needs. */
interface Straggler {
  readonly pid: number;
  /** The command line, for people. */
  readonly command: string;
}

/** Command lines are untrusted, so they are truncated. */
const MAX_COMMAND_CHARS = 200;

/**
 * Finds processes that hold up a build after its work is done: daemons or background jobs that a build backend has
 * left behind and that still have the pipe of the backend's output open. pip reads that pipe to its end before it
 * waits for the backend; until then the backend is a zombie.
 *
 * The criteria: a child of pip is a zombie in two successive checks (a pip that was merely slow has read its output
 * by then), and another process of the build can write to a pipe that this pip reads. The result of the hook is
 * already decided then, so nothing that the straggler does can change it.
 */
export class StragglerDetector {
  /** The zombies of the previous check. */
  #previousZombies: ReadonlySet<number> = new Set();

  /**
   * Returns the stragglers. `listOtherProcesses` finds processes of the build that may be outside the tree; it is
   * called only if pip is waiting.
   */
  async find(
    tree: ProcessTree,
    listOtherProcesses: () => Promise<readonly number[]>,
  ): Promise<readonly Straggler[]> {
    const zombies = new Set<number>();
    const waitingPips: number[] = [];
    for (const [pid, children] of tree) {
      for (const child of children) {
        // A zombie has no children: they already have another parent.
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

/** Returns whether a process runs pip: the builder's own command, or the pip that pip starts for requirements. */
async function isPip(pid: number): Promise<boolean> {
  const words = (await commandLine(pid)).slice(1, 6);
  return words.some((word) => word === 'pip' || /\/(?:__pip-runner__\.py|pip)$/.test(word));
}

/** Returns the pipes that a process has open for reading or for writing, as the kernel names them. */
async function pipesOf(pid: number, end: 'read' | 'write'): Promise<readonly string[]> {
  const folder = `/proc/${pid}`;
  const pipes: string[] = [];
  for (const fd of await readdir(`${folder}/fd`).catch(() => [])) {
    const target = await readlink(`${folder}/fd/${fd}`).catch(() => '');
    if (!target.startsWith('pipe:')) continue;
    const info = await readFile(`${folder}/fdinfo/${fd}`, 'latin1').catch(() => '');
    // The flags are octal; the last two bits are O_RDONLY, O_WRONLY or O_RDWR.
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
  (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0');
