import { fork, type ChildProcess } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { nodeFlags } from '../../src/node-flags.js';

/** A program of this folder in a process of its own. */
export class Worker {
  readonly #child: ChildProcess;
  readonly #heard: unknown[] = [];
  #waiting: ((message: unknown) => void) | undefined;
  #ended: ((error: Error) => void) | undefined;

  /** `program` may come with the room for what is new in its process, MB. */
  constructor(program: string | readonly [program: string, roomMb: number], ...args: readonly string[]) {
    const [name, room] = typeof program === 'string' ? [program] : program;
    this.#child = fork(fileURLToPath(new URL(name, import.meta.url)), args, {
      execArgv: [...nodeFlags(room)],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.#child.on('message', (message) => {
      if (this.#waiting) this.#waiting(message);
      else this.#heard.push(message);
      this.#waiting = undefined;
    });
    this.#child.once('exit', (code) => this.#ended?.(new Error(`${name} ended with ${String(code)}`)));
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  say(message: object): void {
    this.#child.send(message);
  }

  /** The next thing that it says; raises when it has ended. */
  hear(): Promise<unknown> {
    if (this.#heard.length > 0) return Promise.resolve(this.#heard.shift());
    return new Promise((resolve, reject) => {
      this.#waiting = resolve;
      this.#ended = reject;
    });
  }

  end(): void {
    this.#ended = undefined;
    this.#child.kill('SIGKILL');
  }
}

/** The processes that run a task of the cast, by its name. */
export function actorsOf(task: string, under: number | undefined): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const words = readFileSync(`/proc/${String(pid)}/cmdline`, 'utf8').split('\0');
        const stat = readFileSync(`/proc/${String(pid)}/stat`, 'utf8');
        const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
        const at = words.findIndex((word) => word.endsWith('/actor-process.js'));
        return parent === under && at > 0 && words[at + 1] === task;
      } catch {
        return false;
      }
    });
}

/** The most memory that a process has had resident at once since resetPeak, MB of a million bytes. */
export function peakMb(pid: number | undefined): number {
  const status = readFileSync(`/proc/${String(pid)}/status`, 'utf8');
  return (Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024) / 1e6;
}
