import { fork, type ChildProcess } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { nodeFlags } from '../../src/node-flags.js';

/** A program of this folder that runs in a process of its own. */
export class WorkerProcess {
  readonly #child: ChildProcess;
  readonly #inbox: unknown[] = [];
  #resolveNext: ((message: unknown) => void) | undefined;
  #rejectNext: ((error: Error) => void) | undefined;

  /** Starts `program`, optionally with V8's semi-space size (`heapLimitMb`), MB. */
  constructor(program: string | readonly [program: string, heapLimitMb: number], ...args: readonly string[]) {
    const [name, heapLimitMb] = typeof program === 'string' ? [program] : program;
    this.#child = fork(fileURLToPath(new URL(name, import.meta.url)), args, {
      execArgv: [...nodeFlags(heapLimitMb)],
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
export function actorPids(task: string, parentPid: number | undefined): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const words = readFileSync(`/proc/${String(pid)}/cmdline`, 'utf8').split('\0');
        const stat = readFileSync(`/proc/${String(pid)}/stat`, 'utf8');
        const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
        const programIndex = words.findIndex((word) => word.endsWith('/actor-process.js'));
        return parent === parentPid && programIndex > 0 && words[programIndex + 1] === task;
      } catch {
        return false;
      }
    });
}

/**
 * Returns the peak resident memory of a process since its start, or since its clear_refs was last set to 5, MB (10^6
 * bytes).
 */
export function peakRssMb(pid: number | undefined): number {
  const status = readFileSync(`/proc/${String(pid)}/status`, 'utf8');
  return (Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024) / 1e6;
}
