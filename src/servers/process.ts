import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { activityOf } from '../actor/activity.js';
import { PiwError, errorMessage } from '../errors.js';
import { runAs, type Account } from './privileges.js';

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
  /** Resolves when it can be used; throws if it can't. Calls `progress` when it sees that it is on its way. */
  readonly ready: (signal: AbortSignal, progress: () => void) => Promise<void>;
  /** How long nothing may be seen of it on its way there, milliseconds: no processor time, no output, no progress. */
  readonly stallTimeoutMs: number;
  /** The exit code by which it says that its configuration is wrong: then it is not started again. */
  readonly configurationCode?: number;
  /** Further exit codes after which starting it again would change nothing. */
  readonly finalCodes?: readonly number[];
  /** Gives up the start. */
  readonly signal?: AbortSignal;
  /** Its configuration is wrong, or it ended by itself too often: it is not started again. */
  readonly onFailure: (error: PiwError) => void;
  /** What it says over IPC, if it does. */
  readonly onMessage?: (message: unknown) => void;
  readonly log: (line: string) => void;
}

/** Ends in a row after which it is given up; one that ran for so long has none behind it. */
const MAX_CONSECUTIVE_EXITS = 5;
const HEALTHY_UPTIME_MS = 60_000;
/** However much it does: by then it must be ready. */
const MAX_START_MS = 15 * 60_000;
const CHECK_INTERVAL_MS = 1000;
const BACKOFF_MS = { first: 500, max: 30_000 };

/**
 * A process that the farm keeps alive: a server, the master, a slave. It is
 *
 *   starting   until `ready`; if that fails, or nothing is seen of it for too long, start() throws PIW_SERVER_FAILED
 *              with the log's last line
 *   running    until it ends: by itself, and it is started again after 0.5 s, twice as long at each
 *              further time; after more than five times in a row, or at once where it says that its
 *              configuration is wrong, onFailure is called
 *   stopped    by stop(), for good
 *
 * It has a process group of its own: Ctrl+C at the terminal reaches the farm alone, which stops
 * everything in its order.
 */
export class ManagedProcess {
  readonly #options: ProcessOptions;
  #child: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();
  #stopping = false;
  #consecutiveExits = 0;
  #startedAt = 0;
  #restartTimer: NodeJS.Timeout | undefined;

