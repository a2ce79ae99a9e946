import { processIds, readProcFile, readProcStat } from '../../src/builder/processes.js';

/** The kernel's clock ticks per second (USER_HZ), on every Linux. */
const TICKS_PER_S = 100;
const PAGE_BYTES = 4096;

/** A process as /proc shows it. What can't be read is empty: it has ended, or belongs to another user. */
export class ProcessEntry {
  readonly pid: number;

  constructor(pid: number) {
    this.pid = pid;
  }

  /** The program and its arguments. */
  get words(): readonly string[] {
    return this.#read('cmdline').split('\0');
  }

  /** `NAME=value` items, each followed by a null character. */
  get environment(): string {
    return this.#read('environ');
  }

  /** The task of one of the farm's actors; undefined for any other process. */
  get task(): string | undefined {
    const { words } = this;
    const program = words.findIndex((word) => word.endsWith('/actor-process.js'));
    return program > 0 ? words[program + 1] : undefined;
  }

  /** The kernel's letter for the state, e.g. R for running or Z for a zombie; undefined if there is no such process. */
  get state(): string | undefined {
    return readProcStat(this.pid)[0];
  }

  get parent(): number {
    return Number(readProcStat(this.pid)[1] ?? 0);
  }

  get group(): number {
    return Number(readProcStat(this.pid)[2] ?? 0);
  }

  /** The CPU time of the process itself, seconds. */
  get cpuSeconds(): number {
    const { 11: user = 0, 12: system = 0 } = readProcStat(this.pid);
    return (Number(user) + Number(system)) / TICKS_PER_S;
  }

  get residentBytes(): number {
    return Number(readProcStat(this.pid)[21] ?? 0) * PAGE_BYTES;
  }

  /** The peak of the resident memory, bytes, since the start or since clear_refs was last set to 5. */
  get peakResidentBytes(): number {
    return 1024 * Number(/VmHWM:\s+(\d+)/.exec(this.#read('status'))?.[1] ?? 0);
  }

  /** The resident memory, bytes, in which memory shared by n processes counts as 1/n. */
  get proportionalBytes(): number {
    return 1024 * Number(/^Pss:\s+(\d+)/m.exec(this.#read('smaps_rollup'))?.[1] ?? 0);
  }

  #read(file: string): string {
    return readProcFile(`/proc/${this.pid}/${file}`);
  }
}

/** Returns all processes that this process can see. */
export const allProcesses = (): readonly ProcessEntry[] => processIds().map((pid) => new ProcessEntry(pid));

/** Returns the ids of the processes that have this text in their command line. */
export const processesWith = (text: string): readonly number[] =>
  allProcesses()
    .filter(({ words }) => words.join('\0').includes(text))
    .map(({ pid }) => pid);
