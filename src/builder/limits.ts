import { HOUR_MS, formatQuantity } from '../units.js';
import type { Failure } from './failure.js';

/**
 * The limits of one build; 0 means no limit. Each limit has its own failure sentence. Memory, processes and free disk
 * space are watched from outside (watch.ts); the system or the builder itself enforces the others.
 */
export interface BuildLimits {
  /** How long the build may print nothing, milliseconds. */
  readonly silenceMs: number;
  /** Maximum size of the log that is kept, bytes. */
  readonly log: number;
  /** Whether a longer log makes the build fail. */
  readonly logFails: boolean;
  /** Maximum size of the output, kept or not, bytes. */
  readonly output: number;
  /** Maximum private memory of all processes together, bytes. */
  readonly memory: number;
  /** Maximum address space per process, bytes: for machines that run out of memory between two checks (1 s). */
  readonly addressSpace: number;
  /** Maximum number of processes at once. */
  readonly processes: number;
  /** Maximum number of open files per process. */
  readonly openFiles: number;
  /** Maximum size of a file that the build writes, bytes. */
  readonly fileSize: number;
  /** Minimum free space on the disk of the work folder, bytes. */
  readonly diskFree: number;
  /** The niceness added to that of the slave, 0 to 19. */
  readonly niceness: number;
}

const MB = 1024 ** 2;

export const DEFAULT_BUILD_LIMITS: BuildLimits = {
  silenceMs: HOUR_MS,
  log: 16 * MB,
  logFails: false,
  output: 1024 * MB,
  memory: 0,
  addressSpace: 0,
  processes: 2000,
  openFiles: 4096,
  fileSize: 16 * 1024 * MB,
  diskFree: 256 * MB,
  niceness: 10,
};

/** Why the builder ended a build: the limit that it exceeded, or `killed` for a request of the slave. */
export type TerminationReason =
  'timeout' | 'killed' | 'silent' | 'log-limit' | 'output-limit' | 'memory' | 'disk' | 'processes';

/** Returns the failure of a build that the builder ended for this reason. */
export function failureForTermination(
  reason: TerminationReason,
  limits: BuildLimits,
  timeoutMs: number,
): Failure {
  switch (reason) {
    case 'timeout':
      return { failureClass: 'timeout', sentence: `it took more than ${seconds(timeoutMs)}` };
    case 'killed':
      return { failureClass: 'killed', sentence: 'the slave stopped it' };
    case 'silent':
      return { failureClass: 'silent', sentence: `it printed nothing for ${seconds(limits.silenceMs)}` };
    case 'log-limit':
      return { failureClass: 'log-limit', sentence: `its log is longer than ${megabytes(limits.log)}` };
    case 'output-limit':
      return { failureClass: 'log-limit', sentence: `it printed more than ${megabytes(limits.output)}` };
    case 'memory':
      return {
        failureClass: 'memory',
        sentence: `it used more than ${megabytes(limits.memory)} of memory`,
      };
    case 'disk':
      return {
        failureClass: 'disk',
        sentence: `less than ${megabytes(limits.diskFree)} was free on the slave's disk`,
      };
    case 'processes':
      return {
        failureClass: 'other',
        sentence: `it had more than ${limits.processes} processes at once`,
      };
  }
}

const seconds = (ms: number): string => `${Math.round(ms / 1000)} s`;

const megabytes = (bytes: number): string =>
  bytes >= MB ? `${Math.round(bytes / MB)} MB` : formatQuantity(bytes, 'byte');

/**
 * Returns the shell commands that set the limits that the system can enforce, to be run before the build. A limit
 * above the slave's own stays at the slave's. `ulimit -f` counts in units of 512 bytes, `-v` in units of 1024. The
 * system limits the number of processes per user, not per build, so watch.ts counts them instead.
 */
export function ulimits({ addressSpace, openFiles, fileSize }: BuildLimits): string {
  const lines = ['ulimit -c 0'];
  if (openFiles > 0) lines.push(`ulimit -n ${openFiles}`);
  if (fileSize > 0) lines.push(`ulimit -f ${Math.ceil(fileSize / 512)}`);
  if (addressSpace > 0) lines.push(`ulimit -v ${Math.ceil(addressSpace / 1024)}`);
  return lines.map((line) => `${line} 2>/dev/null || :`).join('; ');
}