  constructor(options: ProcessOptions) {
    this.#options = options;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Starts it and waits until it is ready. */
  async start(): Promise<void> {
    const { ready, name, signal } = this.#options;
    this.#spawn();
    const startup = new AbortController();
    const died = this.#exited.then(() => {
      throw new PiwError('PIW_SERVER_FAILED', `${name} did not start: ${this.#lastLine()}`);
    });
    died.catch(() => undefined);
    let progressed = true;
    const stalled = this.#rejectWhenStalled(startup.signal, () => {
      const was = progressed;
      progressed = false;
      return was;
    });
    stalled.catch(() => undefined);
    const interrupted = new Promise<never>((_, reject) => {
      const interrupt = (): void => {
        reject(new PiwError('PIW_INTERRUPTED', 'interrupted'));
      };
      if (signal?.aborted) interrupt();
      signal?.addEventListener('abort', interrupt, { once: true });
      startup.signal.addEventListener('abort', () => signal?.removeEventListener('abort', interrupt));
    });
    interrupted.catch(() => undefined);
    try {
      const progress = (): void => {
        progressed = true;
      };
      await Promise.race([ready(startup.signal, progress), died, stalled, interrupted]);
    } catch (error) {
      await this.stop();
      throw error;
    } finally {
      startup.abort();
    }
  }

  /** Throws when nothing has been seen of it for readyMs, or when the start takes too long in all. */
  async #rejectWhenStalled(signal: AbortSignal, hasProgressed: () => boolean): Promise<never> {
    const { name, stallTimeoutMs } = this.#options;
    const began = performance.now();
    let silentMs = 0;
    let [cpuMs, size] = [0, 0];
    while (silentMs < stallTimeoutMs && performance.now() - began < MAX_START_MS) {
      await sleep(CHECK_INTERVAL_MS, undefined, { signal });
      const activity = activityOf(this.pid);
      const written = statSync(this.#options.logFile, { throwIfNoEntry: false })?.size ?? 0;
      const busy = activity !== undefined && (activity.runnable || activity.cpuMs > cpuMs);
      silentMs = busy || written > size || hasProgressed() ? 0 : silentMs + CHECK_INTERVAL_MS;
      [cpuMs, size] = [activity?.cpuMs ?? 0, written];
    }
    throw new PiwError('PIW_SERVER_FAILED', `${name} was not ready in time: ${this.#lastLine()}`);
  }

  /** Ends it at once. */
  kill(): void {
    this.#kill('SIGKILL');
  }

  /** Tells it to end, kills it when it doesn't, and waits until it has. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#restartTimer);
    const child = this.#child;
    if (!child) return;
    this.#kill(this.#options.stopSignal);
    const killTimer = setTimeout(() => {
      this.#kill('SIGKILL');
    }, this.#options.graceMs);
    await this.#exited;
    clearTimeout(killTimer);
  }

  #spawn(): void {
    const { command, args, env, cwd, account, logFile, pidFile, onMessage } = this.#options;
    const log = openSync(logFile, 'a', 0o600);
    const child = spawn(command, args, {
      ...runAs(account),
      ...(cwd === undefined ? {} : { cwd }),
      env: env ?? process.env,
      stdio: ['ignore', log, log, ...(onMessage ? (['ipc'] as const) : [])],
      detached: true,
    });
    closeSync(log);
    this.#child = child;
    this.#startedAt = performance.now();
    if (onMessage) child.on('message', onMessage);
    if (pidFile !== undefined && child.pid !== undefined)
      writeFileSync(pidFile, `${String(child.pid)} ${startTime(child.pid)}\n`);
    this.#exited = new Promise((resolve) => {
      const end = (why: string, code: number | null = null) => {
        if (this.#child !== child) return;
        this.#child = undefined;
        if (pidFile !== undefined) rmSync(pidFile, { force: true });
        resolve();
        if (code !== null && code === this.#options.configurationCode) this.#reportConfigurationError();
        else this.#restart(why, code);
      };
      child.once('error', (error) => {
        end(errorMessage(error));
      });
      child.once('exit', (code, signal) => {
        end(signal ? `was ended by ${signal}` : `ended with exit code ${String(code)}`, code);
      });
    });
  }

  /** Reports what it said of its configuration. */
  #reportConfigurationError(): void {
    const { name, onFailure } = this.#options;
    if (!this.#stopping) onFailure(new PiwError('PIW_CONFIG', `${name} does not start: ${this.#lastLine()}`));
  }

  #restart(why: string, code: number | null): void {
    if (this.#stopping) return;
    const { name, log, onFailure, finalCodes = [] } = this.#options;
    if (performance.now() - this.#startedAt >= HEALTHY_UPTIME_MS) this.#consecutiveExits = 0;
    this.#consecutiveExits += 1;
    const isFinal = code !== null && finalCodes.includes(code);
    if (isFinal || this.#consecutiveExits > MAX_CONSECUTIVE_EXITS) {
      const times = isFinal ? '' : `, ${String(this.#consecutiveExits)} times in a row`;
      onFailure(new PiwError('PIW_SERVER_FAILED', `${name} ${why}${times}: ${this.#lastLine()}`));
      return;
    }
    const pause = Math.min(BACKOFF_MS.first * 2 ** (this.#consecutiveExits - 1), BACKOFF_MS.max);
    log(`${name} ${why}; starting it again`);
    this.#restartTimer = setTimeout(() => {
      this.#spawn();
    }, pause);
  }

  #kill(signal: NodeJS.Signals): void {
    try {
      // PostgreSQL's sessions end by themselves without it, but not while they are stopped.
      const sessions = signal === 'SIGKILL' ? childrenOf(this.pid) : [];
      this.#child?.kill(signal);
      for (const pid of sessions) killIfThere(pid);
    } catch (error) {
      this.#options.log(`${this.#options.name} could not be signalled: ${errorMessage(error)}`);
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

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

function childrenOf(pid: number | undefined): readonly number[] {
  if (pid === undefined) return [];
  try {
    const children = readFileSync(`/proc/${String(pid)}/task/${String(pid)}/children`, 'utf8');
    return children.split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
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
export function findRunningPid(text: string): number | undefined {
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
export async function stopLeftover(pidFile: string, signal: NodeJS.Signals): Promise<void> {
  let text: string;
  try {
    text = readFileSync(pidFile, 'utf8');
  } catch {
    return;
  }
  for (let waited = 0; ; waited += 100) {
    const pid = findRunningPid(text);
    if (pid === undefined) break;
    process.kill(pid, waited >= 10_000 ? 'SIGKILL' : signal);
    if (waited > 15_000)
      throw new PiwError('PIW_IN_USE', `process ${String(pid)} of an earlier farm does not end`);
    await sleep(100);
  }
  rmSync(pidFile, { force: true });
}
