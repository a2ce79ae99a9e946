import { readFileSync } from 'node:fs';

/** The kernel reports CPU time to user space in hundredths of a second, on every architecture. */
const TICK_MS = 10;

/** The state of a process in /proc: whether it is running or waiting for a processor, and the CPU time it has used. */
interface ProcessActivity {
  readonly runnable: boolean;
  readonly cpuMs: number;
}

/** Returns the activity of a process; undefined if there is no such process, or no /proc on this system. */
export function activityOf(pid: number | undefined): ProcessActivity | undefined {
  if (pid === undefined) return undefined;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The command name, in parentheses, may contain spaces.
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
 * Measures how long a process has been silent through its own fault, in milliseconds. While it is runnable, only the
 * CPU time that it gets counts: among sixty busy sessions that is a hundredth of the elapsed time. An endless loop
 * gets its CPU time sooner or later. A process that is stopped, deadlocked or blocked in a system call is not
 * runnable, and all of the elapsed time counts.
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

  /** Starts again at 0: the process has shown that it is alive. */
  reset(): void {
    this.#silentMs = 0;
  }
}
