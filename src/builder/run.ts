import { spawn } from 'node:child_process';
import { readFile, readdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { MARK } from './environment.js';
import { BuildLog } from './log.js';

export interface RunOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** The build's mark, which is in `env`. */
  readonly mark: string;
  /** Wall time, milliseconds. */
  readonly timeoutMs: number;
  readonly logLimit: number;
  readonly signal: AbortSignal;
  /** Every line of output without its end. */
  readonly onLine: (line: string) => void;
}

export interface RunResult {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly signal: string | null;
  /** Why it was ended from here, if it was. */
  readonly ended: 'timeout' | 'killed' | undefined;
  readonly output: string;
}

/** How long a build that is told to end may take over it, milliseconds. */
const GRACE_MS = 3000;
/** Rounds of looking for processes that escaped, each of which kills those it finds. */
const ROUNDS = 20;

/**
 * Runs a build in a process group of its own, and gives its result when all of it is dead: the
 * group is killed, and then every process that bears the build's mark, which one that makes itself a
 * daemon inherits like any other (Linux; elsewhere the group is all that is known).
 */
export async function run(options: RunOptions): Promise<RunResult> {
  const log = new BuildLog(options.logLimit, options.onLine);
  const child = spawn(options.command, options.args, {
    cwd: options.cwd,
    env: { ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  let ended: RunResult['ended'];
  let hard: NodeJS.Timeout | undefined;
  const end = (why: RunResult['ended']): void => {
    if (ended !== undefined || child.pid === undefined) return;
    ended = why;
    killGroup(child.pid, 'SIGTERM');
    hard = setTimeout(() => {
      killGroup(child.pid ?? 0, 'SIGKILL');
    }, GRACE_MS);
  };
  const timer = setTimeout(() => {
    end('timeout');
  }, options.timeoutMs);
  const abort = (): void => {
    end('killed');
  };
  options.signal.addEventListener('abort', abort, { once: true });
  if (options.signal.aborted) abort();
  child.stdout.on('data', (data: Buffer) => {
    log.add(data);
  });
  child.stderr.on('data', (data: Buffer) => {
    log.add(data);
  });
  try {
    const { code, signal } = await new Promise<{ code: number | null; signal: string | null }>(
      (resolve, reject) => {
        child.once('error', reject);
        // Not `close`: a daemon that kept the pipe open would never let it come.
        child.once('exit', (exit, by) => {
          resolve({ code: exit, signal: by });
        });
      },
    );
    // What is still in the pipes is read; the pipe of a daemon is not waited for.
    await Promise.race([closed(child.stdout), sleep(500)]);
    return { code, signal, ended, output: log.text() };
  } finally {
    clearTimeout(timer);
    clearTimeout(hard);
    options.signal.removeEventListener('abort', abort);
    if (child.pid !== undefined) killGroup(child.pid, 'SIGKILL');
    await killMarked(options.mark);
    child.stdout.destroy();
    child.stderr.destroy();
  }
}

function closed(stream: NodeJS.ReadableStream & { closed?: boolean }): Promise<void> {
  return new Promise((resolve) => {
    if (stream.closed) resolve();
    else
      stream.once('close', () => {
        resolve();
      });
  });
}

function killGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    // The group is empty, or all that is left of it is another user's.
    if (!['ESRCH', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

/** Kills every process with the build's mark in its environment, until there is none. */
async function killMarked(mark: string): Promise<void> {
  if (process.platform !== 'linux') return;
  const needle = `${MARK}=${mark}`;
  for (let round = 0; round < ROUNDS; round += 1) {
    const marked: number[] = [];
    for (const pid of await readdir('/proc')) {
      if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
      // Another user's, or gone already: not ours.
      const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '');
      if (environment.split('\0').includes(needle)) marked.push(Number(pid));
    }
    if (marked.length === 0) return;
    for (const pid of marked) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
      }
    }
    await sleep(25);
  }
}
