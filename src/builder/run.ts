import { spawn, type ChildProcess } from 'node:child_process';
import { constants } from 'node:os';
import type { Readable } from 'node:stream';
import { onAbort } from '../concurrency/abort.js';
import { systemClock } from '../concurrency/clock.js';
import { deferred } from '../concurrency/deferred.js';
import { withTimeLimit } from '../concurrency/time-limit.js';
import { PiwError } from '../errors.js';
import { BuildLog } from './log.js';
import { ulimits, type TerminationReason, type BuildLimits } from './limits.js';
import { sendSignal, killBuildProcesses, ticksSinceBoot } from './processes.js';
import { watchBuild } from './watch.js';

interface RunOptions {
  readonly command: string;
  readonly args: readonly string[];
  /** The build's folder: its working directory, and the mark by which its processes are found. */
  readonly folder: string;
  /** Contains the build's mark (BUILD_MARK_VARIABLE). */
  readonly env: Readonly<Record<string, string>>;
  /** Wall time, milliseconds. */
  readonly timeoutMs: number;
  readonly limits: BuildLimits;
  readonly signal: AbortSignal;
  /** Called with every line of output, without its line ending. */
  readonly onLine: (line: string) => void;
}

export interface RunResult {
  /** The exit code; null if a signal ended the process directly. */
  readonly code: number | null;
  /** The signal that ended it, also if a shell or a sandbox reported the signal in its exit code. */
  readonly signal: string | null;
  /** Why the builder ended it, if it did. */
  readonly termination: TerminationReason | undefined;
  readonly output: string;
  /** The ids of its processes that could not be killed. */
  readonly survivors: readonly number[];
}

type ProcessExit = Pick<RunResult, 'code' | 'signal' | 'termination'>;

/** The time between SIGTERM and SIGKILL, milliseconds. */
const GRACE_MS = 3000;
/** How long to wait for a killed build to exit: a process that waits for a dead disk does not die. */
const EXIT_TIMEOUT_MS = 20_000;
/** How long to read the rest of the output after all processes are dead. */
const DRAIN_MS = 2000;
/** The longest delay of a timer in Node; a longer one would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Returns the shell commands that run before the build. stdout and stderr share one pipe, so that their order is
 * kept; a umask of 022 decides the permissions of wheels; core dumps are off.
 */
const prelude = (limits: BuildLimits): string =>
  `exec 2>&1; umask 022; ${ulimits(limits)}; exec nice -n "$0" "$@"`;

/**
 * Runs a build in a process group and session of its own, without standard input, and returns its result when all of
 * its processes are dead: those of the group and those that have left it. If it exceeds a limit, or the signal is
 * aborted, the group gets SIGTERM, and SIGKILL three seconds later. Throws PIW_NO_PYTHON if the command can't be run.
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
    // Everything that could write to the pipe is dead; what it still holds is read.
    await withTimeLimit(systemClock, DRAIN_MS, drained);
    const output = log.text();
    // The shell's exit codes for a command that can't be run, or does not exist.
    if (exit.code === 126 || exit.code === 127)
      throw new PiwError('PIW_NO_PYTHON', `cannot run ${command}: ${output.trim().slice(-200)}`);
    return { ...exit, signal: exit.signal ?? signalFromExitCode(exit.code), output, survivors };
  } finally {
    child.stdout.destroy();
  }
}

/** Returns the signal that an exit code of a shell or a sandbox, 128 + the signal's number, reports; else null. */
function signalFromExitCode(code: number | null): string | null {
  const entry = Object.entries(constants.signals).find(([, number]) => code === 128 + number);
  return entry?.[0] ?? null;
}

/** Waits for the process to exit; terminates it when it exceeds a limit or the signal is aborted. */
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
  const exit = deferred<ProcessExit>();
  const terminate = (reason: TerminationReason): void => {
    if (termination !== undefined) return;
    termination = reason;
    killGroup(child, 'SIGTERM');
    schedule(GRACE_MS, () => {
      killGroup(child, 'SIGKILL');
    });
    schedule(GRACE_MS + EXIT_TIMEOUT_MS, () => {
      exit.resolve({ code: null, signal: null, termination });
    });
  };
  let outputBytes = 0;
  let silenceTimer: NodeJS.Timeout | undefined;
  const onData = (data: Buffer): void => {
    outputBytes += data.length;
    silenceTimer?.refresh();
    if (limits.logFails && outputBytes > limits.log) terminate('log-limit');
    if (limits.output > 0 && outputBytes > limits.output) terminate('output-limit');
  };
  const removeListener = onAbort(signal, () => {
    terminate('killed');
  });
  let stopWatching = (): void => undefined;
  try {
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
    child.once('error', exit.reject);
    // Not `close`: it never comes while a daemon keeps the pipe open.
    child.once('exit', (code, exitSignal) => {
      exit.resolve({ code, signal: exitSignal, termination });
    });
    return await exit.promise;
  } finally {
    stopWatching();
    output.off('data', onData);
    for (const timer of timers) clearTimeout(timer);
    removeListener();
  }
}

function killGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid !== undefined) sendSignal(-child.pid, signal);
}
