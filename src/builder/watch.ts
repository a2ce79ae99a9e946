import { statfs } from 'node:fs/promises';
import type { TerminationReason, BuildLimits } from './limits.js';
import { treeOf } from './process-tree.js';
import { readProcFile, sendSignal, findBuildProcesses } from './processes.js';
import { StragglerDetector } from './stragglers.js';

/** The minimum interval between two checks of a build. */
const CHECK_INTERVAL_MS = 1000;
/** Slow checks are made less often: the interval is this many times a check's duration, up to the maximum. */
const CHECK_INTERVAL_FACTOR = 20;
const MAX_CHECK_INTERVAL_MS = 5000;
/** The interval of scans of all processes of the machine: this many times a scan's duration, within these bounds. */
const FULL_SCAN_INTERVAL_FACTOR = 200;
const FULL_SCAN_INTERVAL_RANGE_MS = [10_000, 120_000] as const;
/** The interval of checks for processes that keep pip waiting; one is noticed within twice that time. */
const STRAGGLER_CHECK_INTERVAL_MS = 5000;

/** A running build: its folder and its first process. */
interface WatchedBuild {
  readonly folder: string;
  readonly pid: number;
  /** The result of ticksSinceBoot() before it started. */
  readonly since?: number;
}

/** The callbacks of a watched build. */
interface WatchListener {
  /** Called when the build exceeds a limit; watching stops then. */
  readonly onLimit: (reason: TerminationReason) => void;
  /** Called with a line for the build's log about an action of the watcher. */
  readonly onNote: (line: string) => void;
}

/**
 * Watches a build until the returned function is called: reports the first limit that it exceeds (free disk space,
 * processes, memory), and kills processes that keep pip waiting after the build's own work has ended (stragglers.ts).
 * On other systems than Linux it watches only the disk.
 *
 * The frequent check covers the descendants of the build's first process; in a sandbox and below the reaper, those
 * are all of its processes. A rarer scan of the whole machine finds other processes with the build's mark.
 */
export function watchBuild(
  build: WatchedBuild,
  limits: BuildLimits,
  { onLimit, onNote }: WatchListener,
): () => void {
  const processes = new BuildProcesses(build, onNote);
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  const check = async (): Promise<void> => {
    const startedAt = performance.now();
    // A check that fails, e.g. because of too many open files, is repeated.
    const exceededLimit = await findExceededLimit(build, processes, limits).catch(() => undefined);
    if (stopped) return;
    if (exceededLimit !== undefined) onLimit(exceededLimit);
    else
      timer = setTimeout(
        startCheck,
        nextInterval(
          performance.now() - startedAt,
          CHECK_INTERVAL_FACTOR,
          CHECK_INTERVAL_MS,
          MAX_CHECK_INTERVAL_MS,
        ),
      );
  };
  const startCheck = (): void => {
    void check();
  };
  timer = setTimeout(startCheck, CHECK_INTERVAL_MS);
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}

const nextInterval = (durationMs: number, factor: number, minMs: number, maxMs: number): number =>
  Math.min(Math.max(durationMs * factor, minMs), maxMs);

/** Returns the limit that a build exceeds at the moment; undefined if it exceeds none. */
async function findExceededLimit(
  { folder }: WatchedBuild,
  processes: BuildProcesses,
  limits: BuildLimits,
): Promise<TerminationReason | undefined> {
  if (limits.diskFree > 0 && (await freeDiskBytes(folder)) < limits.diskFree) return 'disk';
  if (process.platform !== 'linux') return undefined;
  const pids = await processes.scan();
  if (limits.processes > 0 && pids.size > limits.processes) return 'processes';
  if (limits.memory === 0) return undefined;
  let memory = 0;
  for (const pid of pids) memory += privateMemoryBytes(pid);
  return memory > limits.memory ? 'memory' : undefined;
}

/** Finds the processes of a build. */
class BuildProcesses {
  readonly #build: WatchedBuild;
  readonly #onNote: (line: string) => void;
  readonly #stragglerDetector = new StragglerDetector();
  /** The build's processes that the last full scan found and that do not descend from its first process. */
  #strays: readonly number[] = [];
  #fullScanDue = performance.now() + FULL_SCAN_INTERVAL_RANGE_MS[0];
  #stragglerCheckDue = performance.now() + STRAGGLER_CHECK_INTERVAL_MS;

  constructor(build: WatchedBuild, onNote: (line: string) => void) {
    this.#build = build;
    this.#onNote = onNote;
  }

  /** Returns the ids of the build's processes, and kills those that keep pip waiting. */
  async scan(): Promise<ReadonlySet<number>> {
    const { pid, folder, since } = this.#build;
    const tree = treeOf(pid);
    if (performance.now() >= this.#fullScanDue) {
      const startedAt = performance.now();
      this.#strays = (await findBuildProcesses(folder, since)).filter((stray) => !tree.has(stray));
      const durationMs = performance.now() - startedAt;
      this.#fullScanDue =
        performance.now() +
        nextInterval(durationMs, FULL_SCAN_INTERVAL_FACTOR, ...FULL_SCAN_INTERVAL_RANGE_MS);
    }
    if (performance.now() >= this.#stragglerCheckDue) {
      this.#stragglerCheckDue = performance.now() + STRAGGLER_CHECK_INTERVAL_MS;
      const stragglers = await this.#stragglerDetector.find(tree, () => findBuildProcesses(folder, since));
      for (const straggler of stragglers) {
        this.#onNote(
          `piw: killed process ${straggler.pid} (${straggler.command}): ` +
            'it kept the output of the build open after the build backend had ended',
        );
        sendSignal(straggler.pid, 'SIGKILL');
      }
    }
    return new Set([...tree.keys(), ...this.#strays]);
  }
}

/** Returns the disk space that this user has left, bytes; Infinity if unknown. */
async function freeDiskBytes(folder: string): Promise<number> {
  const { bsize, bavail } = await statfs(folder).catch(() => ({ bsize: 1, bavail: Infinity }));
  return bsize * bavail;
}

/**
 * Returns roughly how many bytes of memory would be freed if this process ended: pages that it shares with its parent
 * since a fork count for both of them, mapped files for neither.
 */
function privateMemoryBytes(pid: number): number {
  const status = readProcFile(`/proc/${pid}/status`);
  return [/^RssAnon:\s*(\d+) kB$/m, /^RssShmem:\s*(\d+) kB$/m]
    .map((line) => Number(line.exec(status)?.[1] ?? 0) * 1024)
    .reduce((sum, bytes) => sum + bytes, 0);
}
