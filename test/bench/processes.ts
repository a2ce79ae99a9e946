import { fork, type ChildProcess } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { nodeFlags } from '../../src/node-flags.js';

/** A program of this folder in a process of its own. */
export class WorkerProcess {
  readonly #child: ChildProcess;
  readonly #inbox: unknown[] = [];
  #resolveNext: ((message: unknown) => void) | undefined;
  #rejectNext: ((error: Error) => void) | undefined;

  /** `program` may come with the room for what is new in its process, MB. */
  constructor(program: string | readonly [program: string, roomMb: number], ...args: readonly string[]) {
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
    this.#child.once('exit', (code) => this.#rejectNext?.(new Error(`${name} ended with ${String(code)}`)));
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  send(message: object): void {
    this.#child.send(message);
  }

  /** The next thing that it says; raises when it has ended. */
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

/** The processes that run a task of the cast, by its name. */
export function actorPids(task: string, parentPid: number | undefined): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const words = readFileSync(`/proc/${String(pid)}/cmdline`, 'utf8').split('\0');
        const stat = readFileSync(`/proc/${String(pid)}/stat`, 'utf8');
        const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
        const at = words.findIndex((word) => word.endsWith('/actor-process.js'));
        return parent === parentPid && at > 0 && words[at + 1] === task;
      } catch {
        return false;
      }
    });
}

/** The most memory that a process has had resident at once since resetPeak, MB of a million bytes. */
export function peakRssMb(pid: number | undefined): number {
  const status = readFileSync(`/proc/${String(pid)}/status`, 'utf8');
  return (Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024) / 1e6;
}
