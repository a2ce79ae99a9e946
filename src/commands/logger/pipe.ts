import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { onAbort } from '../../concurrency/abort.js';
import { errorMessage } from '../../errors.js';
import { LogCounter } from '../../weblog/counting.js';
import { UnspooledLogCounter } from '../../weblog/unspooled-counter.js';
import { LineSplitter, type LineBlock } from '../../weblog/source.js';
import type { Spool } from '../../weblog/spool.js';
import type { LoggerContext } from './context.js';
import { FarmConnection } from './farm-link.js';
import type { LoggerSummary } from './summary.js';

const REQUEST_TIMEOUT_MS = 15_000;
/** The same if lines of unanswered requests are dropped. */
const DROP_REQUEST_TIMEOUT_MS = 5000;
/** How long the logger keeps reading after a signal, because the web server may still be writing, milliseconds. */
const INPUT_DRAIN_MS = 500;
/** How long the logger waits at the end of the pipe for a farm that is down, milliseconds. */
const MAX_OUTAGE_AT_END_MS = 10_000;
/** How long it waits after a signal for a farm that answers, milliseconds. */
const SHUTDOWN_GRACE_MS = 2000;
/** How often the spool is synced to disk, milliseconds. */
const SYNC_INTERVAL_MS = 1000;
/** How often the spool folder is searched for segments of loggers that have ended, milliseconds. */
const RESCAN_INTERVAL_MS = 60_000;
/** Backpressure: while the farm answers, a writer that is further ahead than this has to wait. */
const MAX_BACKLOG_BYTES = 64 * 1024 * 1024;
/** Minimum time between two log lines about dropped lines, milliseconds. */
const DROP_LOG_INTERVAL_MS = 60_000;

/** Counts the lines of a pipe, which it first writes to the spool: see Spool. */
export async function countPipeWithSpool(
  input: Readable,
  context: LoggerContext,
  summary: LoggerSummary,
  spool: Spool,
): Promise<void> {
  const { connect, log, signal } = context;
  const shutdown = new AbortController();
  const farm = new FarmConnection({
    connect,
    timeoutMs: REQUEST_TIMEOUT_MS,
    patienceMs: Infinity,
    signal: shutdown.signal,
    onAvailabilityChange: (reason) => {
      if (reason === undefined) log.info('the farm answers again');
      else log.warning('the farm is down; new lines are kept', { path: spool.folder, reason });
    },
  });
  let failure: unknown;
  const counting = countSpool(spool, farm, context, shutdown.signal, summary).catch((error: unknown) => {
    failure = error;
    input.destroy();
  });
  const syncTimer = setInterval(() => void spool.sync().catch(() => undefined), SYNC_INTERVAL_MS);
  const rescanTimer = setInterval(() => {
    try {
      spool.rescan();
    } catch (error) {
      log.warning("the spool folder can't be read", { path: spool.folder }, error);
    }
  }, RESCAN_INTERVAL_MS);
  const droppedLines = new DroppedLineCounter(log);
  try {
    for await (const { bytes, overlongTail } of readPipe(input, signal)) {
      while (spool.bytes > MAX_BACKLOG_BYTES && farm.unavailableMs === 0 && failure === undefined)
        await sleep(20);
      const lines = overlongTail ? Buffer.concat([bytes, NEWLINE]) : bytes;
      let rejectReason = await tryToSpool(spool, lines);
      // Segments that the farm counts make room.
      while (
        rejectReason !== undefined &&
        spool.hasCompleteSegments &&
        farm.unavailableMs === 0 &&
        failure === undefined
      ) {
        await sleep(20);
        rejectReason = await tryToSpool(spool, lines);
      }
      if (rejectReason !== undefined) droppedLines.add(bytes, rejectReason);
    }
    await spool.close();
    await waitOrGiveUp(counting, farm, signal);
    if (failure !== undefined) throw failure as Error;
  } finally {
    clearInterval(syncTimer);
    clearInterval(rescanTimer);
    shutdown.abort();
    await counting;
    await farm.close();
    summary.dropped += droppedLines.count;
    if (droppedLines.count > 0) summary.failed = true;
  }
  spool.rescan();
  summary.spooled = spool.bytes;
  if (spool.bytes > 0)
    log.warning('lines are kept; the next piw logger counts them', {
      path: spool.folder,
      bytes: spool.bytes,
    });
}

