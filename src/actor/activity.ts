import { readFileSync } from 'node:fs';

/** The kernel counts a process's time in hundredths of a second towards user space, on every architecture. */
const TICK_MS = 10;

/** What the kernel knows of a process: whether it wants a processor, and how much of one it has had. */
export interface ProcessActivity {
  readonly runnable: boolean;
  readonly cpuMs: number;
}

/** Undefined where /proc doesn't tell: another system, or no such process. */
export function activityOf(pid: number | undefined): ProcessActivity | undefined {
  if (pid === undefined) return undefined;
  try {
    const stat = readFileSync(`/proc/${String(pid)}/stat`, 'latin1');
    // The command in parentheses may hold spaces.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return {
      runnable: fields[0] === 'R',
      cpuMs: (Number(fields[11]) + Number(fields[12])) * TICK_MS,
    };
  } catch {
    return undefined;
  }
}

/**
 * Measures how long a process has been silent through its own fault, in milliseconds. While it is ready to run, only
 * the processor time that it gets counts: beside sixty busy sessions that is a hundredth of what the clock says. An
 * endless loop gets its time sooner or later; one that is stopped, deadlocked or blocked in a system call isn't ready
 * to run, and all of the time counts.
 */
export class SilenceMeter {
  readonly #pid: number | undefined;
  #cpuMs: number;
  #silentMs = 0;

  constructor(pid: number | undefined) {
    this.#pid = pid;
    this.#cpuMs = activityOf(pid)?.cpuMs ?? 0;
  }

  /** Adds the `elapsedMs` since the last call; returns the silence so far. */
  add(elapsedMs: number): number {
    const activity = activityOf(this.#pid);
    const cpuUsedMs = activity ? activity.cpuMs - this.#cpuMs : 0;
    if (activity) this.#cpuMs = activity.cpuMs;
    this.#silentMs += activity?.runnable ? Math.min(cpuUsedMs, elapsedMs) : elapsedMs;
    return this.#silentMs;
  }

  /** The process has shown that it is alive. */
  reset(): void {
    this.#silentMs = 0;
  }
}
