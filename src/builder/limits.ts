import type { Failure } from './failure.js';

/**
 * What one build may use. Each has its own plain failure; 0 is no limit. Only memory, processes and free
 * disk are watched from outside (watch.ts); the rest the system holds, or the builder itself.
 */
export interface BuildLimits {
  /** How long it may say nothing, milliseconds. */
  readonly silenceMs: number;
  /** Bytes of its log that are kept. */
  readonly log: number;
  /** Whether a longer log is a failure. */
  readonly logFails: boolean;
  /** Bytes that it may print, whether they are kept or not. */
  readonly output: number;
  /** Bytes of memory of its own that all of its processes have together. */
  readonly memory: number;
  /** Bytes of address space of each of its processes: for machines on which a second is too long. */
  readonly addressSpace: number;
  /** How many processes it may have at once. */
  readonly processes: number;
  /** How many files each of its processes may have open. */
  readonly openFiles: number;
  /** Bytes of one file that it writes. */
  readonly fileSize: number;
  /** Bytes that have to stay free on the disk that it is made on. */
  readonly diskFree: number;
  /** How much less than the slave it matters to the scheduler, 0 to 19. */
  readonly niceness: number;
}

const MB = 1024 ** 2;

export const DEFAULT_BUILD_LIMITS: BuildLimits = {
  silenceMs: 3_600_000,
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

/** Why a build was ended from here: a limit that it went over, or because it was told to. */
export type TerminationReason =
  'timeout' | 'killed' | 'silent' | 'log-limit' | 'output-limit' | 'memory' | 'disk' | 'processes';

/** The failure that an ending is, for a build with these limits and so many milliseconds of wall time. */
export function failureForTermination(
  reason: TerminationReason,
  limits: BuildLimits,
  timeoutMs: number,
): Failure {
  switch (reason) {
    case 'timeout':
      return { failureClass: 'timeout', sentence: `it took more than ${seconds(timeoutMs)}` };
    case 'killed':
      return { failureClass: 'killed', sentence: 'it was told to end' };
    case 'silent':
      return { failureClass: 'silent', sentence: `it said nothing for ${seconds(limits.silenceMs)}` };
    case 'log-limit':
      return { failureClass: 'log-limit', sentence: `its log has more than ${megabytes(limits.log)}` };
    case 'output-limit':
      return { failureClass: 'log-limit', sentence: `it printed more than ${megabytes(limits.output)}` };
    case 'memory':
      return {
        failureClass: 'memory',
        sentence: `it wanted more than ${megabytes(limits.memory)} of memory`,
      };
    case 'disk':
      return {
        failureClass: 'disk',
        sentence: `less than ${megabytes(limits.diskFree)} of the slave's disk was left`,
      };
    case 'processes':
      return {
        failureClass: 'other',
        sentence: `it had more than ${String(limits.processes)} processes at once`,
      };
  }
}

const seconds = (ms: number): string => `${String(Math.round(ms / 1000))} s`;

const megabytes = (bytes: number): string =>
  bytes >= MB ? `${String(Math.round(bytes / MB))} MB` : `${String(bytes)} bytes`;

/**
 * What a shell does before it becomes a build, so that the system holds what it can. A limit that is over
 * what this slave has itself stays as that is. `ulimit -f` counts in 512 bytes, `-v` in 1024; the number of
 * processes is none of a build's but of its whole account, and so is watched instead.
 */
export function ulimits({ addressSpace, openFiles, fileSize }: BuildLimits): string {
  const lines = ['ulimit -c 0'];
  if (openFiles > 0) lines.push(`ulimit -n ${String(openFiles)}`);
  if (fileSize > 0) lines.push(`ulimit -f ${String(Math.ceil(fileSize / 512))}`);
  if (addressSpace > 0) lines.push(`ulimit -v ${String(Math.ceil(addressSpace / 1024))}`);
  return lines.map((line) => `${line} 2>/dev/null || :`).join('; ');
}
