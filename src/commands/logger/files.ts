import { PiwError, reason } from '../../errors.js';
import { Counting, type CountingOptions, type Outcome } from '../../weblog/counting.js';
import { openLog } from '../../weblog/log-file.js';
import { FarmLink } from './farm-link.js';
import type { LoggerContext } from './context.js';
import type { Summary } from './summary.js';

/** How long the farm may be away, milliseconds. What isn't counted by then is, the next time. */
const PATIENCE_MS = 60_000;
const TIMEOUT_MS = 15_000;
/** How often the line on the terminal is new, milliseconds. */
const PROGRESS_MS = 300;

/**
 * Counts logs, one after the other; one that can't be read doesn't keep the others from it. All are opened at first,
 * so that one that is renamed meanwhile is read all the same. Raises what keeps it from reaching the farm.
 */
export async function countFiles(
  names: readonly string[],
  context: LoggerContext,
  summary: Summary,
): Promise<void> {
  const { connect, said, signal } = context;
  const logs = await Promise.all(
    names.map(async (name) => {
      try {
        return await openLog(name);
      } catch (error) {
        said.error(`${name} can't be read: ${reason(error)}`);
        summary.failed = true;
        return undefined;
      }
    }),
  );
  const farm = new FarmLink({
    ...{ connect, timeoutMs: TIMEOUT_MS, patienceMs: PATIENCE_MS, signal },
    onAway: (why) => {
      if (why === undefined) said.info('the farm answers again');
      else said.warning(`the farm does not answer, and is asked again for a minute: ${why}`);
    },
  });
  try {
    for (const log of logs) {
      if (!log || signal.aborted) continue;
      const counting = new Counting(log, { ...context, farm, onProgress: progress(log.name, log.size) });
      try {
        await counting.run();
      } catch (error) {
        // The system's word about the file, and zlib's.
        if (error instanceof PiwError || !(error instanceof Error) || !('code' in error)) throw error;
        said.error(`${log.name} can't be read to its end: ${reason(error)}`);
        summary.failed = true;
      } finally {
        summary.addFile(log.name, counting.outcome);
      }
    }
    if (signal.aborted) throw new PiwError('PIW_INTERRUPTED', 'interrupted; what is counted stays counted');
  } finally {
    if (process.stderr.isTTY) process.stderr.write(CLEAR);
    for (const log of logs) await log?.close();
    await farm.close();
  }
}

/** Back to the beginning of the line, which is emptied. */
const CLEAR = '\r\u001b[K';

/** Says on a terminal how far it is; `size` is that of the file. */
function progress(name: string, size: number): CountingOptions['onProgress'] {
  let said = performance.now();
  return ({ upto, tally }: Outcome) => {
    if (!process.stderr.isTTY || performance.now() - said < PROGRESS_MS) return;
    said = performance.now();
    const share = upto <= size ? `, ${String(Math.floor((100 * upto) / size))} %` : '';
    process.stderr.write(`${CLEAR}${name}: ${tally.lines.toLocaleString('en')} lines${share}`);
  };
}
