import type { Bus } from '../../bus/bus.js';
import type { Log } from '../../log.js';
import type { HostLookup, LineReader } from '../../weblog/reader.js';

/** Dependencies and settings that counting files and counting a pipe share. */
export interface LoggerContext {
  readonly reader: LineReader;
  readonly hostOf: HostLookup;
  /** How long a line waits for others before it is sent, milliseconds. */
  readonly delayMs: number;
  readonly log: Log;
  /** Aborted when the logger should stop. */
  readonly signal: AbortSignal;
  /** Throws PIW_UNREACHABLE after a few seconds. */
  readonly connect: () => Promise<Bus>;
}