/** Adds lines to the spool. Returns undefined, or why they don't fit. */
async function tryToSpool(spool: Spool, lines: Buffer): Promise<string | undefined> {
  try {
    return (await spool.add(lines)) ? undefined : `the spool ${spool.folder} is full`;
  } catch (error) {
    return errorMessage(error);
  }
}

async function countSpool(
  spool: Spool,
  farm: FarmConnection,
  context: LoggerContext,
  signal: AbortSignal,
  summary: LoggerSummary,
): Promise<void> {
  for await (const segment of spool.segments()) {
    const counter = new LogCounter(segment, { ...context, farm, signal, onProgress: () => undefined });
    try {
      await counter.run();
      if (!signal.aborted) await spool.removeSegment(segment);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      summary.add(segment.name, counter.result);
      await segment.close();
    }
    if (signal.aborted) return;
  }
}

/** Counts the lines of a pipe, and drops those that the farm doesn't take. */
export async function countPipeWithoutSpool(
  input: Readable,
  context: LoggerContext,
  summary: LoggerSummary,
): Promise<void> {
  const { connect, log, signal } = context;
  const shutdown = new AbortController();
  const farm = new FarmConnection({
    connect,
    timeoutMs: DROP_REQUEST_TIMEOUT_MS,
    patienceMs: 0,
    signal: shutdown.signal,
    onAvailabilityChange: (reason) => {
      if (reason === undefined) log.info('the farm answers again');
      else log.warning('the farm is down; new lines are dropped', { reason });
    },
  });
  const counter = new UnspooledLogCounter({ ...context, farm });
  try {
    for await (const block of readPipe(input, signal)) await counter.add(block);
    const ended = counter.end();
    await waitOrGiveUp(ended, farm, signal);
    shutdown.abort();
    await ended;
  } finally {
    await farm.close();
    const { tally, unknown, dropped } = counter;
    summary.add('standard input', { tally, unknown, refused: 0, refusal: undefined });
    summary.dropped += dropped;
  }
}

/**
 * Waits for the last lines to be counted: as long as it takes while the farm answers, up to MAX_OUTAGE_AT_END_MS while
 * it is down, and up to SHUTDOWN_GRACE_MS after the signal.
 */
async function waitOrGiveUp(work: Promise<void>, farm: FarmConnection, signal: AbortSignal): Promise<void> {
  const done = work.then(() => true);
  for (
    let waitedMs = 0;
    waitedMs < SHUTDOWN_GRACE_MS && farm.unavailableMs < MAX_OUTAGE_AT_END_MS;
    waitedMs += signal.aborted ? POLL_INTERVAL_MS : 0
  )
    if (await Promise.race([done, sleep(POLL_INTERVAL_MS, false)])) return;
}

const POLL_INTERVAL_MS = 50;
const NEWLINE = Buffer.from('\n');

/** Yields the lines of a pipe until it is closed, or until INPUT_DRAIN_MS after the signal. */
async function* readPipe(input: Readable, signal: AbortSignal): AsyncGenerator<LineBlock> {
  const removeListener = onAbort(signal, () => {
    setTimeout(() => input.destroy(), INPUT_DRAIN_MS);
  });
  const lines = new LineSplitter(0);
  try {
    for await (const bytes of input) yield* lines.add(bytes as Buffer);
  } catch (error) {
    // destroy() makes the iteration throw.
    if (!input.destroyed) throw error;
  }
  removeListener();
  for (const { bytes, ...place } of lines.flush()) yield { ...place, bytes: Buffer.concat([bytes, NEWLINE]) };
}

/** Counts dropped lines, and logs them now and then. */
class DroppedLineCounter {
  count = 0;
  readonly #log: LoggerContext['log'];
  #lastLoggedAt = -Infinity;

  constructor(log: LoggerContext['log']) {
    this.#log = log;
  }

  add(bytes: Buffer, reason: string): void {
    for (let at = bytes.indexOf(0x0a); at >= 0; at = bytes.indexOf(0x0a, at + 1)) this.count += 1;
    if (performance.now() - this.#lastLoggedAt < DROP_LOG_INTERVAL_MS) return;
    this.#lastLoggedAt = performance.now();
    this.#log.error('lines dropped', { count: this.count, reason });
  }
}
