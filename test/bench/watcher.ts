import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { processIds, readProcFile } from '../../src/builder/processes.js';
import type { Benchmark } from './bench.js';
import { WorkerProcess } from './processes.js';
import type { WatcherReport } from './watcher-process.js';

/**
 * Measures the CPU time per second that a slave takes to watch a build, on a machine with many other processes. Runs
 * only on Linux.
 */
export const watcher: Benchmark = {
  name: 'watcher',
  summary: 'CPU time that a slave takes to watch a build among many other processes',
  options: { processes: 500, tree: 20, seconds: 60 },
  run: async ({ processes = 500, tree = 20, seconds = 60 }, say) => {
    const folder = mkdtempSync(join(realpathSync(tmpdir()), 'piw-bench-'));
    const otherProcesses = spawnSleepers(processes);
    const build = spawnSleepers(tree, { PIW_BUILD: folder });
    try {
      await Promise.all([waitUntilStarted(otherProcesses, processes), waitUntilStarted(build, tree)]);
      const { pid = 0 } = build;
      const present = processIds().length;
      say(`${present} processes are running, ${tree} of them in the build`);
      const idle = await measure(folder, 0, seconds / 4);
      const watching = await measure(folder, pid, seconds);
      return {
        figures: {
          watcher_ms_per_s: watching.cpuMs / watching.seconds,
          watcher_less_idle_ms_per_s: watching.cpuMs / watching.seconds - idle.cpuMs / idle.seconds,
        },
        limits: {
          idle_process_ms_per_s: idle.cpuMs / idle.seconds,
          read_stat_of_all_ms: millisecondsFor(() => {
            for (const id of processIds()) readProcFile(`/proc/${id}/stat`);
          }),
          read_children_of_build_ms: millisecondsFor(() => {
            for (let next = [String(pid)]; next.length > 0;) {
              next = next.flatMap((parent) =>
                readProcFile(`/proc/${parent}/task/${parent}/children`)
                  .split(' ')
                  .filter((child) => child !== ''),
              );
            }
          }),
        },
      };
    } finally {
      for (const { pid } of [otherProcesses, build]) if (pid !== undefined) process.kill(-pid, 'SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    }
  },
};

/** Starts a process with this many sleeping children, in a process group of its own. */
function spawnSleepers(count: number, env: Readonly<Record<string, string>> = {}): ChildProcess {
  const script = 'i=0; while [ $i -lt $0 ]; do sleep 3600 & i=$((i+1)); done; echo begun; wait';
  return spawn('/bin/sh', ['-c', script, String(count)], {
    env: { PATH: process.env['PATH'], ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  });
}

async function waitUntilStarted({ stdout }: ChildProcess, count: number): Promise<void> {
  if (stdout) for await (const _ of stdout) return;
  throw new Error(`failed to start ${count} processes`);
}

async function measure(folder: string, pid: number, seconds: number): Promise<WatcherReport> {
  const worker = new WorkerProcess('./watcher-process.js', folder, String(pid), String(seconds));
  try {
    return (await worker.receive()) as WatcherReport;
  } finally {
    worker.kill();
  }
}

/** Returns the CPU time that `operation` takes, milliseconds: the mean of twenty calls. */
function millisecondsFor(operation: () => void): number {
  const before = process.cpuUsage();
  for (let i = 0; i < 20; i += 1) operation();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000 / 20;
}
