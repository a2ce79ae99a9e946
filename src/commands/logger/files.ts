import { PiwError, errorMessage } from '../../errors.js';
import { LogCounter, type LogCounterOptions, type LogCountResult } from '../../weblog/counting.js';
import { openLog } from '../../weblog/log-file.js';
import { FarmConnection } from './farm-link.js';
import type { LoggerContext } from './context.js';
import type { LoggerSummary } from './summary.js';

/** How long the farm may be away, milliseconds. What isn't counted by then is, the next time. */
const MAX_FARM_OUTAGE_MS = 60_000;
const REQUEST_TIMEOUT_MS = 15_000;
/** How often the line on the terminal is new, milliseconds. */
const PROGRESS_INTERVAL_MS = 300;

/**
 * Counts logs, one after the other; one that can't be read doesn't keep the others from it. All are opened at first,
 * so that one that is renamed meanwhile is read all the same. Raises what keeps it from reaching the farm.
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
        log.error(`${name} can't be read: ${errorMessage(error)}`);
        summary.failed = true;
        return undefined;
      }
    }),
  );
  const farm = new FarmConnection({
    ...{ connect, timeoutMs: REQUEST_TIMEOUT_MS, patienceMs: MAX_FARM_OUTAGE_MS, signal },
    onAvailabilityChange: (why) => {
      if (why === undefined) log.info('the farm answers again');
      else log.warning(`the farm does not answer, and is asked again for a minute: ${why}`);
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
        // The system's word about the file, and zlib's.
        if (error instanceof PiwError || !(error instanceof Error) || !('code' in error)) throw error;
        log.error(`${logFile.name} can't be read to its end: ${errorMessage(error)}`);
        summary.failed = true;
      } finally {
        summary.addFile(logFile.name, counter.result);
      }
    }
    if (signal.aborted) throw new PiwError('PIW_INTERRUPTED', 'interrupted; what is counted stays counted');
  } finally {
    if (process.stderr.isTTY) process.stderr.write(CLEAR_LINE);
    for (const log of logFiles) await log?.close();
    await farm.close();
  }
}

/** Back to the beginning of the line, which is emptied. */
const CLEAR_LINE = '\r\u001b[K';

/** Says on a terminal how far it is; `size` is that of the file. */
function createProgressReporter(name: string, size: number): LogCounterOptions['onProgress'] {
  let lastShownAt = performance.now();
  return ({ upto, tally }: LogCountResult) => {
    if (!process.stderr.isTTY || performance.now() - lastShownAt < PROGRESS_INTERVAL_MS) return;
    lastShownAt = performance.now();
    const share = upto <= size ? `, ${String(Math.floor((100 * upto) / size))} %` : '';
    process.stderr.write(`${CLEAR_LINE}${name}: ${tally.lines.toLocaleString('en')} lines${share}`);
  };
}
