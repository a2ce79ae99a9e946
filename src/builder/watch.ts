import { statfs } from 'node:fs/promises';
import type { Ending, Limits } from './limits.js';
import { treeOf } from './process-tree.js';
import { contentsOf, kill, processesOf } from './processes.js';
import { Stragglers } from './stragglers.js';

/** How often a build is looked at, milliseconds. */
const INTERVAL_MS = 1000;
/** Where looks take long, they are made less often: each takes at most a twentieth of the time, down to this rate. */
const LOOK_SHARE = 20;
const LONGEST_INTERVAL_MS = 5000;
/** How often all processes of the machine are looked at: for this share of the time, within these bounds. */
const FULL_LOOK_SHARE = 200;
const FULL_LOOK_MS = [10_000, 120_000] as const;
/** How often it is asked whether something keeps pip waiting; twice that is the most that it takes to notice. */
const STRAGGLERS_MS = 5000;

/** A build that runs: its folder, and the process that it began with. */
export interface Watched {
  readonly folder: string;
  readonly pid: number;
  /** What ticksSinceBoot() said before it began. */
  readonly since?: number;
}

/** What a build that is watched gives rise to. */
export interface Watcher {
  /** It is over a limit; nothing is watched after that. */
  readonly onLimit: (ending: Ending) => void;
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
export function watch(build: Watched, limits: Limits, { onLimit, onNote }: Watcher): () => void {
  const processes = new BuildProcesses(build, onNote);
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  const look = async (): Promise<void> => {
    const began = performance.now();
    // What can't be found out now, for want of open files, say, is looked at again.
    const ending = await exceeded(build, processes, limits).catch(() => undefined);
    if (stopped) return;
    if (ending !== undefined) onLimit(ending);
    else
      timer = setTimeout(
        again,
        spacing(performance.now() - began, LOOK_SHARE, INTERVAL_MS, LONGEST_INTERVAL_MS),
      );
  };
  const again = (): void => {
    void look();
  };
  timer = setTimeout(again, INTERVAL_MS);
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}

const spacing = (tookMs: number, share: number, least: number, most: number): number =>
  Math.min(Math.max(tookMs * share, least), most);

/** Returns the limit that a build is over at the moment. */
async function exceeded(
  { folder }: Watched,
  processes: BuildProcesses,
  limits: Limits,
): Promise<Ending | undefined> {
  if (limits.diskFree > 0 && (await freeDisk(folder)) < limits.diskFree) return 'disk';
  if (process.platform !== 'linux') return undefined;
  const pids = await processes.look();
  if (limits.processes > 0 && pids.size > limits.processes) return 'processes';
  if (limits.memory === 0) return undefined;
  let memory = 0;
  for (const pid of pids) memory += ownMemory(pid);
  return memory > limits.memory ? 'memory' : undefined;
}

/** Knows the processes of a build. */
class BuildProcesses {
  readonly #build: Watched;
  readonly #onNote: (line: string) => void;
  readonly #stragglers = new Stragglers();
  /** Those that the last full look found and that don't descend from the first one. */
  #strays: readonly number[] = [];
  #fullLookDue = performance.now() + FULL_LOOK_MS[0];
  #stragglersDue = performance.now() + STRAGGLERS_MS;

  constructor(build: Watched, onNote: (line: string) => void) {
    this.#build = build;
    this.#onNote = onNote;
  }

  /** Returns the ids of all that are known, and kills what keeps pip waiting. */
  async look(): Promise<ReadonlySet<number>> {
    const { pid, folder, since } = this.#build;
    const tree = treeOf(pid);
    if (performance.now() >= this.#fullLookDue) {
      const began = performance.now();
      this.#strays = (await processesOf(folder, since)).filter((stray) => !tree.has(stray));
      const took = performance.now() - began;
      this.#fullLookDue = performance.now() + spacing(took, FULL_LOOK_SHARE, ...FULL_LOOK_MS);
    }
    if (performance.now() >= this.#stragglersDue) {
      this.#stragglersDue = performance.now() + STRAGGLERS_MS;
      const stragglers = await this.#stragglers.find(tree, () => processesOf(folder, since));
      for (const straggler of stragglers) {
        this.#onNote(
          `piw: killed process ${String(straggler.pid)} (${straggler.command}): ` +
            'it kept the output of the build open after the build backend had ended',
        );
        kill(straggler.pid, 'SIGKILL');
      }
    }
    return new Set([...tree.keys(), ...this.#strays]);
  }
}

/** Bytes that are left to this user; where nothing tells, no end of them. */
async function freeDisk(folder: string): Promise<number> {
  const { bsize, bavail } = await statfs(folder).catch(() => ({ bsize: 1, bavail: Infinity }));
  return bsize * bavail;
}

/**
 * Bytes of memory that would be free if this process ended, roughly: what it shares with its parent since
 * a fork is counted for each of them, and the files that it has mapped for none.
 */
function ownMemory(pid: number): number {
  const status = contentsOf(`/proc/${String(pid)}/status`);
  return [/^RssAnon:\s*(\d+) kB$/m, /^RssShmem:\s*(\d+) kB$/m]
    .map((line) => Number(line.exec(status)?.[1] ?? 0) * 1024)
    .reduce((sum, bytes) => sum + bytes, 0);
}
