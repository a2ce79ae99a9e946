import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { reason } from '../../errors.js';
import { Counting } from '../../weblog/counting.js';
import { LiveLog } from '../../weblog/live.js';
import { Lines, type Block } from '../../weblog/source.js';
import type { Spool } from '../../weblog/spool.js';
import type { LoggerContext } from './context.js';
import { FarmLink } from './farm-link.js';
import type { Summary } from './summary.js';

const TIMEOUT_MS = 15_000;
/** The same where what isn't answered is let go. */
const DROP_TIMEOUT_MS = 5000;
/** When it is told to end, it reads on for so long what others may still be writing, milliseconds. */
const LAST_WORDS_MS = 500;
/** At the end of the pipe it waits for a farm that is away, and after being told to end for one that isn't. */
const END_MS = 10_000;
const STOP_MS = 2000;
/** The spool is brought to the disk, and looked at for what others have left. */
const SYNC_MS = 1000;
const LOOK_MS = 60_000;
/** While the farm takes what comes, no more than this is kept waiting: who writes faster waits. */
const AHEAD_BYTES = 64 * 1024 * 1024;
/** How often it is said that lines are let go, milliseconds. */
const SAY_MS = 60_000;

/** Counts what comes by a pipe, by way of the spool: see Spool. */
export async function keepPipe(
  input: Readable,
  context: LoggerContext,
  summary: Summary,
  spool: Spool,
): Promise<void> {
  const { connect, said, signal } = context;
  const ending = new AbortController();
  const farm = new FarmLink({
    ...{ connect, timeoutMs: TIMEOUT_MS, patienceMs: Infinity, signal: ending.signal },
    onAway: (why) => {
      if (why === undefined) said.info('the farm takes the log again');
      else said.warning(`the farm is away, and what comes is kept in ${spool.folder}: ${why}`);
    },
  });
  let failure: unknown;
  const counting = countSpool(spool, farm, context, ending.signal, summary).catch((error: unknown) => {
    failure = error;
    input.destroy();
  });
  const syncing = setInterval(() => void spool.sync().catch(() => undefined), SYNC_MS);
  const looking = setInterval(() => {
    try {
      spool.look();
    } catch (error) {
      said.warning(`the spool folder can't be read: ${reason(error)}`);
    }
  }, LOOK_MS);
  const letGo = new LetGo(said);
  try {
    for await (const { bytes, tooLong } of piped(input, signal)) {
      while (spool.bytes > AHEAD_BYTES && farm.awayMs === 0 && failure === undefined) await sleep(20);
      const lines = tooLong ? Buffer.concat([bytes, NEWLINE]) : bytes;
      let why = await kept(spool, lines);
      // What the farm takes makes room.
      while (why !== undefined && spool.empties && farm.awayMs === 0 && failure === undefined) {
        await sleep(20);
        why = await kept(spool, lines);
      }
      if (why !== undefined) letGo.lines(bytes, why);
    }
    await spool.close();
    await orGivenUp(counting, farm, signal);
    if (failure !== undefined) throw failure as Error;
  } finally {
    clearInterval(syncing);
    clearInterval(looking);
    ending.abort();
    await counting;
    await farm.close();
    summary.dropped += letGo.count;
    if (letGo.count > 0) summary.failed = true;
  }
  spool.look();
  summary.spooled = spool.bytes;
  if (spool.bytes > 0)
    said.warning(`${String(spool.bytes)} bytes are kept in ${spool.folder}; the next piw logger counts them`);
}

/** Undefined, or why there is no place for them. */
async function kept(spool: Spool, lines: Buffer): Promise<string | undefined> {
  try {
    return (await spool.add(lines)) ? undefined : `the spool ${spool.folder} is full`;
  } catch (error) {
    return reason(error);
  }
}

async function countSpool(
  spool: Spool,
  farm: FarmLink,
  context: LoggerContext,
  signal: AbortSignal,
  summary: Summary,
): Promise<void> {
  for await (const piece of spool.pieces()) {
    const counting = new Counting(piece, { ...context, farm, signal, onProgress: () => undefined });
    try {
      await counting.run();
      if (!signal.aborted) await spool.done(piece);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      summary.add(piece.name, counting.outcome);
      await piece.close();
    }
    if (signal.aborted) return;
  }
}

/** Counts what comes by a pipe, and lets go what the farm doesn't take. */
export async function dropPipe(input: Readable, context: LoggerContext, summary: Summary): Promise<void> {
  const { connect, said, signal } = context;
  const ending = new AbortController();
  const farm = new FarmLink({
    ...{ connect, timeoutMs: DROP_TIMEOUT_MS, patienceMs: 0, signal: ending.signal },
    onAway: (why) => {
      if (why === undefined) said.info('the farm takes the log again');
      else said.warning(`the farm is away, and what comes is let go: ${why}`);
    },
  });
  const live = new LiveLog({ ...context, farm });
  try {
    for await (const block of piped(input, signal)) await live.add(block);
    const ended = live.end();
    await orGivenUp(ended, farm, signal);
    ending.abort();
    await ended;
  } finally {
    await farm.close();
    const { tally, unknown, dropped } = live;
    summary.add('standard input', { tally, unknown, refused: 0, refusal: undefined });
    summary.dropped += dropped;
  }
}

/**
 * Waits for the last of it: for as long as it takes while the farm answers, and a moment for one that is away; after
 * the signal, that moment in any case.
 */
async function orGivenUp(last: Promise<void>, farm: FarmLink, signal: AbortSignal): Promise<void> {
  const done = last.then(() => true);
  for (let stopping = 0; stopping < STOP_MS && farm.awayMs < END_MS; stopping += signal.aborted ? WAIT_MS : 0)
    if (await Promise.race([done, sleep(WAIT_MS, false)])) return;
}

const WAIT_MS = 50;
const NEWLINE = Buffer.from('\n');

/** The lines of a pipe, until it is closed; after the signal, those that still come within a moment. */
async function* piped(input: Readable, signal: AbortSignal): AsyncGenerator<Block> {
  const stop = (): void => {
    setTimeout(() => input.destroy(), LAST_WORDS_MS);
  };
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop, { once: true });
  const lines = new Lines(0);
  try {
    for await (const bytes of input) yield* lines.add(bytes as Buffer);
  } catch (error) {
    // That is what destroy() raises here.
    if (!input.destroyed) throw error;
  }
  signal.removeEventListener('abort', stop);
  for (const { bytes, ...place } of lines.rest()) yield { ...place, bytes: Buffer.concat([bytes, NEWLINE]) };
}

/** Lines for which there is no place. */
class LetGo {
  count = 0;
  readonly #said: LoggerContext['said'];
  #at = -Infinity;

  constructor(said: LoggerContext['said']) {
    this.#said = said;
  }

  lines(bytes: Buffer, why: string): void {
    for (let at = bytes.indexOf(0x0a); at >= 0; at = bytes.indexOf(0x0a, at + 1)) this.count += 1;
    if (performance.now() - this.#at < SAY_MS) return;
    this.#at = performance.now();
    this.#said.error(`${why}: ${String(this.count)} lines were let go so far`);
  }
}
