import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { activityOf } from '../actor/activity.js';
import { PiwError, errorMessage, type ErrorCode } from '../errors.js';
import { unlessAborted } from '../concurrency/abort.js';
import { systemClock } from '../concurrency/clock.js';
import { RestartPolicy } from '../concurrency/restart-policy.js';
import { runAs, type Account } from './privileges.js';

export interface ProcessOptions {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  readonly account: Account | undefined;
  /** The file that its output is appended to. */
  readonly logFile: string;
  /** Holds its process id and start time while it runs, so that the next farm can end a leftover process. */
  readonly pidFile?: string;
  /** The signal that asks it to end, and the time before it is killed, milliseconds. */
  readonly stopSignal: NodeJS.Signals;
  readonly graceMs: number;
  /** Resolves when the process is ready, rejects if it can't be. Calls `progress` whenever the start advances. */
  readonly ready: (signal: AbortSignal, progress: () => void) => Promise<void>;
  /** How long a starting process may show no sign of life (processor time, output, progress), milliseconds. */
  readonly stallTimeoutMs: number;
  /** The exit code that means a wrong configuration: the process is not restarted. */
  readonly configurationCode?: number;
  /** Other exit codes after which a restart can't help. */
  readonly finalCodes?: readonly number[];
  /** Aborts the start. */
  readonly signal?: AbortSignal;
  /** Called when the process is not restarted: its configuration is wrong, or it exited too often. */
  readonly onFailure: (error: PiwError) => void;
  /** Returns whether it has ended for good, so that it is not restarted. */
  readonly hasFinished?: (() => boolean) | undefined;
  /** Receives its messages over IPC. */
  readonly onMessage?: (message: unknown) => void;
  readonly log: (line: string) => void;
}

/** A process that has run for this long starts counting its exits from zero. */
const HEALTHY_UPTIME_MS = 60_000;
/** The limit for a start, however busy the process is. */
const MAX_START_MS = 15 * 60_000;
const CHECK_INTERVAL_MS = 1000;

/**
 * A process that the farm keeps alive: a server, the master, a slave. It is
 *
 *   starting   until `ready` resolves; if it rejects, or the process shows no sign of life for too long, start()
 *              throws PIW_SERVER_FAILED with the log's last line
 *   running    until it exits. Then it is restarted (RestartPolicy). After too many exits in a row, or at once if its
 *              configuration is wrong, onFailure is called
 *   stopped    for good, by stop()
 *
 * It has a process group of its own: Ctrl+C at the terminal reaches only the farm, which stops everything in order.
 */
export class ManagedProcess {
  readonly #options: ProcessOptions;
  #child: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();
  #stopping = false;
  readonly #restartPolicy = new RestartPolicy();
  #startedAt = 0;
  #cancelRestart = (): void => undefined;

