import { ProtocolClient } from '../actor/client.js';
import { pause } from '../concurrency/pause.js';
import { PiwError, isDiskError } from '../errors.js';
import { transfer } from '../protocols/file-juggler.js';
import type { ByteRange } from './byte-ranges.js';
import { RangeSender, type ChunkAnswer, type SendFileOptions } from './range-sender.js';

/** Returns the pause before a retry, milliseconds: 0.1 s, doubled up to 5 s. */
const backOffMs = (attempts: number): number => Math.min(100 * 2 ** attempts, 5000);
/** How many breaks in a row, without progress between them, are retried: for more than two minutes. */
const MAX_BREAKS = 30;
/**
 * The pause between two attempts while the receiver's disk is full or fails, and for how long they go on, milliseconds.
 * The sender can do nothing about it, so these attempts don't count as breaks.
 */
const DISK_RETRY = { pauseMs: 3000, patienceMs: 3_600_000 };
/** The time limit of one HELLO, milliseconds. */
const HELLO_TIMEOUT_MS = 3000;
/** How long the File Juggler may take to recreate a bucket, milliseconds. */
const REPAIR_TIMEOUT_MS = 20_000;
/** Errors that a retry would not change. */
const PERMANENT_CODES: ReadonlySet<string> = new Set(['PIW_UNKNOWN_TRANSFER', 'PIW_FILE_CHANGED']);

/**
 * Sends the ranges of a file that the File Juggler requests, until it has all of it: the sender's side of the
 * conversation in protocols/file-juggler.ts, for slaves and importers.
 *
 *     HELLO --FETCH--> publish the range's chunks, CHUNK after each segment --> FETCH: the next range | DONE
 *     any break: drop the range, wait 0.1 s, doubled after each further break, HELLO again
 *     the receiver's disk is full or fails: the same, but every 3 s, for an hour
 *
 * Throws PIW_UNKNOWN_TRANSFER if the receiver no longer expects the file, PIW_FILE_CHANGED if the file is not what
 * was announced, and the error of the last break after MAX_BREAKS in a row without progress.
 */
export async function sendFile(options: SendFileOptions): Promise<void> {
  const { bus, clock, user, session, signal } = options;
  const juggler = new ProtocolClient(bus, transfer, ['slave', user, session, transfer.name]);
  let breaks = 0;
  let diskMs = 0;
  let reportedMessage: string | undefined;
  let answer: ChunkAnswer | undefined;
  for (;;) {
    try {
      answer ??= await juggler.request(
        'HELLO',
        { transfer_id: options.transferId },
        { timeoutMs: HELLO_TIMEOUT_MS, patienceMs: 90_000, ...(signal ? { signal } : {}) },
      );
      if (answer.verb === 'DONE') return;
      const range: ByteRange = { start: answer.offset, end: answer.offset + answer.length };
      answer = await new RangeSender(options, juggler, range).send(() => {
        breaks = 0;
        diskMs = 0;
        reportedMessage = undefined;
      });
    } catch (error) {
      if (signal?.aborted || !(error instanceof PiwError) || PERMANENT_CODES.has(error.code)) throw error;
      answer = undefined;
      const isDiskFailure: boolean = isDiskError(error);
      if (isDiskFailure) {
        if (diskMs >= DISK_RETRY.patienceMs) throw error;
        if (reportedMessage !== error.message) options.onTrouble?.(error);
        reportedMessage = error.message;
        await pause(clock, DISK_RETRY.pauseMs, signal);
        diskMs += DISK_RETRY.pauseMs;
        continue;
      }
      if (breaks >= MAX_BREAKS) throw error;
      options.onTrouble?.(error);
      await pause(clock, backOffMs(breaks), signal);
      breaks += 1;
    }
  }
}

/**
 * Tells the File Juggler that NATS doesn't store this sender's large messages; resolves when that is repaired or has
 * failed.
 */
export async function reportNotStored({
  bus,
  user,
  session,
  onTrouble,
}: Pick<SendFileOptions, 'bus' | 'user' | 'session' | 'onTrouble'>): Promise<void> {
  const juggler = new ProtocolClient(bus, transfer, ['slave', user, session, transfer.name]);
  try {
    await juggler.request('UNSTORED', {}, { timeoutMs: REPAIR_TIMEOUT_MS, once: true });
  } catch (error) {
    if (!(error instanceof PiwError)) throw error;
    onTrouble?.(error);
  }
}
