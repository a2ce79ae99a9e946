import { statfs } from 'node:fs/promises';
import type { TerminationReason, BuildLimits } from './limits.js';
import { treeOf } from './process-tree.js';
import { readProcFile, sendSignal, findBuildProcesses } from './processes.js';
import { StragglerDetector } from './stragglers.js';

/** How often a build is looked at, milliseconds. */
const CHECK_INTERVAL_MS = 1000;
/** Where looks take long, they are made less often: each takes at most a twentieth of the time, down to this rate. */
const CHECK_INTERVAL_FACTOR = 20;
const MAX_CHECK_INTERVAL_MS = 5000;
/** How often all processes of the machine are looked at: for this share of the time, within these bounds. */
const FULL_SCAN_INTERVAL_FACTOR = 200;
const FULL_SCAN_INTERVAL_RANGE_MS = [10_000, 120_000] as const;
/** How often it is asked whether something keeps pip waiting; twice that is the most that it takes to notice. */
const STRAGGLER_CHECK_INTERVAL_MS = 5000;

/** A build that runs: its folder, and the process that it began with. */
export interface WatchedBuild {
  readonly folder: string;
  readonly pid: number;
  /** What ticksSinceBoot() said before it began. */
  readonly since?: number;
}

/** What a build that is watched gives rise to. */
export interface WatchListener {
  /** It is over a limit; nothing is watched after that. */
  readonly onLimit: (ending: TerminationReason) => void;
  /** Something was done that the log should tell of. */
  readonly onNote: (line: string) => void;
}

/**
 * Looks after a build until it is told to stop: says which limit it is over, of free disk, of processes, of memory;
 * and kills what keeps pip waiting after the build's own work has ended (stragglers.ts). Linux alone tells of
 * processes; elsewhere only the disk is watched.
 *
 * The frequent look is at the processes that descend from the build's first one: in a sandbox, and below the reaper,
 * those are all. The seldom one is at all of the machine's, for those that bear the build's mark all the same.
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
    const began = performance.now();
    // What can't be found out now, for want of open files, say, is looked at again.
    const exceededLimit = await findExceededLimit(build, processes, limits).catch(() => undefined);
    if (stopped) return;
    if (exceededLimit !== undefined) onLimit(exceededLimit);
    else
      timer = setTimeout(
        startCheck,
        nextInterval(
          performance.now() - began,
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

const nextInterval = (tookMs: number, factor: number, minMs: number, maxMs: number): number =>
  Math.min(Math.max(tookMs * factor, minMs), maxMs);

/** Returns the limit that a build is over at the moment. */
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

/** Knows the processes of a build. */
class BuildProcesses {
  readonly #build: WatchedBuild;
  readonly #onNote: (line: string) => void;
  readonly #stragglerDetector = new StragglerDetector();
  /** Those that the last full look found and that don't descend from the first one. */
  #strays: readonly number[] = [];
  #fullScanDue = performance.now() + FULL_SCAN_INTERVAL_RANGE_MS[0];
  #stragglerCheckDue = performance.now() + STRAGGLER_CHECK_INTERVAL_MS;

  constructor(build: WatchedBuild, onNote: (line: string) => void) {
    this.#build = build;
    this.#onNote = onNote;
  }

  /** Returns the ids of all that are known, and kills what keeps pip waiting. */
  async scan(): Promise<ReadonlySet<number>> {
    const { pid, folder, since } = this.#build;
    const tree = treeOf(pid);
    if (performance.now() >= this.#fullScanDue) {
      const began = performance.now();
      this.#strays = (await findBuildProcesses(folder, since)).filter((stray) => !tree.has(stray));
      const took = performance.now() - began;
      this.#fullScanDue =
        performance.now() + nextInterval(took, FULL_SCAN_INTERVAL_FACTOR, ...FULL_SCAN_INTERVAL_RANGE_MS);
    }
    if (performance.now() >= this.#stragglerCheckDue) {
      this.#stragglerCheckDue = performance.now() + STRAGGLER_CHECK_INTERVAL_MS;
      const stragglers = await this.#stragglerDetector.find(tree, () => findBuildProcesses(folder, since));
      for (const straggler of stragglers) {
        this.#onNote(
          `piw: killed process ${String(straggler.pid)} (${straggler.command}): ` +
            'it kept the output of the build open after the build backend had ended',
        );
        sendSignal(straggler.pid, 'SIGKILL');
      }
    }
    return new Set([...tree.keys(), ...this.#strays]);
  }
}

/** Bytes that are left to this user; where nothing tells, no end of them. */
async function freeDiskBytes(folder: string): Promise<number> {
  const { bsize, bavail } = await statfs(folder).catch(() => ({ bsize: 1, bavail: Infinity }));
  return bsize * bavail;
}

/**
 * Bytes of memory that would be free if this process ended, roughly: what it shares with its parent since
 * a fork is counted for each of them, and the files that it has mapped for none.
 */
function privateMemoryBytes(pid: number): number {
  const status = readProcFile(`/proc/${String(pid)}/status`);
  return [/^RssAnon:\s*(\d+) kB$/m, /^RssShmem:\s*(\d+) kB$/m]
    .map((line) => Number(line.exec(status)?.[1] ?? 0) * 1024)
    .reduce((sum, bytes) => sum + bytes, 0);
}
