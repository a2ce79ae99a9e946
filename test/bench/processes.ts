import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { nodeFlags } from '../../src/node-flags.js';
import { ProcessEntry, allProcesses } from '../helpers/proc.js';

/** A program of this folder that runs in a process of its own. */
export class WorkerProcess {
  readonly #child: ChildProcess;
  readonly #inbox: unknown[] = [];
  #resolveNext: ((message: unknown) => void) | undefined;
  #rejectNext: ((error: Error) => void) | undefined;

  /** Starts `program`, optionally with V8's semi-space size (`semiSpaceMb`), MB. */
  constructor(program: string | readonly [program: string, semiSpaceMb: number], ...args: readonly string[]) {
    const [name, semiSpaceMb] = typeof program === 'string' ? [program] : program;
    this.#child = fork(fileURLToPath(new URL(name, import.meta.url)), args, {
      execArgv: [...nodeFlags(semiSpaceMb)],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.#child.on('message', (message) => {
      if (this.#resolveNext) this.#resolveNext(message);
      else this.#inbox.push(message);
      this.#resolveNext = undefined;
    });
    this.#child.once('exit', (code) =>
      this.#rejectNext?.(new Error(`${name} exited with code ${String(code)}`)),
    );
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  send(message: object): void {
    this.#child.send(message);
  }

  /** Returns the next message of the process. Throws if the process exits first. */
  receive(): Promise<unknown> {
    if (this.#inbox.length > 0) return Promise.resolve(this.#inbox.shift());
    return new Promise((resolve, reject) => {
      this.#resolveNext = resolve;
      this.#rejectNext = reject;
    });
  }

  kill(): void {
    this.#rejectNext = undefined;
    this.#child.kill('SIGKILL');
  }
}

/** Returns the process ids of the children of `parentPid` that run this task. */
export const actorPids = (task: string, parentPid: number | undefined): number[] =>
  allProcesses()
    .filter((entry) => entry.parent === parentPid && entry.task === task)
    .map(({ pid }) => pid);

/**
 * Returns the peak resident memory of a process since its start, or since its clear_refs was last set to 5, MB (10^6
 * bytes).
 */
export const peakRssMb = (pid = 0): number => new ProcessEntry(pid).peakResidentBytes / 1e6;