  constructor(options: ProcessOptions) {
    this.#options = options;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Starts the process and waits until it is ready. Throws PIW_SERVER_FAILED, or PIW_INTERRUPTED when aborted. */
  async start(): Promise<void> {
    const { ready, name, signal } = this.#options;
    this.#spawn();
    const startup = new AbortController();
    const died = this.#exited.then(() => {
      throw this.#failure(`${name} did not start`);
    });
    died.catch(() => undefined);
    let progressed = true;
    const stalled = this.#rejectWhenStalled(startup.signal, () => {
      const hadProgress = progressed;
      progressed = false;
      return hadProgress;
    });
    stalled.catch(() => undefined);
    try {
      const progress = (): void => {
        progressed = true;
      };
      await unlessAborted(Promise.race([ready(startup.signal, progress), died, stalled]), signal);
    } catch (error) {
      await this.stop();
      throw error;
    } finally {
      startup.abort();
    }
  }

  /** Throws when the process shows no sign of life for stallTimeoutMs, or when the whole start takes too long. */
  async #rejectWhenStalled(signal: AbortSignal, hasProgressed: () => boolean): Promise<never> {
    const { name, stallTimeoutMs } = this.#options;
    const startedAt = performance.now();
    let silentMs = 0;
    let [cpuMs, size] = [0, 0];
    while (silentMs < stallTimeoutMs && performance.now() - startedAt < MAX_START_MS) {
      await sleep(CHECK_INTERVAL_MS, undefined, { signal });
      const activity = activityOf(this.pid);
      const written = statSync(this.#options.logFile, { throwIfNoEntry: false })?.size ?? 0;
      const busy = activity !== undefined && (activity.runnable || activity.cpuMs > cpuMs);
      silentMs = busy || written > size || hasProgressed() ? 0 : silentMs + CHECK_INTERVAL_MS;
      [cpuMs, size] = [activity?.cpuMs ?? 0, written];
    }
    throw this.#failure(`${name} was not ready in time`);
  }

  /** Kills the process. */
  kill(): void {
    this.#kill('SIGKILL');
  }

  /** Asks the process to end, kills it after graceMs, and waits until it has ended. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#cancelRestart();
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
      writeFileSync(pidFile, `${child.pid} ${startTime(child.pid)}\n`);
    this.#exited = new Promise((resolve) => {
      const handleEnd = (why: string, code: number | null = null) => {
        if (this.#child !== child) return;
        this.#child = undefined;
        if (pidFile !== undefined) rmSync(pidFile, { force: true });
        resolve();
        if (this.#options.hasFinished?.() === true) return;
        if (code === null || code !== this.#options.configurationCode) this.#restart(why, code);
        else if (!this.#stopping)
          this.#options.onFailure(this.#failure(`${this.#options.name} can't start`, 'PIW_CONFIG'));
      };
      child.once('error', (error) => {
        handleEnd(errorMessage(error));
      });
      child.once('exit', (code, signal) => {
        handleEnd(signal ? `was ended by ${signal}` : `ended with exit code ${String(code)}`, code);
      });
    });
  }

  #restart(why: string, code: number | null): void {
    if (this.#stopping) return;
    const { name, log, onFailure, finalCodes = [] } = this.#options;
    const healthy = performance.now() - this.#startedAt >= HEALTHY_UPTIME_MS;
    const pauseMs = this.#restartPolicy.recordExit({ healthy });
    const isFinal = code !== null && finalCodes.includes(code);
    if (isFinal || pauseMs === undefined) {
      const times = isFinal ? '' : `, ${this.#restartPolicy.failures} times in a row`;
      onFailure(this.#failure(`${name} ${why}${times}`));
      return;
    }
    log(`${name} ${why}; starting it again`);
    this.#cancelRestart = systemClock.after(pauseMs, () => {
      this.#spawn();
    });
  }

  #kill(signal: NodeJS.Signals): void {
    try {
      // PostgreSQL's sessions exit by themselves when their parent is gone, but not while they are stopped.
      const sessions = signal === 'SIGKILL' ? childrenOf(this.pid) : [];
      this.#child?.kill(signal);
      for (const pid of sessions) killIfRunning(pid);
    } catch (error) {
      this.#options.log(`${this.#options.name} can't be signalled: ${errorMessage(error)}`);
    }
  }

  /**
   * Returns an error that says what has happened, with the last line of the process's log. If that is an error of piw,
   * it has its code, and so its advice; otherwise it has `code`.
   */
  #failure(what: string, code: ErrorCode = 'PIW_SERVER_FAILED'): PiwError {
    const { logFile } = this.#options;
    let line: string;
    try {
      line = readFileSync(logFile, 'utf8').trim().split('\n').at(-1) ?? 'no output';
    } catch {
      return new PiwError(code, `${what}: see ${logFile}`);
    }
    const reported = PiwError.fromLine(line);
    return new PiwError(reported?.code ?? code, `${what}: ${reported?.message ?? line} (${logFile})`);
  }
}

function killIfRunning(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has already ended.
  }
}

function childrenOf(pid: number | undefined): readonly number[] {
  if (pid === undefined) return [];
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
    return children.split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/**
 * Returns the start time of a process in the kernel's clock ticks: together with the process id it is unique. Returns
 * an empty string where there is no /proc; then the process id has to suffice.
 */
export function startTime(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The command in parentheses may contain spaces; the start time is the 20th field after it.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}

/** Returns the id of the process that `text` (its id and start time) describes, if it is still running. */
export function findRunningPid(text: string): number | undefined {
  const [pidText, recordedStartTime = ''] = text.trim().split(' ');
  const pid = Number(pidText);
  if (!Number.isSafeInteger(pid) || pid < 1) return undefined;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return undefined;
  }
  return startTime(pid) === recordedStartTime ? pid : undefined;
}

/**
 * Ends a process that an earlier farm left running, and waits until it has ended. Kills it after 10 s; throws
 * PIW_IN_USE after 15 s.
 */
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
      throw new PiwError('PIW_IN_USE', `process ${pid} of an earlier farm can't be stopped`);
    await sleep(100);
  }
  rmSync(pidFile, { force: true });
}
