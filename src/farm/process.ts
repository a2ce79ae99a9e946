import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { PiwError, reason } from '../errors.js';
import { as, type Account } from './privileges.js';

export interface ProcessOptions {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  readonly account: Account | undefined;
  /** Where its output goes, added to what is there. */
  readonly logFile: string;
  /** Where its number stands while it runs, for a farm that finds it left over. */
  readonly pidFile?: string;
  /** How it is told to end, and how long it may take, milliseconds. */
  readonly stopSignal: NodeJS.Signals;
  readonly graceMs: number;
  /** Resolves when it can be used; raises if it can't. */
  readonly ready: (signal: AbortSignal) => Promise<void>;
  readonly readyMs: number;
  /** The exit code by which it says that its configuration is wrong: then it is not started again. */
  readonly configurationCode?: number;
  /** Its configuration is wrong, or it ended by itself too often: it is not started again. */
  readonly onFailure: (error: PiwError) => void;
  /** What it says over IPC, if it does. */
  readonly onMessage?: (message: unknown) => void;
  readonly log: (line: string) => void;
}

const MAX_RESTARTS = 5;
const RESTART_WINDOW_MS = 60_000;
const BACK_OFF_MS = { first: 500, most: 30_000 };

/**
 * A process that the farm keeps alive: a server, the master, a slave. It is
 *
 *   starting   until `ready`; if that fails, start() raises PIW_SERVER_FAILED with the log's last line
 *   running    until it ends: by itself, and it is started again after 0.5 s, twice as long at each
 *              further time; after more than five times in a minute, or at once where it says that its
 *              configuration is wrong, onFailure is called
 *   stopped    by stop(), for good
 *
 * It has a process group of its own: Ctrl+C at the terminal reaches the farm alone, which stops
 * everything in its order.
 */
export class ManagedProcess {
  readonly #options: ProcessOptions;
  #child: ChildProcess | undefined;
  #ended: Promise<void> = Promise.resolve();
  #stopping = false;
  #restarts: number[] = [];
  #again: NodeJS.Timeout | undefined;

  constructor(options: ProcessOptions) {
    this.#options = options;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Starts it and waits until it is ready. */
  async start(): Promise<void> {
    const { ready, readyMs, name } = this.#options;
    this.#spawn();
    const limit = AbortSignal.timeout(readyMs);
    const died = this.#ended.then(() => {
      throw new PiwError('PIW_SERVER_FAILED', `${name} did not start: ${this.#lastLine()}`);
    });
    died.catch(() => undefined);
    const late = new Promise<never>((_, reject) => {
      limit.addEventListener('abort', () => {
        reject(new PiwError('PIW_SERVER_FAILED', `${name} was not ready in time: ${this.#lastLine()}`));
      });
    });
    late.catch(() => undefined);
    try {
      await Promise.race([ready(limit), died, late]);
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** Tells it to end, kills it when it doesn't, and waits until it has. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#again);
    const child = this.#child;
    if (!child) return;
    this.#kill(this.#options.stopSignal);
    const hard = setTimeout(() => {
      this.#kill('SIGKILL');
    }, this.#options.graceMs);
    await this.#ended;
    clearTimeout(hard);
  }

  #spawn(): void {
    const { command, args, env, cwd, account, logFile, pidFile, onMessage } = this.#options;
    const log = openSync(logFile, 'a', 0o600);
    const child = spawn(command, args, {
      ...as(account),
      ...(cwd === undefined ? {} : { cwd }),
      env: env ?? process.env,
      stdio: ['ignore', log, log, ...(onMessage ? (['ipc'] as const) : [])],
      detached: true,
    });
    closeSync(log);
    this.#child = child;
    if (onMessage) child.on('message', onMessage);
    if (pidFile !== undefined && child.pid !== undefined)
      writeFileSync(pidFile, `${String(child.pid)} ${startTime(child.pid)}\n`);
    this.#ended = new Promise((resolve) => {
      const end = (why: string, code: number | null = null) => {
        if (this.#child !== child) return;
        this.#child = undefined;
        if (pidFile !== undefined) rmSync(pidFile, { force: true });
        resolve();
        if (code !== null && code === this.#options.configurationCode) this.#refuse();
        else this.#restart(why);
      };
      child.once('error', (error) => {
        end(reason(error));
      });
      child.once('exit', (code, signal) => {
        end(signal ? `was ended by ${signal}` : `ended with exit code ${String(code)}`, code);
      });
    });
  }

  /** Reports what it said of its configuration. */
  #refuse(): void {
    const { name, onFailure } = this.#options;
    if (!this.#stopping) onFailure(new PiwError('PIW_CONFIG', `${name} does not start: ${this.#lastLine()}`));
  }

  #restart(why: string): void {
    if (this.#stopping) return;
    const { name, log, onFailure } = this.#options;
    const now = performance.now();
    this.#restarts = [...this.#restarts.filter((at) => now - at < RESTART_WINDOW_MS), now];
    const times = this.#restarts.length;
    if (times > MAX_RESTARTS) {
      onFailure(
        new PiwError(
          'PIW_SERVER_FAILED',
          `${name} ${why}, ${String(times)} times within a minute: ${this.#lastLine()}`,
        ),
      );
      return;
    }
    const pause = Math.min(BACK_OFF_MS.first * 2 ** (times - 1), BACK_OFF_MS.most);
    log(`${name} ${why}; starting it again`);
    this.#again = setTimeout(() => {
      this.#spawn();
    }, pause);
  }

  #kill(signal: NodeJS.Signals): void {
    try {
      this.#child?.kill(signal);
    } catch (error) {
      this.#options.log(`${this.#options.name} could not be signalled: ${reason(error)}`);
    }
  }

  #lastLine(): string {
    try {
      const lines = readFileSync(this.#options.logFile, 'utf8').trim().split('\n');
      return `${lines.at(-1) ?? 'it said nothing'} (${this.#options.logFile})`;
    } catch {
      return `see ${this.#options.logFile}`;
    }
  }
}

/**
 * When a process began, in the kernel's ticks: with its number this names it for good. Empty where
 * /proc doesn't tell; then the number alone has to do.
 */
export function startTime(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${String(pid)}/stat`, 'utf8');
    // The command in parentheses may hold spaces; the start time is the 20th field after it.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}

/** Whether the process that wrote `text` (its number and start time) is still the one that runs. */
export function runs(text: string): number | undefined {
  const [number, began = ''] = text.trim().split(' ');
  const pid = Number(number);
  if (!Number.isSafeInteger(pid) || pid < 1) return undefined;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return undefined;
  }
  return startTime(pid) === began ? pid : undefined;
}

/** Ends a process of a farm that died without stopping it, and waits until it has ended. */
export async function endLeftover(pidFile: string, signal: NodeJS.Signals): Promise<void> {
  let text: string;
  try {
    text = readFileSync(pidFile, 'utf8');
  } catch {
    return;
  }
  for (let waited = 0; ; waited += 100) {
    const pid = runs(text);
    if (pid === undefined) break;
    process.kill(pid, waited >= 10_000 ? 'SIGKILL' : signal);
    if (waited > 15_000)
      throw new PiwError('PIW_IN_USE', `process ${String(pid)} of an earlier farm does not end`);
    await sleep(100);
  }
  rmSync(pidFile, { force: true });
}
