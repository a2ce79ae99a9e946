import type { Bus } from '../../bus/bus.js';
import type { Log } from '../../log.js';
import type { HostLookup, LineReader } from '../../weblog/reader.js';

/** What files and pipes have in common. */
export interface LoggerContext {
  readonly reader: LineReader;
  readonly hostOf: HostLookup;
  /** How long a line waits for others, milliseconds. */
  readonly delayMs: number;
  readonly log: Log;
  /** Aborted when it is to end. */
  readonly signal: AbortSignal;
  /** Raises PIW_UNREACHABLE after a few seconds. */
  readonly connect: () => Promise<Bus>;
}
