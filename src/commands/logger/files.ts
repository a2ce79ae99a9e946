import { PiwError } from '../../errors.js';
import { LogCounter, type LogCounterOptions, type LogCountResult } from '../../weblog/counting.js';
import { openLog } from '../../weblog/log-file.js';
import { FarmConnection } from './farm-link.js';
import type { LoggerContext } from './context.js';
import type { LoggerSummary } from './summary.js';
import { formatQuantity } from '../../units.js';

/** How long requests are retried while the farm is down, milliseconds. The next run counts the rest. */
const MAX_FARM_OUTAGE_MS = 60_000;
const REQUEST_TIMEOUT_MS = 15_000;
/** Minimum time between two updates of the progress line, milliseconds. */
const PROGRESS_INTERVAL_MS = 300;

/**
 * Counts logs, one after the other. A log that can't be read is reported, and the others are still counted. All logs
 * are opened first, so that renaming one while others are counted does no harm. Throws if the farm can't be reached.
 */
export async function countFiles(
  names: readonly string[],
  context: LoggerContext,
  summary: LoggerSummary,
): Promise<void> {
  const { connect, log, signal } = context;
  const logFiles = await Promise.all(
    names.map(async (name) => {
      try {
        return await openLog(name);
      } catch (error) {
        log.error("file can't be read", { file: name }, error);
        summary.failed = true;
        return undefined;
      }
    }),
  );
  const farm = new FarmConnection({
    connect,
    timeoutMs: REQUEST_TIMEOUT_MS,
    patienceMs: MAX_FARM_OUTAGE_MS,
    signal,
    onAvailabilityChange: (reason) => {
      if (reason === undefined) log.info('the farm answers again');
      else log.warning('the farm does not answer; retrying for a minute', { reason });
    },
  });
  try {
    for (const logFile of logFiles) {
      if (!logFile || signal.aborted) continue;
      const counter = new LogCounter(logFile, {
        ...context,
        farm,
        onProgress: createProgressReporter(logFile.name, logFile.size),
      });
      try {
        await counter.run();
      } catch (error) {
        // Errors of the file system and of zlib have a code: they concern this file only.
        if (error instanceof PiwError || !(error instanceof Error) || !('code' in error)) throw error;
        log.error("file can't be read to the end", { file: logFile.name }, error);
        summary.failed = true;
      } finally {
        summary.addFile(logFile.name, counter.result);
      }
    }
    if (signal.aborted)
      throw new PiwError('PIW_INTERRUPTED', 'interrupted; what was counted so far stays counted');
  } finally {
    if (process.stderr.isTTY) process.stderr.write(CLEAR_LINE);
    for (const log of logFiles) await log?.close();
    await farm.close();
  }
}

/** Moves to the beginning of the line and erases it. */
const CLEAR_LINE = '\r\u001b[K';

/** Returns a callback that shows progress on a terminal; `size` is the size of the file, bytes. */
function createProgressReporter(name: string, size: number): LogCounterOptions['onProgress'] {
  let lastShownAt = performance.now();
  return ({ upto, tally }: LogCountResult) => {
    if (!process.stderr.isTTY || performance.now() - lastShownAt < PROGRESS_INTERVAL_MS) return;
    lastShownAt = performance.now();
    const share = upto <= size ? `, ${Math.floor((100 * upto) / size)} %` : '';
    process.stderr.write(`${CLEAR_LINE}${name}: ${formatQuantity(tally.lines, 'line')}${share}`);
  };
}
