import { spawn, type ChildProcess } from 'node:child_process';
import { constants } from 'node:os';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { PiwError } from '../errors.js';
import { BuildLog } from './log.js';
import { ulimits, type TerminationReason, type BuildLimits } from './limits.js';
import { sendSignal, killBuildProcesses, ticksSinceBoot } from './processes.js';
import { watchBuild } from './watch.js';

export interface RunOptions {
  readonly command: string;
  readonly args: readonly string[];
  /** The build's folder: where it runs, and by which its processes are known. */
  readonly folder: string;
  /** Holds the build's mark. */
  readonly env: Readonly<Record<string, string>>;
  /** Wall time, milliseconds. */
  readonly timeoutMs: number;
  readonly limits: BuildLimits;
  readonly signal: AbortSignal;
  /** Every line of output without its end. */
  readonly onLine: (line: string) => void;
}

export interface RunResult {
  /** Null when a signal ended it, and nobody stood between. */
  readonly code: number | null;
  /** What ended it; also where a sandbox says so by its code. */
  readonly signal: string | null;
  /** Why it was ended from here, if it was. */
  readonly termination: TerminationReason | undefined;
  readonly output: string;
  /** The processes of it that could not be killed. */
  readonly survivors: readonly number[];
}

type ProcessExit = Pick<RunResult, 'code' | 'signal' | 'termination'>;

/** How long a build that is told to end may take over it, milliseconds. */
const GRACE_MS = 3000;
/** How long one that was killed is waited for: a process that waits for a dead disk doesn't die. */
const EXIT_TIMEOUT_MS = 20_000;
/** How long the rest of the output is read once everything is dead. */
const DRAIN_MS = 2000;
/** No timer of Node's is longer: it would go off at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * What stands before the command. Output and errors share one pipe, in the order in which they were
 * written; wheels have the permissions that a umask of 022 gives; nobody wants a stranger's core dump.
 */
const prelude = (limits: BuildLimits): string =>
  `exec 2>&1; umask 022; ${ulimits(limits)}; exec nice -n "$0" "$@"`;

/**
 * Runs a build in a process group and session of its own, with nothing on its standard input, and gives
 * its result when all of it is dead: first the group, then every process that has left it. It ends by
 * itself, or over a limit, or when the signal is aborted: then the group gets SIGTERM, and SIGKILL
 * three seconds later. Raises PIW_NO_PYTHON if the command can't be run at all.
 */
export async function runBuildProcess(options: RunOptions): Promise<RunResult> {
  const { command, args, folder, env, limits, onLine } = options;
  const log = new BuildLog(limits.log, onLine);
  if (options.signal.aborted)
    return { code: null, signal: null, termination: 'killed', output: '', survivors: [] };
  const since = ticksSinceBoot();
  const child = spawn('/bin/sh', ['-c', prelude(limits), String(limits.niceness), command, ...args], {
    cwd: folder,
    env: { ...env },
    stdio: ['ignore', 'pipe', 'ignore'],
    detached: true,
  });
  child.stdout.on('data', (data: Buffer) => {
    log.add(data);
  });
  const drained = new Promise<void>((resolve) => child.stdout.once('close', resolve));
  let survivors: readonly number[] = [];
  try {
    let exit: ProcessExit;
    try {
      exit = await waitForExit(child, child.stdout, { ...options, since, log });
    } finally {
      killGroup(child, 'SIGKILL');
      survivors = await killBuildProcesses(folder, since);
    }
    // Whoever could write into it is dead; what they wrote is read to its end.
    await Promise.race([drained, sleep(DRAIN_MS, undefined, { ref: false })]);
    const output = log.text();
    // The shell's own codes for what can't be run, and for what isn't there.
    if (exit.code === 126 || exit.code === 127)
      throw new PiwError('PIW_NO_PYTHON', `${command} can't be run: ${output.trim().slice(-200)}`);
    return { ...exit, signal: exit.signal ?? signalFromExitCode(exit.code), output, survivors };
  } finally {
    child.stdout.destroy();
  }
}

/** Shells and sandboxes end with 128 and the number of the signal that ended what they ran. */
function signalFromExitCode(code: number | null): string | null {
  const found = Object.entries(constants.signals).find(([, number]) => code === 128 + number);
  return found?.[0] ?? null;
}

/** Waits for the process itself to end, and ends it when it is time. */
async function waitForExit(
  child: ChildProcess,
  output: Readable,
  {
    folder,
    limits,
    timeoutMs,
    signal,
    since,
    log,
  }: RunOptions & { readonly since: number; readonly log: BuildLog },
): Promise<ProcessExit> {
  let termination: TerminationReason | undefined;
  const timers: NodeJS.Timeout[] = [];
  const schedule = (ms: number, callback: () => void): NodeJS.Timeout => {
    const timer = setTimeout(callback, Math.min(ms, MAX_TIMER_MS));
    timers.push(timer);
    return timer;
  };
  const onAbort = (): void => {
    terminate('killed');
  };
  let terminate: (why: TerminationReason) => void = () => undefined;
  let outputBytes = 0;
  let silenceTimer: NodeJS.Timeout | undefined;
  const onData = (data: Buffer): void => {
    outputBytes += data.length;
    silenceTimer?.refresh();
    if (limits.logFails && outputBytes > limits.log) terminate('log-limit');
    if (limits.output > 0 && outputBytes > limits.output) terminate('output-limit');
  };
  let stopWatching = (): void => undefined;
  try {
    return await new Promise<ProcessExit>((resolve, reject) => {
      terminate = (reason) => {
        if (termination !== undefined) return;
        termination = reason;
        killGroup(child, 'SIGTERM');
        schedule(GRACE_MS, () => {
          killGroup(child, 'SIGKILL');
        });
        schedule(GRACE_MS + EXIT_TIMEOUT_MS, () => {
          resolve({ code: null, signal: null, termination });
        });
      };
      schedule(timeoutMs, () => {
        terminate('timeout');
      });
      if (limits.silenceMs > 0) {
        silenceTimer = schedule(limits.silenceMs, () => {
          terminate('silent');
        });
      }
      output.on('data', onData);
      const onNote = (line: string): void => {
        log.note(line);
      };
      if (child.pid !== undefined)
        stopWatching = watchBuild({ folder, pid: child.pid, since }, limits, { onLimit: terminate, onNote });
      signal.addEventListener('abort', onAbort, { once: true });
      child.once('error', reject);
      // Not `close`: a daemon that kept the pipe open would never let it come.
      child.once('exit', (code, by) => {
        resolve({ code, signal: by, termination });
      });
    });
  } finally {
    stopWatching();
    output.off('data', onData);
    for (const timer of timers) clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  }
}

function killGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid !== undefined) sendSignal(-child.pid, signal);
}
